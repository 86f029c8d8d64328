import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import AnalysisError
from analysis.selection.claims import share_of_gap
from analysis.selection.compare import compare, per_class
from analysis.selection.refusals import refusals


def rows(tables):
    return compare(tables).set_index("study")


def test_differences_are_paired_by_seed_not_by_position(tables):
    frame = rows(tables)
    assert frame.loc["cwd", "paired_seeds"] == [11, 12]
    assert frame.loc["cwd", "differences"] == pytest.approx([0.10, 0.04])
    assert frame.loc["cwd", "difference"] == pytest.approx(0.07)
    assert frame.loc["cwd", "gap_closed"] == pytest.approx(0.5)
    assert np.isnan(frame.loc["none", "difference"])


def test_spread_is_minimum_and_maximum_of_the_seeds(tables):
    row = rows(tables).loc["none"]
    assert (row["mean"], row["minimum"], row["maximum"], row["n"]) == (pytest.approx(0.41), 0.40, 0.42, 2)


def test_budget_counts_search_and_fresh_seeds_apart(tables):
    row = rows(tables).loc["cwd"]
    assert (row["search_trials"], row["search_epochs"], row["search_s"]) == (3, 6, 60.0)
    assert row["confirm_s"] == 40.0
    assert row["complete"] == 5
    assert row["warnings"] == []


def test_only_seeds_in_common_are_paired(sweep):
    sweep.study("kd")
    sweep.trial("kd", 0.5)
    sweep.trial("kd", 0.45, seed=12, of="kd-0")
    sweep.trial("kd", 0.99, seed=13, of="kd-0")
    row = rows(sweep.tables()).loc["kd"]
    assert row["differences"] == pytest.approx([0.45 - 0.42])
    assert row["n"] == 2


def test_no_seed_in_common_gives_no_difference(sweep):
    sweep.study("kd")
    sweep.trial("kd", 0.5)
    for seed in (13, 14):
        sweep.trial("kd", 0.45, seed=seed, of="kd-0")
    row = rows(sweep.tables()).loc["kd"]
    assert np.isnan(row["difference"])
    assert "no seed in common with the baseline" in row["warnings"]


def test_an_unsearched_baseline_is_refused_as_a_fair_one(sweep):
    sweep.rows["studies"][0]["searched_parameters"] = 0
    assert "baseline was not searched" in rows(sweep.tables()).loc["cwd", "warnings"]


def test_unequal_budgets_are_named_in_the_unit_that_was_granted(sweep):
    sweep.trial("cwd", 0.1)
    assert rows(sweep.tables()).loc["cwd", "warnings"] == ["budgets differ by more than 10 %: 4 trials, baseline 3"]
    for study in sweep.rows["studies"]:
        study["budget_epochs"] = 6
    warning = rows(sweep.tables()).loc["cwd", "warnings"][0]
    assert warning.endswith("8 epochs, baseline 6")


def test_the_claim_is_a_paired_test_over_seeds(sweep):
    row = rows(sweep.tables()).loc["cwd"]
    theirs = stats.ttest_rel([0.50, 0.46], [0.40, 0.42]).confidence_interval(1 - 0.05 * 2 / 3)
    assert (row["low"], row["high"]) == pytest.approx((theirs.low, theirs.high))
    assert (row["word"], row["unstable"], row["refused"]) == ("not separated", None, [])
    assert row["mde"] > 0.3
    assert pd.isna(rows(sweep.tables()).loc["none", "word"])


def test_a_result_that_was_copied_from_seed_to_seed_gets_no_word_and_the_row_says_why(sweep):
    for trial in sweep.rows["trials"]:
        if trial["phase"] == "confirm" and trial["study"] == "cwd":
            trial["score"] = 0.48
    row = rows(sweep.tables()).loc["cwd"]
    assert row["word"] == "not separated"
    assert row["withheld"] == "the scores are no evidence: the same score on every seed"
    assert np.isnan(row["low"])
    assert np.isnan(row["gap_low"])


def test_nothing_is_claimed_before_the_sweep_has_finished(sweep):
    sweep.rows["sweeps"][0]["finished"] = False
    row = rows(sweep.tables()).loc["cwd"]
    assert pd.isna(row["word"])
    assert np.isnan(row["low"])
    assert row["difference"] == pytest.approx(0.07)


def test_nothing_is_claimed_from_the_scores_that_found_the_configs(sweep):
    sweep.rows["trials"] = [trial for trial in sweep.rows["trials"] if trial["phase"] == "search"]
    row = rows(sweep.tables()).loc["cwd"]
    assert pd.isna(row["word"])
    assert np.isnan(row["p_holm"])


def test_the_share_of_the_gap_has_an_interval_around_it(sweep):
    for seed, base, mine in ((13, 0.41, 0.485), (14, 0.415, 0.48), (15, 0.405, 0.478)):
        sweep.trial("none", base, seed=seed, of="none-1")
        sweep.trial("cwd", mine, seed=seed, of="cwd-0")
    row = rows(sweep.tables()).loc["cwd"]
    assert 0 < row["gap_low"] < row["gap_closed"] < row["gap_high"] < 1.5


