import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis import AnalysisError
from analysis.stats.looks import Looks, alpha_at
from analysis.stats.power import PairedTest
from analysis.stats.seed_contrasts import SMALLEST, effects, smallest_effect
from analysis.stats.sign_flips import enough, flipped_p, usable
from analysis.stats.spread import own_spreads, pooled_spread
from analysis.stats.step_down import holm, sidak


def frame(**scores):
    """Scores by config, as a list (seeds 0, 1, ...) or by seed."""
    rows = [
        (config, seed, score)
        for config, own in scores.items()
        for seed, score in (own.items() if isinstance(own, dict) else enumerate(own))
    ]
    return pd.DataFrame(rows, columns=["config", "seed", "score"])


def noisy(configs=5, seeds=4, sd=0.004, seed=0):
    rng = np.random.default_rng(seed)
    return frame(**{f"c{i}": (0.6 + 0.002 * i + rng.normal(0, sd, seeds)).tolist() for i in range(configs)})


def adjusted(p, comparisons, seeds):
    """The adjusted p-value of the first step, at a first look."""
    return (1 - (1 - p) ** comparisons) * (seeds + 1) / seeds


def row(result, config):
    return result.frame.set_index("config").loc[config]


def test_every_config_is_a_paired_t_test_of_its_own_even_with_seeds_missing():
    scores = noisy().drop(index=[2, 5, 11])
    wide = scores.pivot(index="seed", columns="config", values="score")
    result = effects(scores, "c0").frame.set_index("config")
    for config in result.index:
        shared = wide[["c0", config]].dropna()
        each = shared[config] - shared["c0"]
        theirs = stats.ttest_rel(shared[config], shared["c0"])
        assert result.loc[config, ["difference", "se", "df", "p"]].tolist() == pytest.approx(
            [each.mean(), each.sem(), theirs.df, theirs.pvalue]
        )
    assert set(result["model"]) == {"paired"}


def test_two_configs_are_a_paired_t_test_and_position_does_not_matter():
    scores = frame(base=[0.60, 0.61, 0.62], mine={2: 0.645, 0: 0.62, 1: 0.64})
    result = row(effects(scores, "base"), "mine")
    theirs = stats.ttest_rel([0.62, 0.64, 0.645], [0.60, 0.61, 0.62])
    assert result["p"] == pytest.approx(theirs.pvalue)
    assert result["df"] == 2
    assert (result["low"], result["high"]) == pytest.approx(tuple(theirs.confidence_interval(1 - 0.05 * 3 / 4)))


@pytest.mark.parametrize("seeds", [(10, 11, 12), (2, 11, 12)])
def test_with_fewer_than_two_common_seeds_it_is_welchs_test_and_it_is_said(seeds):
    mine = [0.64, 0.65, 0.66]
    result = effects(frame(base=[0.60, 0.61, 0.64], mine=dict(zip(seeds, mine, strict=True))), "base")
    theirs = stats.ttest_ind(mine, [0.60, 0.61, 0.64], equal_var=False)
    assert row(result, "mine")["model"] == "welch"
    assert (row(result, "mine")["df"], row(result, "mine")["p"]) == pytest.approx((theirs.df, theirs.pvalue))
    assert result.notes == ("Fewer than two seeds in common with base, compared without pairing: mine.",)


def test_one_seed_is_never_a_claim():
    result = effects(frame(base=[0.60, 0.61, 0.62], a=[0.64, 0.64, 0.65], b=[0.99]), "base")
    lonely = row(result, "b")
    assert lonely["word"] == "not separated"
    assert np.isnan([lonely["low"], lonely["p_holm"], lonely["mde"]]).all()
    assert lonely["difference"] == pytest.approx(0.39)
    assert "One seed says nothing about a difference: b." in result.notes
    assert row(result, "a")["p_holm"] == pytest.approx(adjusted(row(result, "a")["p"], 2, seeds=3))
    alone = effects(frame(base=[0.6], a=[0.7]), "base")
    assert alone.words == {"a": "not separated"}
    assert np.isnan(alone.mde)


