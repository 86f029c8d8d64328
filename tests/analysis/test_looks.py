"""The error that looks may spend: never more than is allowed in all, and something left for each."""

import itertools

import numpy as np
import pytest
from scipy import stats

from analysis.ablation.effects import ablate
from analysis.ablation.published import replays
from analysis.selection.compare import compare
from analysis.stats.looks import Looks, alpha_at, planned_looks, sentence


@pytest.mark.parametrize(("seeds", "level"), [(2, 0.0333), (3, 0.0375), (5, 0.0417), (10, 0.0455)])
def test_a_single_look_spends_nearly_all(seeds, level):
    assert alpha_at(seeds) == pytest.approx(level, abs=1e-4)


def test_a_later_look_has_what_is_left():
    assert alpha_at(5, Looks.unplanned((3,))) == pytest.approx(0.05 * (5 / 6 - 3 / 4))
    assert alpha_at(8, Looks.unplanned((3, 5))) == pytest.approx(0.05 * (8 / 9 - 5 / 6))


def histories():
    """Looks in many orders: planned and not, plans that change, more seeds and no more seeds."""
    steps = [(3, 0), (3, 12), (5, 12), (5, 0), (8, 20), (12, 12), (12, 0), (20, 20)]
    return itertools.permutations(steps, 4)


def test_all_looks_together_never_spend_more_than_is_allowed_and_each_has_something_left():
    for history in histories():
        looks, levels = Looks(), []
        for seeds, most in history:
            looks = Looks(looks.seeds, looks.spent, most)
            levels.append(alpha_at(seeds, looks))
            looks = looks.after(seeds)
        assert sum(levels) <= 0.05
        assert min(levels) > 0
        assert list(looks.seeds) == sorted(set(looks.seeds))


def test_planned_looks_spend_by_the_square_and_end_where_one_look_would_have():
    looks, shares = Looks(most=12), []
    for seeds in (3, 5, 8, 12):
        shares.append(looks.share(seeds))
        looks = looks.after(seeds)
    assert shares == pytest.approx([12 / 13 * part / 144 for part in (9, 16, 39, 80)])
    assert looks.spent == pytest.approx(Looks().share(12))


def test_a_look_with_other_finalists_on_as_many_seeds_counts_as_one_seed_more():
    assert Looks.unplanned((3, 3, 3)).seeds == (3, 4, 5)


@pytest.mark.parametrize(
    ("first", "most", "looks"),
    [
        (3, 12, (3, 5, 8, 12)),
        (4, 12, (4, 7, 12)),
        (3, 10, (3, 5, 10)),
        (3, 20, (3, 5, 8, 13, 20)),
        (3, 4, (3, 4)),
        (1, 6, (1, 2, 4, 6)),
    ],
)
def test_planned_looks_grow_and_end_at_the_most(first, most, looks):
    assert planned_looks(first, most) == looks


def first_rejections(differences, levels):
    """The share of worlds (W, seeds) in which a paired t test at some look is below that look's level."""
    rejected = np.zeros(len(differences), dtype=bool)
    for seeds, level in levels.items():
        rejected |= stats.ttest_1samp(differences[:, :seeds], 0.0, axis=1).pvalue < level
    return rejected.mean()


@pytest.mark.parametrize("most", [0, 12])
def test_who_grows_a_sweep_until_something_is_separated_is_wrong_in_at_most_5_percent(most):
    differences = np.random.default_rng(3).normal(size=(4000, 12))
    looks, levels = Looks(most=most), {}
    for seeds in (3, 5, 8, 12):
        levels[seeds] = alpha_at(seeds, looks)
        looks = looks.after(seeds)
    assert first_rejections(differences, levels) <= 0.05 + 2 * 0.0034
    assert first_rejections(differences, dict.fromkeys(levels, 0.05)) > 0.1  # without looks, as before


def test_the_sentence_names_the_looks_and_what_is_left():
    assert sentence(Looks(), 3) == ""
    looks = Looks.unplanned((3, 5, 8))
    assert sentence(looks, 12).startswith("look 4: the words of this sweep were read before, at 3, 5 and 8 seeds")
    said = sentence(looks, 12)
    assert said.endswith("may be wrong in at most 0.17 instead of 5 of 100 sweeps, and its intervals are wider")
    assert sentence(looks, None).endswith("; 11% of the allowed error is left for look 4 and all later ones")


READ_BEFORE = {"looks": [3], "looks_spent": 0.75}


def grown_to_five(empty_sweep, **fields):
    made = empty_sweep(confirm_top=1, confirm_seeds=5, **fields)
    for study, gain in (("none", 0.0), ("kd", 0.02)):
        made.study(study, is_baseline=study == "none")
        origin = made.trial(study, 0.5)
        for seed, noise in enumerate((0.0, 0.010, -0.006, 0.007, -0.010), 101):
            made.trial(study, 0.5 + gain + (noise if gain else -noise / 5), seed=seed, of=origin)
    return made


def test_a_comparison_that_was_read_before_has_only_the_error_that_is_left(empty_sweep):
    at_once, again = (
        compare(grown_to_five(empty_sweep, **fields).tables()).set_index("study").loc["kd"]
        for fields in ({}, READ_BEFORE)
    )
    assert (at_once["word"], again["word"]) == ("separated", "not separated")
    assert again["difference"] == at_once["difference"]
    assert again["p_holm"] == pytest.approx(at_once["p_holm"] * 10)
    assert again["low"] < 0 < at_once["low"]


@pytest.mark.parametrize("read", [ablate, replays], ids=["effects", "published"])
def test_so_has_an_ablation(empty_sweep, read):
    widths = []
    for fields in ({}, READ_BEFORE):
        made = grown_to_five(empty_sweep, purpose="ablation", **fields)
        for cell, role in (("none", "reference"), ("kd", "cell")):
            made.cell(cell, role)
            made.rows["cells"][-1]["published"] = 0.5
        rows = read(made.tables())
        widths.append(float((rows["high"] - rows["low"]).max()))
    assert widths[1] > 1.5 * widths[0]
