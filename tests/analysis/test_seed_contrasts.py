import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats

from analysis import AnalysisError
from analysis.stats.holm import holm
from analysis.stats.seed_contrasts import SMALLEST, effects, smallest_detectable, smallest_effect


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


def row(result, config):
    return result.frame.set_index("config").loc[config]


def test_the_fit_is_that_of_the_formula_even_with_seeds_missing():
    scores = noisy().drop(index=[2, 5, 11])
    theirs = smf.ols("score ~ C(config, Treatment('c0')) + C(seed)", scores).fit()
    result = effects(scores, "c0").frame
    names = [f"C(config, Treatment('c0'))[T.{config}]" for config in result["config"]]
    assert result["difference"].to_numpy() == pytest.approx(theirs.params[names].to_numpy())
    assert result["se"].to_numpy() == pytest.approx(theirs.bse[names].to_numpy())
    assert result["p"].to_numpy() == pytest.approx(theirs.pvalues[names].to_numpy())
    assert set(result["model"]) == {"block"}


def test_two_configs_are_a_paired_t_test_and_position_does_not_matter():
    scores = frame(base=[0.60, 0.61, 0.62], mine={2: 0.645, 0: 0.62, 1: 0.64})
    result = row(effects(scores, "base"), "mine")
    theirs = stats.ttest_rel([0.62, 0.64, 0.645], [0.60, 0.61, 0.62])
    assert result["p"] == pytest.approx(theirs.pvalue)
    assert result["df"] == 2
    assert (result["low"], result["high"]) == pytest.approx(tuple(theirs.confidence_interval()))


def test_without_a_common_seed_the_means_are_compared_and_it_is_said():
    result = effects(frame(base=[0.60, 0.61, 0.62], mine={10: 0.64, 11: 0.65, 12: 0.66}), "base")
    assert row(result, "mine")["model"] == "pooled"
    assert row(result, "mine")["df"] == 4
    assert result.notes == ("No seed in common with base, compared without pairing: mine.",)


def test_a_chain_of_common_seeds_links_to_the_reference():
    result = effects(frame(base=[0.60, 0.61, 0.62], a={1: 0.6, 2: 0.61, 3: 0.63, 4: 0.6}, b={3: 0.64, 4: 0.65}), "base")
    assert row(result, "b")["model"] == "block"


def test_one_seed_is_never_a_claim():
    result = effects(frame(base=[0.60, 0.61, 0.62], a=[0.64, 0.64, 0.65], b=[0.99]), "base")
    lonely = row(result, "b")
    assert lonely["word"] == "not separated"
    assert np.isnan([lonely["low"], lonely["p_holm"], lonely["mde"]]).all()
    assert lonely["difference"] == pytest.approx(0.39)
    assert "One seed says nothing about a difference: b." in result.notes
    assert row(result, "a")["p_holm"] == pytest.approx(2 * row(result, "a")["p"])
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


def test_an_unstable_config_is_judged_by_its_own_spread_and_spoils_no_other():
    scores = noisy(configs=6, seeds=5)
    wild = scores["config"] == "c5"
    scores.loc[wild, "score"] = [0.3, 0.7, 0.55, 0.8, 0.6]
    result = effects(scores, "c0")
    assert row(result, "c5")["unstable"]
    assert row(result, "c5")["model"] == "welch"
    assert result.sd < 0.008
    assert row(result, "c1")["se"] == pytest.approx(row(effects(scores[~wild], "c0"), "c1")["se"])
    assert any(note.startswith("Unstable") for note in result.notes)


def test_a_config_with_a_spread_of_its_own_is_compared_by_welch():
    scores = noisy(configs=6, seeds=5)
    wild = [0.3, 0.7, 0.55, 0.8, 0.6]
    scores.loc[scores["config"] == "c5", "score"] = wild
    result = row(effects(scores, "c0"), "c5")
    theirs = stats.ttest_ind(wild, scores.loc[scores["config"] == "c0", "score"], equal_var=False)
    assert (result["df"], result["p"]) == pytest.approx((theirs.df, theirs.pvalue))