def test_words_need_both_the_test_and_the_practical_threshold():
    base = [0.600, 0.601, 0.602, 0.600]
    near = [0.6011, 0.6019, 0.6031, 0.601]
    far = [0.620, 0.622, 0.621, 0.621]
    assert effects(frame(base=base, far=far), "base").words == {"far": "separated"}
    assert effects(frame(base=base, near=near), "base").words == {"near": "equivalent"}
    assert effects(frame(base=base, near=near), "base", smallest=0.0).words == {"near": "separated"}
    assert effects(frame(base=base, near=near), "base", smallest=0.00105).words == {"near": "not separated"}


@pytest.mark.parametrize("factor", [0.05, 20.0])
def test_a_config_with_another_spread_changes_no_other_comparison(factor):
    scores = noisy(configs=6, seeds=5)
    other = scores["config"] == "c5"
    before = effects(scores, "c0").frame
    scores.loc[other, "score"] = 0.6 + factor * (scores.loc[other, "score"] - 0.6)
    after = effects(scores, "c0").frame
    columns = ["difference", "se", "df", "p"]
    assert after[columns][:4].to_numpy() == pytest.approx(before[columns][:4].to_numpy())


@pytest.mark.parametrize(
    ("base", "mine", "why"),
    [
        ([0.6, 0.6], [0.65, 0.66], "the reference has the same score on every seed"),
        ([0.60, 0.61, 0.62], [0.65, 0.65, 0.65], "the same score on every seed"),
        ([0.60, 0.61, 0.63], [0.65, 0.66, 0.68], "the same difference to the reference on every seed"),
        ([0.60, 0.61, 0.63], [0.60, 0.61, 0.63], "the same scores as the reference"),
        ([0.60, 0.61, 0.63], [0.63, 0.60, 0.61], "the same scores as the reference"),
        ([0.60, 0.61, 0.63], {7: 0.65, 8: 0.65, 9: 0.65}, "the same score on every seed"),
        ([0.60, 0.61, 0.63], {7: 0.60, 8: 0.61, 9: 0.63}, "the same scores as the reference"),
    ],
)
def test_scores_that_do_not_vary_as_trainings_do_are_no_evidence(base, mine, why):
    result = effects(frame(base=base, mine=mine, other=[0.55, 0.51, 0.53][: len(base)]), "base")
    assert result.words["mine"] == "not separated"
    assert np.isnan(row(result, "mine")[["low", "high", "p", "p_holm", "mde", "se"]].astype(float)).all()
    assert np.isfinite(row(result, "mine")["difference"])
    assert [note for note in result.notes if note.startswith(f"No evidence, {why}: mine")]
    assert np.isfinite(row(result, "other")["p"]) == ("reference has" not in why)


def test_the_correlation_between_paired_seeds_is_measured():
    rng = np.random.default_rng(1)
    shared = rng.normal(0, 0.006, 40)
    scores = frame(**{f"c{i}": (0.6 + shared + rng.normal(0, 0.003, 40)).tolist() for i in range(4)})
    result = effects(scores, "c0")
    assert result.rho == pytest.approx(0.8, abs=0.1)
    assert result.rho_low < result.rho < result.rho_high


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_interval_of_the_correlation_is_that_of_the_f_ratio_at_its_confidence(confidence):
    """ICC(3,1) of Shrout & Fleiss: an F ratio f stands for the correlation (f - 1) / (f + configs - 1)."""
    configs, seeds = 4, 6
    scores = noisy(configs, seeds).assign(score=lambda rows: rows["score"] + 0.004 * rows["seed"])
    ratio = (
        smf.ols("score ~ C(config) + C(seed)", scores)
        .fit()
        .f_test([f"C(seed)[T.{seed}] = 0" for seed in range(1, seeds)])
        .fvalue
    )
    tail = (1 - confidence) / 2
    ratios = ratio / stats.f.ppf([0.5, 1 - tail, tail], seeds - 1, (configs - 1) * (seeds - 1))
    ratios[0] = ratio
    result = effects(scores, "c0", confidence=confidence)
    assert (result.rho, result.rho_low, result.rho_high) == pytest.approx((ratios - 1) / (ratios + configs - 1))