def test_the_ends_of_the_share_are_where_a_paired_t_test_would_just_reject_it():
    """A share s holds while the mean of m - b - s (T - b) over the seeds is within its noise."""
    rng = np.random.default_rng(0)
    baseline = 0.41 + 0.01 * rng.normal(size=5)
    mine = 0.48 + 0.5 * (baseline - 0.41) + 0.003 * rng.normal(size=5)
    low, high = share_of_gap(mine, baseline, 0.55)
    assert low < 0.5 < high
    for share in (low, high):
        assert stats.ttest_1samp(mine - baseline - share * (0.55 - baseline), 0).pvalue == pytest.approx(0.05)


def test_the_share_of_the_gap_holds_zero_where_the_difference_does(sweep):
    """Differences of 0.10, 0.04, 0.11 and 0.03: a t of 3.43, beyond 3.18 by itself, within what this look allows."""
    for seed, base, mine in ((13, 0.41, 0.52), (14, 0.405, 0.435)):
        sweep.trial("none", base, seed=seed, of="none-1")
        sweep.trial("cwd", mine, seed=seed, of="cwd-0")
    row = rows(sweep.tables()).loc["cwd"]
    assert share_of_gap([0.50, 0.46, 0.52, 0.435], [0.40, 0.42, 0.41, 0.405], 0.55)[0] > 0
    assert row["low"] < 0
    assert row["gap_low"] < 0


def test_the_share_of_the_gap_is_estimated_from_the_seeds_that_both_have(sweep):
    sweep.trial("none", 0.41, seed=13, of="none-1")
    sweep.trial("cwd", 0.485, seed=13, of="cwd-0")
    row = rows(sweep.tables()).loc["cwd"]
    critical = (row["high"] - row["low"]) / 2 / stats.sem([0.10, 0.04, 0.075])
    expected = share_of_gap([0.50, 0.46, 0.485], [0.40, 0.42, 0.41], 0.55, critical)
    assert (row["gap_low"], row["gap_high"]) == pytest.approx(expected)
    assert row["gap_closed"] == pytest.approx(np.mean([0.10, 0.04, 0.075]) / 0.14)


def test_final_seeds_are_neither_fresh_seeds_nor_their_cost(sweep):
    sweep.trial("cwd", 0.90, seed=21, of="cwd-0", phase="final")
    row = rows(sweep.tables()).loc["cwd"]
    assert (row["seeds"], row["n"], row["planned_seeds"], row["confirm_s"]) == ([11, 12], 2, 2, 40.0)
    assert row["mean"] == pytest.approx(0.48)


def test_trials_that_are_only_planned_have_spent_nothing(sweep):
    sweep.trial("cwd", None, state="planned", seconds=None, epochs_run=0)
    row = rows(sweep.tables()).loc["cwd"]
    assert (row["search_trials"], row["planned"], row["warnings"]) == (3, 1, [])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"searched_parameters": 0}, "the baseline none was not searched"),
        ({"is_baseline": False}, "there is no baseline study to compare it with"),
        ({"space_json": "{}"}, "the baseline none was not searched over optimizer.lr"),
    ],
)
def test_a_comparison_with_a_baseline_that_was_not_searched_alike_is_refused(sweep, change, reason):
    sweep.rows["sweeps"][0]["spec_json"] = '{"space": {"optimizer.lr": {"low": 0.001, "high": 0.1}}}'
    sweep.rows["studies"][0].update(change)
    comparison = compare(sweep.tables())
    row = comparison.set_index("study").loc["cwd"]
    assert row["refused"] == [reason]
    assert pd.isna(row["word"])
    assert np.isnan([row["difference"], row["low"], row["gap_closed"]]).all()
    assert f"cwd is not compared with the baseline: {reason}." in refusals(comparison)


def test_a_baseline_searched_less_is_refused_one_searched_more_is_not(sweep):
    sweep.trial("cwd", 0.1)
    row = rows(sweep.tables()).loc["cwd"]
    assert row["refused"] == ["the baseline none was searched with 25% less: 3 of 4 trials, and 25% less training time"]
    assert row["budget_ratio"] == pytest.approx(4 / 3)
    for _ in range(3):
        sweep.trial("none", 0.1)
    assert rows(sweep.tables()).loc["cwd", "refused"] == []


def test_the_last_training_of_an_epoch_budget_may_exceed_it(sweep):
    for study in sweep.rows["studies"]:
        study["budget_epochs"] = 6
    sweep.trial("cwd", 0.1, epochs_run=1)
    assert rows(sweep.tables()).loc["cwd", "refused"] == []
    sweep.rows["trials"][-1]["epochs_run"] = 2  # a whole training more
    assert rows(sweep.tables()).loc["cwd", "refused"][0].startswith("the baseline none was searched with 25% less")
    sweep.rows["trials"][-1]["epochs_run"] = 1
    sweep.trial("cwd", 0.1)
    assert rows(sweep.tables()).loc["cwd", "refused"][0].startswith("the baseline none was searched with 33% less")


