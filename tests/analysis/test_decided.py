"""Whether more seeds would decide a comparison: success, futility, and the chance in between."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.selection.decided import chance_of_a_word, decide, final_alpha, follows, said_of
from analysis.selection.said import Said
from analysis.stats.looks import Looks, alpha_at

MOST = 12


@pytest.mark.parametrize("smallest", [0.0, 0.3])
@pytest.mark.parametrize("seeds", [3, 5, 8])
@pytest.mark.parametrize("either", [False, True])
def test_the_chance_is_that_of_the_seeds_to_come(smallest, seeds, either):
    rng, level, draws = np.random.default_rng(seeds), 0.02, 100_000
    so_far = rng.normal(size=seeds)
    so_far = (so_far - so_far.mean()) / so_far.std(ddof=1) * 0.3 + 0.2
    sd = 0.3 * np.sqrt((seeds - 1) / rng.chisquare(seeds - 1, draws))
    gain = 0.2 + sd * rng.normal(size=draws) / np.sqrt(seeds)
    later = gain + sd * rng.normal(size=draws) / np.sqrt(MOST - seeds)
    mean = (seeds * 0.2 + (MOST - seeds) * later) / MOST
    half = stats.t.isf(level / 2, MOST - 1) * 0.3 / np.sqrt(MOST)
    found = (mean > max(smallest, half)) | (np.abs(mean) < smallest - half)
    if either:
        found |= mean < -max(smallest, half)
    assert chance_of_a_word(so_far, MOST, smallest, level, either) == pytest.approx(found.mean(), abs=0.006)


@pytest.mark.parametrize(
    ("differences", "chance"),
    [([0.1], 1.0), ([0.1, 0.1, 0.1], 0.0), ([0.1, 0.2, 0.1] * 4, 0.0)],
    ids=["one seed", "no noise", "all seeds"],
)
def test_where_no_seeds_are_to_come_or_no_noise_is_known(differences, chance):
    assert chance_of_a_word(differences, MOST, 0.0, 0.02) == chance


def said(word, n=5, study="kd"):
    return Said(study, word, 0.01, -0.01, 0.03, n)


CLEAR, NONE, HOPELESS = [0.05, 0.06, 0.04], [0.01, -0.01, 0.012], [-0.05, -0.04, -0.06]


@pytest.mark.parametrize(
    ("words", "differences", "goes_on", "reason"),
    [
        ([said("separated")], [CLEAR], False, "kd is separated from the baseline none"),
        ([said("equivalent")], [NONE], False, "kd is equivalent to the baseline none"),
        ([said("separated", n=3)], [CLEAR], True, "not decided yet"),
        ([said("not separated")], [NONE], True, "not decided yet"),
        ([said("not separated"), said("separated", study="cwd")], [NONE, CLEAR], True, "not decided yet"),
        ([said("not separated")], [HOPELESS], False, "more seeds would hardly decide"),
        ([said("not separated")] * 2, [HOPELESS, NONE], True, "not decided yet"),
    ],
)
def test_it_stops_for_success_or_futility(words, differences, goes_on, reason):
    decision = follows(tuple(words), "none", differences, MOST, 0.003, 0.02)
    assert decision.goes_on is goes_on
    assert decision.reason.startswith(reason)


def test_the_last_look_has_what_the_looks_up_to_it_leave():
    looks = Looks(most=MOST).after(3)
    assert final_alpha(5, MOST, looks) == pytest.approx(alpha_at(MOST, looks.after(5).after(8)))


def test_a_comparison_that_is_refused_is_not_helped_by_more_seeds(empty_sweep):
    made = empty_sweep(confirm_top=1, confirm_seeds=3, confirm_most=MOST, finished=False)
    for study, parameters in (("none", 0), ("kd", 3)):
        made.study(study, is_baseline=study == "none", searched_parameters=parameters)
        origin = made.trial(study, 0.5)
        for seed in (101, 102, 103):
            made.trial(study, 0.5 + 0.01 * (seed % 3), seed=seed, of=origin)
    decision = decide(made.tables())
    assert not decision.goes_on
    assert decision.reason.startswith("no study is compared with the baseline none, and more seeds do not help: ")


def test_nothing_is_said_of_a_row_without_a_word_or_without_an_interval():
    rows = pd.DataFrame(
        [
            ("kd", "separated", 0.01, 0.001, 0.02, 5),
            ("cwd", "not separated", 0.01, np.nan, np.nan, 1),
            ("at", None, 0.01, 0.001, 0.02, 5),
        ],
        columns=["study", "word", "difference", "low", "high", "n"],
    )
    assert [said.study for said in said_of(rows, "study")] == ["kd"]