def test_another_confidence_gives_other_intervals_and_words():
    scores = frame(base=[0.60, 0.61, 0.62], mine=[0.63, 0.62, 0.66])
    theirs = stats.ttest_rel([0.63, 0.62, 0.66], [0.60, 0.61, 0.62])
    assert 0.05 < theirs.pvalue < 0.2
    result = effects(scores, "base", confidence=0.8)
    ends = row(result, "mine")[["low", "high"]].tolist()
    assert ends == pytest.approx(list(theirs.confidence_interval(1 - 0.2 * 3 / 4)))
    assert result.words == {"mine": "separated"}
    assert effects(scores, "base").words == {"mine": "not separated"}


def test_comparisons_that_were_planned_and_failed_count_in_the_family():
    result = effects(frame(base=[0.60, 0.61, 0.62], mine=[0.62, 0.64, 0.645]), "base", planned=4)
    mine = row(result, "mine")
    assert mine["p_holm"] == pytest.approx(adjusted(mine["p"], 4, seeds=3))
    assert result.estimator.endswith("adjusted for 4 comparisons (step-down Sidak)")


def test_a_config_with_two_scores_for_a_seed_is_refused():
    scores = pd.concat([frame(base=[0.6, 0.6], a=[0.5]), frame(a=[0.6])])
    with pytest.raises(AnalysisError, match="got two of a for seed 0"):
        effects(scores, "base")


def test_a_reference_without_scores_is_refused():
    with pytest.raises(AnalysisError, match=r"reference: .*\(a\), got base"):
        effects(frame(base=[None], a=[0.6, 0.5]), "base")


@pytest.mark.parametrize(("n", "comparisons"), [(2, 1), (3, 7), (3, 1), (5, 7), (20, 3)])
def test_the_smallest_detectable_effect_is_that_of_the_noncentral_t_distribution(n, comparisons):
    test = PairedTest(1.5, comparisons)
    gain = test.smallest(n)
    critical = stats.t.isf((1 - (1 - alpha_at(n)) ** (1 / comparisons)) / 2, n - 1)
    assert stats.nct.sf(critical, n - 1, gain / 1.5 * np.sqrt(n)) == pytest.approx(0.8, abs=0.002)
    assert test.missed(gain, n) == pytest.approx(0.2, abs=1e-6)
    assert 0.3 < test.missed(gain / 2, n) < 0.85
    assert test.seeds(gain * 1.0001, 30) == n


def test_where_signs_are_flipped_only_whole_steps_of_their_distribution_are_spent():
    assert (usable(7, 0.044), usable(8, 0.044), usable(20, 0.044)) == (0.044, 5 / 128, 0.044)
    assert usable(8, 0.003) == 0.003


def test_a_later_look_needs_more_seeds_than_a_first_one():
    first, third = PairedTest(1.0), PairedTest(1.0, looks=Looks.unplanned((3, 5)))
    assert first.seeds(1.0, 30) < third.seeds(1.0, 30)
    assert third.seeds(100.0, 30) == 6
    assert first.seeds(0.001, 30) is None
    assert third.smallest(8) > first.smallest(8)


def test_one_seed_detects_nothing():
    assert np.isnan(PairedTest(0.01, 7).smallest(1))
    assert PairedTest(0.01).missed(1.0, 1) == 1.0


def test_the_reported_mde_is_that_of_the_design():
    result = effects(noisy(configs=8, seeds=3), "c0")
    unbiased = row(result, "c1")["se"] * np.sqrt(2 / stats.chi2.median(2)) * np.sqrt(3)
    assert row(result, "c1")["mde"] == pytest.approx(PairedTest(unbiased, 7).smallest(3))
    assert result.mde == pytest.approx(result.frame["mde"].median())
    assert result.chance_to_miss(result.mde) == pytest.approx(0.2, abs=1e-3)
    assert result.chance_to_miss(result.mde / 2) > 0.5


def test_holm_rejects_stepwise_and_intervals_follow():
    adjusted, levels = holm(np.array([0.04, 0.001, np.nan, 0.012]))
    assert adjusted[[0, 1, 3]] == pytest.approx([0.08, 0.004, 0.036])
    assert np.isnan(adjusted[2])
    assert levels[[1, 3, 0]] == pytest.approx([0.05 / 4, 0.05 / 3, 0.05 / 2])