def test_equal_epochs_that_took_longer_are_compared_with_a_warning(sweep):
    for trial in sweep.rows["trials"]:
        trial["seconds"] *= 4 if trial["study"] == "cwd" else 1
    row = rows(sweep.tables()).loc["cwd"]
    assert row["refused"] == []
    assert row["time_ratio"] == 4.0
    assert row["warnings"] == [
        "equal trials, not equal time: the baseline was searched for 25% of the time of this study"
    ]


def test_a_best_value_at_the_edge_of_its_range_is_named(sweep):
    for row in sweep.rows["params"]:
        if row["trial_id"] == "cwd-0" and row["name"] == "optimizer.lr":
            row["value"] = 0.0999
    warnings = rows(sweep.tables()).loc["cwd", "warnings"]
    assert warnings == [
        "best optimizer.lr = 0.0999 at the upper edge of its range (0.0001 to 0.1); try 0.00032 to 0.32"
    ]


def test_failures_and_missing_seeds_are_named(sweep):
    sweep.trial("cwd", None, state="diverged", reason="term kd")
    for trial in sweep.rows["trials"]:
        if trial["trial_id"] == "cwd-4":
            trial.update(state="failed", score=None)
    warnings = rows(sweep.tables()).loc["cwd", "warnings"]
    assert "n=1" in warnings
    assert "1 of 2 fresh seeds missing" in warnings
    assert "1 of 6 trials diverged" in warnings
    assert "1 of 6 trials failed" in warnings


def test_a_study_without_a_complete_trial_comes_last(sweep):
    sweep.study("kd")
    sweep.trial("kd", None)
    frame = compare(sweep.tables())
    assert frame["study"].tolist() == ["cwd", "none", "kd"]
    last = frame.iloc[-1]
    assert (last["n"], last["scores"], last["chosen"]) == (0, [], False)
    assert np.isnan(last["mean"])
    assert "no finalist: none of its trials is complete" in last["warnings"]


def test_a_teacher_which_is_no_better_gives_no_share_of_a_gap(sweep):
    sweep.rows["teachers"][0]["miou"] = 0.42
    row = rows(sweep.tables()).loc["cwd"]
    assert np.isnan(row["gap_closed"])
    assert "the teacher leads the baseline by only 1.00 points" in row["warnings"]


def test_a_teacher_worse_than_the_baseline_does_not_lead_it(sweep):
    sweep.rows["teachers"][0]["miou"] = 0.39
    row = rows(sweep.tables()).loc["cwd"]
    warnings = row["warnings"]
    assert np.isnan(row["gap_closed"])
    assert "the teacher is no better than the baseline: it scores 2.00 points less" in warnings
    assert not any("leads" in warning for warning in warnings)


def test_a_teacher_scored_on_another_role_is_not_compared(sweep):
    sweep.rows["teachers"][0]["role"] = "test"
    assert np.isnan(rows(sweep.tables()).loc["cwd", "gap_closed"])
    tables = sweep.tables()
    assert per_class(tables, compare(tables))["teacher"].isna().all()


def test_role_test_is_shown_apart(sweep):
    for trial_id, miou in (("cwd-3", 0.44), ("cwd-4", 0.46)):
        sweep.evaluation(trial_id, miou, [miou, miou], role="test")
    sweep.evaluation("cwd-4", 0.10, [0.1, 0.1], role="test")
    sweep.rows["evaluations"][-1]["epoch"] = 1  # an earlier one
    row = rows(sweep.tables()).loc["cwd"]
    assert row["test_mean"] == pytest.approx(0.45)
    assert row["mean"] == pytest.approx(0.48)


def test_no_study_is_one_sentence(empty_sweep):
    with pytest.raises(AnalysisError, match="no study"):
        compare(empty_sweep().tables())


def test_absent_classes_stay_missing_and_are_not_averaged_as_zero(sweep):
    ious = {"cwd-3": [0.6, None], "cwd-4": [0.8, None], "none-3": [0.5, None], "none-4": [0.5, 0.3]}
    for row in sweep.rows["evaluations"]:
        row["iou"] = ious.get(row["trial_id"], row["iou"])
    tables = sweep.tables()
    frame = per_class(tables, compare(tables))
    assert frame.index.tolist() == ["road", "car"]
    assert frame.loc["road", "best"] == pytest.approx(0.7)
    assert np.isnan(frame.loc["car", "best"])
    assert frame.loc["car", "baseline"] == pytest.approx(0.3)
    assert frame.loc["car", "teacher"] == pytest.approx(0.55)