@pytest.mark.parametrize(
    ("chance", "model", "unstable"), [(0.06, "block", False), (0.02, "welch", False), (0.004, "welch", True)]
)
def test_one_of_many_is_unstable_only_below_its_share_of_five_percent(chance, model, unstable):
    """One of six stable configs fails the F test at 5 % in every fourth sweep, at 5 % / 6 in every twentieth."""
    configs, seeds = 6, 5
    values = np.random.default_rng(2).normal(size=(configs, seeds))
    values = (values - values.mean(1, keepdims=True)) / values.std(1, ddof=1, keepdims=True)
    values[-1] *= np.sqrt(stats.f.isf(chance, seeds - 1, (configs - 1) * (seeds - 1)))
    result = effects(frame(**{f"c{i}": (0.6 + 0.004 * own).tolist() for i, own in enumerate(values)}), "c0")
    assert (row(result, "c5")["model"], row(result, "c5")["unstable"]) == (model, unstable)
    assert not result.frame["unstable"][:4].any()
    pooled = values if not unstable else values[:-1]
    assert result.sd == pytest.approx(0.004 * np.sqrt(pooled.var(1, ddof=1).mean()))


def test_an_unstable_reference_leaves_nothing_to_the_common_spread():
    scores = noisy(configs=6, seeds=5)
    scores.loc[scores["config"] == "c0", "score"] = [0.3, 0.7, 0.55, 0.8, 0.6]
    result = effects(scores, "c0")
    assert set(result.frame["model"]) == {"welch"}
    assert result.frame["unstable"].all()


@pytest.mark.parametrize("step", [0.0, 0.05])
def test_trainings_which_do_not_vary_give_finite_answers(step):
    result = effects(frame(base=[0.6, 0.6], a=[0.6 + step, 0.6 + step], b=[0.6, 0.6]), "base")
    numbers = result.frame[["difference", "low", "high", "p", "p_holm", "mde"]].to_numpy(dtype=float)
    assert np.isfinite(numbers).all()
    assert result.words == {"a": "separated" if step else "equivalent", "b": "equivalent"}
    assert "The seeds did not differ at all, so no noise was measured." in result.notes
    assert np.isnan(result.rho)


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
    assert ends == pytest.approx(list(theirs.confidence_interval(0.8)))
    assert result.words == {"mine": "separated"}
    assert effects(scores, "base").words == {"mine": "not separated"}


def test_comparisons_that_were_planned_and_failed_count_in_the_family():
    result = effects(frame(base=[0.60, 0.61, 0.62], mine=[0.62, 0.64, 0.645]), "base", planned=4)
    mine = row(result, "mine")
    assert mine["p_holm"] == pytest.approx(4 * mine["p"])
    assert result.estimator.endswith("Holm over 4 comparisons")


def test_a_config_with_two_scores_for_a_seed_is_refused():
    scores = pd.concat([frame(base=[0.6, 0.6], a=[0.5]), frame(a=[0.6])])
    with pytest.raises(AnalysisError, match="got two of a for seed 0"):
        effects(scores, "base")


def test_a_reference_without_scores_is_refused():
    with pytest.raises(AnalysisError, match=r"reference: .*\(a\), got base"):
        effects(frame(base=[None], a=[0.6, 0.5]), "base")


@pytest.mark.parametrize(
    ("n", "configs", "comparisons", "rho", "expected"),
    [(3, 8, 1, 0.0, 2.5), (3, 8, 1, 0.3, 2.1), (3, 8, 1, 0.6, 1.6), (3, 8, 7, 0.0, 3.3), (5, 8, 7, 0.0, 2.4)],
)
def test_smallest_detectable_effects_are_the_simulated_ones(n, configs, comparisons, rho, expected):
    assert smallest_detectable(1.0, n, configs, comparisons, rho) == pytest.approx(expected, abs=0.06)


def test_one_seed_or_one_config_detects_nothing():
    assert np.isnan(smallest_detectable(0.01, 1, 8, 7))
    assert np.isnan(smallest_detectable(0.01, 3, 1, 0))


def test_the_reported_mde_is_that_of_the_design():
    result = effects(noisy(configs=8, seeds=3), "c0")
    residual = row(result, "c1")["se"] * np.sqrt(3 / 2)
    assert result.mde == pytest.approx(smallest_detectable(residual, 3, 8, 7))


def test_holm_rejects_stepwise_and_intervals_follow():
    adjusted, levels = holm(np.array([0.04, 0.001, np.nan, 0.012]))
    assert adjusted[[0, 1, 3]] == pytest.approx([0.08, 0.004, 0.036])
    assert np.isnan(adjusted[2])
    assert levels[[1, 3, 0]] == pytest.approx([0.05 / 4, 0.05 / 3, 0.05 / 2])


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