def test_sidak_steps_down_in_the_same_way_and_is_sharper():
    adjusted, levels = sidak(np.array([0.04, 0.001, np.nan, 0.012]))
    assert adjusted[[1, 3, 0]] == pytest.approx([1 - 0.999**4, 1 - 0.988**3, 1 - 0.96**2])
    assert levels[[1, 3, 0]] == pytest.approx([1 - 0.95 ** (1 / 4), 1 - 0.95 ** (1 / 3), 1 - 0.95 ** (1 / 2)])
    assert np.isnan(adjusted[2])
    assert sidak(np.array([0.01]), planned=3)[0] == pytest.approx([1 - 0.99**3])


def test_both_procedures_are_those_of_statsmodels():
    p = np.random.default_rng(0).random(12) ** 6
    for ours, theirs in ((holm, "holm"), (sidak, "holm-sidak")):
        assert ours(p)[0] == pytest.approx(multipletests(p, 0.05, theirs)[1])


def test_draws_of_the_null_hypothesis_replace_the_assumption_of_independence():
    """Three comparisons whose draws are one and the same count as one, a fourth without draws by itself."""
    p = np.array([0.02, 0.02, 0.02, 0.5])
    same = np.append(0.02, np.linspace(0.03, 1, 99))
    adjusted, levels = sidak(p, 0.05, flipped=np.vstack([same, same, same, np.full(100, np.nan)]))
    assert adjusted[:3] == pytest.approx([1 - 0.99 * 0.98] * 3)
    assert adjusted[3] == pytest.approx(0.5)
    assert levels[0] >= 0.02


def test_sign_flips_are_the_exact_permutation_test():
    each = np.random.default_rng(1).normal(0.4, 1, 9)
    theirs = stats.permutation_test(
        (each,),
        lambda x, axis: np.abs(x.mean(axis) / x.std(axis, ddof=1)),
        permutation_type="samples",
        n_resamples=512,
        alternative="greater",
    )
    drawn = flipped_p(each[None])
    assert drawn.shape == (1, 256)
    assert (drawn <= drawn[0, 0] * (1 + 1e-9)).mean() == pytest.approx(theirs.pvalue)
    assert drawn[0, 0] == pytest.approx(stats.ttest_1samp(each, 0).pvalue)


def test_from_13_seeds_on_signs_are_drawn_and_give_nearly_the_p_values_of_normal_differences():
    each = np.random.default_rng(2).normal(0.4, 1, (1, 14))
    drawn = flipped_p(each)
    assert drawn.shape == (1, 4096)
    assert drawn[0, 0] == pytest.approx(stats.ttest_1samp(each[0], 0).pvalue)
    assert 0.05 < drawn[0, 0] < 0.5
    assert (drawn <= drawn[0, 0]).mean() == pytest.approx(drawn[0, 0], abs=0.03)


def test_signs_of_all_seeds_are_flipped_where_one_comparison_lacks_a_seed():
    scores = noisy(configs=4, seeds=9).drop(index=[12])
    wide = scores.pivot(index="config", columns="seed", values="score").to_numpy()
    each = wide[1:] - wide[0]
    result = effects(scores, "c0")
    expected, _ = sidak(result.frame["p"].to_numpy(), result.alpha, 0, flipped_p(each))
    assert result.frame["p_holm"].to_numpy() == pytest.approx(np.minimum(expected * 0.05 / result.alpha, 1))


@pytest.mark.parametrize(("alpha", "taken"), [(0.05, [False, True, True]), (0.03, [False, False, True])])
def test_signs_are_flipped_where_the_error_is_five_steps_of_their_distribution_or_more(alpha, taken):
    assert enough(np.array([7, 8, 9]), alpha).tolist() == taken


@pytest.mark.parametrize(
    ("seeds", "before", "flips"), [(7, (), False), (8, (), True), (8, (3, 5), False), (14, (), True)]
)
def test_signs_are_flipped_where_there_are_choices_enough(seeds, before, flips):
    looks = Looks.unplanned(before)
    assert ("sign flips" in effects(noisy(configs=3, seeds=seeds), "c0", looks=looks).estimator) == flips


