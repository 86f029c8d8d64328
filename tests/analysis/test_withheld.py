"""When a comparison says no word, or a weaker one: missing seeds, and failures of a study or of its baseline."""

import numpy as np
import pytest

from analysis.selection.compare import compare
from analysis.selection.failures import PRIOR_TRAININGS, Share, StudyFailures, explained

STEADY = (0.500, 0.502, 0.501, 0.499, 0.500)
BETTER = (0.510, 0.513, 0.511, 0.509, 0.509)


@pytest.fixture
def compared(empty_sweep):
    """Two studies: fresh seeds by study, scores of further search trials of cwd, fields of trials without a score."""

    def build(fresh, searched=(), top=1, **failed):
        seeds = max(len(scores) for scores in fresh.values())
        sweep = empty_sweep(confirm_seeds=seeds, confirm_top=top)
        for study, scores in fresh.items():
            sweep.study(study, is_baseline=study == "none", budget_trials=1 + len(searched))
            origin = sweep.trial(study, 0.52)
            for score in searched if study == "cwd" else [0.51] * len(searched):
                sweep.trial(study, score, **({} if score is not None else {"state": "diverged", "reached": 0.3}))
            for seed, score in enumerate(scores, start=11):
                sweep.trial(study, score, seed=seed, of=origin, **({} if score is not None else failed))
        frame = compare(sweep.tables()).set_index("study")
        return frame.loc["cwd"], frame.loc["none"]

    return build


def test_a_word_is_said_where_nothing_failed(compared):
    row, baseline = compared({"none": STEADY, "cwd": BETTER})
    assert (row["word"], row["withheld"]) == ("separated", "")
    assert (row["success"], row["search_broken"], row["fresh_broken"]) == (1.0, 0, 0)
    assert (row["fresh_runs"], baseline["fresh_runs"]) == (5, 5)
    assert row["success_low"] == pytest.approx(0.025 ** (1 / 5))
    assert row["success_high"] == 1.0


@pytest.mark.parametrize("study", ["none", "cwd"])
@pytest.mark.parametrize("failure", ["out_of_memory", "node_lost", "missing", None])
def test_no_word_is_said_while_a_planned_seed_is_missing(compared, study, failure):
    fresh = {"none": STEADY, "cwd": BETTER}
    fresh[study] = (*fresh[study][:4], None)
    row, _ = compared(fresh, state="failed", failure=failure)
    name = "the baseline none" if study == "none" else "cwd"
    assert row["word"] is None
    assert np.isnan(row["low"])
    assert row["withheld"] == f"1 of 5 planned fresh seeds of {name} is missing"
    assert any(row["withheld"] in warning for warning in row["warnings"])


def test_nor_is_equivalent_said(compared):
    row, _ = compared({"none": STEADY, "cwd": (*STEADY[:4], None)}, state="failed", failure="lost")
    assert row["word"] is None


def test_a_config_that_diverges_is_not_called_better_for_the_seeds_that_it_survives(compared):
    row, _ = compared({"none": STEADY, "cwd": (*BETTER[:4], None)}, state="diverged", reached=0.31)
    assert row["word"] == "not separated"
    assert row["difference"] == pytest.approx((np.sum(BETTER[:4]) + 0.31 - np.sum(STEADY)) / 5)
    assert row["unstable"] == "seed 15 diverged, counted as 31.00"
    assert (row["success"], row["fresh_broken"]) == (0.8, 1)
    assert any("1 of 5 fresh seeds failed" in warning for warning in row["warnings"])


@pytest.mark.parametrize("study", ["none", "cwd"])
def test_where_all_fresh_seeds_diverged_the_message_says_so(compared, study):
    fresh = {"none": STEADY, "cwd": BETTER} | {study: (None,) * 5}
    row, _ = compared(fresh, state="diverged", reached=0.02)
    name = "the baseline none" if study == "none" else "cwd"
    assert row["word"] is None
    assert row["withheld"].startswith(
        f"all 5 fresh seeds of {name} failed (seeds 11, 12, 13, 14, 15 diverged, counted as 2.00)"
    )


def test_a_baseline_that_collapses_does_not_make_others_better(compared):
    """Without a burden the interval excludes 0: the baseline has lost 2 to 30 points on every seed but one."""
    row, baseline = compared({"none": (0.500, 0.20, 0.20, 0.20, 0.499), "cwd": (0.500, 0.502, 0.501, 0.499, 0.500)})
    assert row["word"] == "not separated"
    assert any("a baseline that fails makes the others look better" in warning for warning in baseline["warnings"])
    assert row["low"] < 0


@pytest.mark.parametrize(
    ("searched", "word"),
    [
        ((0.51,) * 9, "separated"),
        ((None, *(0.51,) * 8), "not separated"),
        ((0.20, *(0.51,) * 8), "not separated"),
        ((0.45, 0.48, *(0.51,) * 7), "separated"),
    ],
)
def test_the_failures_of_the_search_count_against_the_config_that_did_not_fail(compared, searched, word):
    row, _ = compared({"none": STEADY, "cwd": BETTER}, searched)
    assert row["word"] == word
    assert (row["low"] > 0.003) == (word == "separated")
    if word != "separated":
        assert (row["search_broken"], row["search_runs"], row["fresh_broken"]) == (1, 10, 0)
        assert "1 of 15 trainings of cwd failed or collapsed (1 of 10 in the search, 0 of 5 on" in row["withheld"]


def test_a_burden_never_makes_a_word_stronger(compared):
    worse = tuple(score - 0.03 for score in BETTER)
    row, _ = compared({"none": STEADY, "cwd": worse}, (None, *(0.51,) * 8))
    assert (row["word"], row["withheld"]) == ("separated", "")
    row, _ = compared({"none": STEADY, "cwd": STEADY[::-1]}, (None, *(0.51,) * 8))
    assert row["word"] != "separated"


def test_the_expected_loss_leans_on_the_record_of_the_study():
    record = StudyFailures(Share(2, 10), Share(1, 10), (0.2, 0.2, 0.2))
    assert record.expected_loss(Share(0, 5)) == pytest.approx(0.2 * PRIOR_TRAININGS * 0.15 / (5 + PRIOR_TRAININGS))
    assert record.expected_loss(Share(5, 5)) > 0.2 * 0.4
    assert StudyFailures(Share(0, 10), Share(0, 10)).expected_loss(Share(0, 5)) == 0.0


def test_the_interval_of_the_probability_of_success_covers_at_least_as_often_as_it_says():
    rng = np.random.default_rng(0)
    for n in (3, 5, 10):
        ends = [Share(failed, n).success()[1:] for failed in range(n + 1)]
        for rate in (0.02, 0.2, 0.5, 0.9):
            failed = rng.binomial(n, rate, 2000)
            assert np.mean([ends[each][0] <= 1 - rate <= ends[each][1] for each in failed]) >= 0.94
    assert all(map(np.isnan, Share().success()))


def test_failures_beyond_all_other_values_of_a_parameter_are_explained_by_it():
    values = {"lr": [1e-3, 1e-2, 3e-2, 0.5, 0.9], "weight": [1.0, 5.0, 2.0, 3.0, 4.0]}
    assert explained(values, [False, False, False, True, True])
    assert not explained(values, [False, False, False, False, True])
    assert not explained(values, [False, True, True, False, False])
    assert not explained({"kind": [np.nan] * 5}, [True, True, False, False, False])