@pytest.mark.parametrize("seeds", [3, 8, 10])
def test_an_interval_leaves_out_0_exactly_where_the_word_is_separated(seeds):
    words = set()
    for world in range(30):
        result = effects(noisy(configs=4, seeds=seeds, sd=0.003, seed=world), "c0", smallest=0.0).frame
        outside = (result["low"] > 0) | (result["high"] < 0)
        assert (outside == (result["word"] == "separated")).all()
        assert (outside == (result["p_holm"] < 0.05)).all()
        words.update(result["word"])
    assert words == {"separated", "not separated"}


def test_a_later_look_spends_what_the_earlier_ones_left():
    scores = noisy(configs=2, seeds=5, sd=0.002)
    first, later = effects(scores, "c0"), effects(scores, "c0", looks=Looks.unplanned((3,)))
    assert (first.alpha, later.alpha) == pytest.approx((0.05 * 5 / 6, 0.05 * (5 / 6 - 3 / 4)))
    assert later.frame["p_holm"][0] == pytest.approx(min(1, first.frame["p_holm"][0] * 10))
    assert later.frame["p"][0] == first.frame["p"][0]
    assert later.frame["high"][0] > first.frame["high"][0]


def test_without_shared_seeds_a_look_counts_the_seeds_of_the_smaller_sample():
    result = effects(frame(base={0: 0.60, 1: 0.61, 2: 0.62}, mine={3: 0.64, 4: 0.65}), "base")
    assert result.alpha == pytest.approx(alpha_at(2))


def test_one_shared_seed_is_a_difference_on_that_seed_and_none_a_difference_of_means():
    shared, apart = (effects(frame(base=[0.60], mine={seed: 0.64}), "base") for seed in (0, 1))
    assert not any("without pairing" in note for note in shared.notes)
    assert any("without pairing: mine" in note for note in apart.notes)
    assert (row(shared, "mine")["difference"], row(apart, "mine")["difference"]) == pytest.approx((0.04, 0.04))


def test_the_spread_has_the_interval_of_the_chi_square_distribution():
    scores = [0.60, 0.61, 0.63]
    one = own_spreads(np.array([scores]))[0]
    ends = np.std(scores, ddof=1) * np.sqrt(2 / stats.chi2.isf([0.025, 0.975], 2))
    assert (one.low, one.high, one.df) == pytest.approx((*ends, 2))
    assert np.isnan(own_spreads(np.array([[0.6, np.nan]]))[0].sd)


def test_the_pooled_spread_has_fewer_degrees_of_freedom_where_configs_share_the_luck_of_a_seed():
    rng = np.random.default_rng(0)
    own, shared = rng.normal(0, 1, (6, 40)), rng.normal(0, 1, (1, 40))
    assert pooled_spread(own).df > 4.5 * 39
    assert pooled_spread(own * [[10], [1], [1], [1], [1], [1]]).df < 2 * 39
    assert pooled_spread(0.2 * own + shared).df < 1.5 * 39
    assert pooled_spread(own[:, :2]).df == 1


def test_the_pooled_spread_weights_variances_by_their_seeds_and_leaves_out_single_ones():
    values = np.array([[0.60, 0.62, 0.64], [0.5, 0.6, np.nan], [0.7, np.nan, np.nan]])
    assert pooled_spread(values).sd == pytest.approx(np.sqrt((2 * 0.02**2 + 0.1**2 / 2) / 3))
    assert np.isnan(pooled_spread(values[2:]).sd)


def test_holm_keeps_to_the_error_rate_that_it_is_given():
    _, levels = holm(np.array([0.06, 0.3]), 0.2)
    assert levels == pytest.approx([0.1, 0.2])


def test_of_several_sweeps_the_largest_threshold_holds():
    texts = pd.DataFrame({"spec_json": ['{"smallest_effect": 0.5}', '{"smallest_effect": 1.0}', "{}"]})
    assert smallest_effect(texts) == pytest.approx(0.01)


def test_the_threshold_is_read_from_the_spec():
    texts = pd.DataFrame({"spec_json": ['{"smallest_effect": 0.5}']})
    assert smallest_effect(texts) == pytest.approx(0.005)
    assert smallest_effect(pd.DataFrame({"spec_json": ["{}"]})) == SMALLEST
