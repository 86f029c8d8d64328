import json

import numpy as np
import pytest
import yaml

from analysis import AnalysisError
from analysis.selection.finalists import finalists
from analysis.selection.select import best, select
from analysis.tables.files import SCHEMAS, write_table


def test_fresh_seeds_decide_not_the_search(tables):
    chosen = select(tables).iloc[0]
    assert chosen["study"] == "cwd"
    assert chosen["trial_id"] == "cwd-0"
    assert list(chosen["seeds"]) == [11, 12]
    assert list(chosen["scores"]) == [0.50, 0.46]
    assert chosen["mean"] == pytest.approx(0.48)
    assert chosen["optimism"] == pytest.approx(0.55 - 0.48)
    assert chosen["sd"] == pytest.approx(0.0282842712)


def test_rank_counts_over_all_studies_and_one_is_chosen(tables):
    frame = select(tables)
    assert frame["rank"].tolist() == [1, 2]
    assert frame["chosen"].tolist() == [True, False]
    assert frame["study"].tolist() == ["cwd", "none"]


def test_a_candidate_with_a_seed_that_diverged_counts_it_and_is_not_chosen(sweep):
    sweep.trial("cwd", 0.90, seed=11, of="cwd-1")
    sweep.trial("cwd", None, seed=12, of="cwd-1", state="diverged")
    frame = select(sweep.tables())
    assert frame.loc[frame["chosen"], "trial_id"].tolist() == ["cwd-0"]
    assert frame.iloc[-1]["trial_id"] == "cwd-1"
    worst = min(trial["score"] for trial in sweep.rows["trials"] if trial["score"] is not None)
    assert frame.iloc[-1]["scores"] == [0.90, worst]


def test_without_confirmation_the_best_single_seed_stands_in_and_says_so(empty_sweep):
    sweep = empty_sweep()
    sweep.study("none", is_baseline=True)
    sweep.trial("none", 0.4)
    sweep.trial("none", 0.5)
    found = best(sweep.tables())["evidence"]
    assert found["confirmed_on_fresh_seeds"] is False
    assert (found["trial"], found["n"], found["mean"]) == ("none-1", 1, 0.5)
    assert found["optimism"] is None
    assert any("not confirmed" in text for text in found["warnings"])


def test_of_equal_single_scores_the_first_trial_stands_in(empty_sweep):
    sweep = empty_sweep()
    sweep.study("none", is_baseline=True)
    for score in (0.4, 0.5, 0.5):
        sweep.trial("none", score)
    assert select(sweep.tables())["trial_id"].tolist() == ["none-1"]


def test_a_study_which_was_not_searched_has_no_screen_score(empty_sweep):
    sweep = empty_sweep(confirm_seeds=1)
    sweep.study("none", space={}, is_baseline=True)
    sweep.trial("none", 0.4, phase="confirm", seed=1)
    row = select(sweep.tables()).iloc[0]
    assert row[["trial_id", "screen_score", "optimism"]].isna().all()
    assert json.loads(row["config_json"])["seed"] == 1


def test_best_is_plain_values_with_the_candidates_config(tables):
    found = yaml.safe_load(yaml.safe_dump(best(tables)))
    assert found["config"] == {"method": "cwd", "number": 0, "seed": 7}
    evidence = found["evidence"]
    assert evidence["screen_score"] == 0.55
    assert evidence["baseline"]["difference"] == pytest.approx(0.07)
    assert evidence["baseline"]["differences"] == pytest.approx([0.10, 0.04])
    assert evidence["teacher"]["miou"] == 0.55
    assert [other["study"] for other in evidence["runners_up"]] == ["none"]


def test_nothing_complete_is_one_sentence(empty_sweep):
    sweep = empty_sweep()
    sweep.study("none", is_baseline=True)
    sweep.trial("none", None)
    assert select(sweep.tables()).empty
    with pytest.raises(AnalysisError, match="no trial of this sweep is complete \\(1 failed\\)"):
        best(sweep.tables())


def test_selections_can_be_stored(tables, empty_sweep, tmp_path):
    assert list(select(tables)) == SCHEMAS["selections"].names
    write_table(tmp_path, "selections", select(tables))
    write_table(tmp_path, "selections", select(empty_sweep().tables()))


def raced(empty_sweep, **changes):
    """Two studies, two finalists each on three seeds; cwd is the better, kd within one standard error and cheaper."""
    sweep = empty_sweep(confirm_top=2, confirm_seeds=3)
    sweep.study("none", is_baseline=True)
    for study in ("kd", "cwd"):
        sweep.study(study)
    scores = {
        "none": ((0.400, 0.410, 0.405), (0.390, 0.400, 0.395)),
        "kd": ((0.502, 0.508, 0.504), (0.480, 0.490, 0.485)),
        "cwd": ((0.501, 0.512, 0.503), (0.470, 0.480, 0.475)),
        **changes,
    }
    for study, configs in scores.items():
        for number, seeds in enumerate(configs):
            searched = sweep.trial(study, 0.52 - 0.01 * number)
            for seed, score in enumerate(seeds, start=11):
                state = {} if score is not None else {"state": "diverged"}
                sweep.trial(study, score, seed=seed, of=searched, seconds=50.0 if study == "cwd" else 20.0, **state)
    return sweep.tables()


def test_the_cheapest_within_one_standard_error_is_chosen_and_says_so(empty_sweep):
    tables = raced(empty_sweep)
    frame = select(tables)
    assert frame.loc[frame["rank"] == 1, "study"].tolist() == ["cwd"]
    assert frame.loc[frame["chosen"], "study"].tolist() == ["kd"]
    assert set(frame.loc[frame["tie"], "study"]) == {"cwd", "kd"}
    assert frame.loc[frame["chosen"], "cost_s"].tolist() == [20.0]
    evidence = best(tables)["evidence"]
    selection = evidence["selection"]
    assert evidence["study"] == "kd"
    assert selection["why"] == (
        "at least 2 times as fast to train as the others of 2 that are within one standard error of the best mean"
    )
    assert [other["study"] for other in selection["tie_set"]] == ["cwd", "kd"]
    assert selection["rank_interval"] == "1 to 2 of 6"
    assert 0.2 < selection["probability_of_best"] < 0.5


def test_a_finalist_with_a_collapsed_or_lost_seed_is_kept_but_not_chosen(empty_sweep):
    tables = raced(
        empty_sweep,
        cwd=((0.60, 0.10, 0.61), (0.470, 0.480, 0.475)),
        kd=((0.70, None, 0.72), (0.480, 0.490, 0.485)),
    )
    frame = select(tables).set_index(["study", "trial_id"])
    assert frame.loc[("cwd", "cwd-0"), "unstable"] == "seed 12 collapsed to 10.00"
    assert frame.loc[("kd", "kd-0"), "unstable"] == "seed 12 diverged, counted as 10.00"
    assert frame.index[frame["chosen"]].tolist() == [("kd", "kd-4")]
    assert len(frame) == 6
    assert set(frame["rank"].tail(2)) == {5, 6}
    assert len(best(tables)["evidence"]["selection"]["unstable"]) == 2


def test_the_share_of_the_teacher_is_part_of_the_cost(tables):
    frame = select(tables).set_index("study")
    assert frame.loc["none", "cost_s"] == 20.0
    taught = tables["trials"]
    taught.loc[taught["study"] == "cwd", "config_json"] = '{"teacher": "abcdef0123456789"}'
    assert select(tables).set_index("study").loc["cwd", "cost_s"] == 20.0 + 300.0 / 5
    taught["parts_json"] = '{"total": 20.0, "record_teacher": 2.0}'
    frame = select(tables).set_index("study")
    assert frame.loc["none", "cost_s"] == 20.0
    assert frame.loc["cwd", "cost_s"] == 20.0 + (300.0 + 2.0 * (taught["reused_from"].isna()).sum()) / 5


def test_a_frozen_selection_stays_what_it_is(empty_sweep):
    tables = raced(empty_sweep)
    held = select(tables).iloc[3]
    frozen = {"chosen": {"study": held["study"], "trial": None, "config_id": held["config_id"]}, "why": "frozen"}
    tables["sweeps"]["frozen_json"] = json.dumps({**frozen, "baseline": None, "seeds": [], "at": "2026"})
    frame = select(tables)
    assert frame.loc[frame["chosen"], "config_id"].tolist() == [held["config_id"]]


def test_those_that_went_out_in_an_early_round_come_after_those_of_the_last(empty_sweep):
    sweep = empty_sweep(confirm_top=4, confirm_seeds=3)  # a round of one seed for four, one of three for two
    sweep.study("none", is_baseline=True)
    for number, seeds in enumerate([(0.40, 0.41, 0.40, 0.41), (0.42, 0.43, 0.41, 0.42), (0.39,), (0.44,)]):
        searched = sweep.trial("none", 0.5 - 0.01 * number)
        for seed, score in enumerate(seeds, start=11):
            sweep.trial("none", score, seed=seed, of=searched)
    frame = select(sweep.tables())
    assert frame["trial_id"].tolist()[0] == "none-5"
    assert frame["rounds"].tolist() == [2, 2, 1, 1]
    assert frame["tie"].tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("declared", "reached", "counted"),
    [(None, 0.31, 0.31), ("reached", 0.31, 0.31), ("reached", None, 0.12), ("worst", 0.31, 0.12)],
)
def test_a_fresh_seed_that_diverged_counts_as_the_spec_declares(empty_sweep, declared, reached, counted):
    sweep = empty_sweep(failures=declared)
    sweep.study("none", is_baseline=True)
    searched = sweep.trial("none", 0.50)
    sweep.trial("none", 0.12)
    for seed, score in enumerate((0.50, 0.51), start=11):
        sweep.trial("none", score, seed=seed, of=searched)
    sweep.trial("none", None, seed=13, of=searched, state="diverged", reached=reached)
    row = finalists(sweep.tables()).iloc[0]
    assert (row["seeds"], row["failed_seeds"], row["n"]) == ([11, 12, 13], [13], 3)
    assert row["scores"] == pytest.approx([0.50, 0.51, counted])
    assert row["mean"] == pytest.approx(np.mean([0.50, 0.51, counted]))


@pytest.mark.parametrize(
    ("fields", "is_missing"),
    [
        ({"state": "failed", "failure": "out_of_memory"}, True),
        ({"state": "failed", "failure": "node_lost"}, True),
        ({"state": "failed", "failure": "missing"}, True),
        ({"state": "failed"}, True),
        ({"state": "failed", "failure": "error"}, False),
        ({"state": "complete"}, False),
    ],
)
def test_a_seed_that_its_machine_lost_is_missing_and_one_that_its_code_lost_counts(empty_sweep, fields, is_missing):
    sweep = empty_sweep(confirm_seeds=3)
    sweep.study("none", is_baseline=True)
    searched = sweep.trial("none", 0.50)
    for seed in (11, 12):
        sweep.trial("none", 0.50, seed=seed, of=searched)
    sweep.trial("none", None, seed=13, of=searched, reached=0.2, **fields)
    row = finalists(sweep.tables()).iloc[0]
    assert (row["n"], row["planned_seeds"], row["failed_seeds"]) == ((2, 3, []) if is_missing else (3, 3, [13]))


def test_a_config_of_an_early_round_never_stands_before_one_of_the_last_round_that_diverged(empty_sweep):
    sweep = empty_sweep(confirm_top=4, confirm_seeds=3)
    sweep.study("none", is_baseline=True)
    for number, seeds in enumerate([(0.40, None, 0.40, 0.41), (0.42, 0.43, None, 0.42), (0.39,), (0.44,)]):
        searched = sweep.trial("none", 0.5 - 0.01 * number)
        for seed, score in enumerate(seeds, start=11):
            state = {} if score is not None else {"state": "diverged", "reached": 0.3}
            sweep.trial("none", score, seed=seed, of=searched, **state)
    frame = select(sweep.tables())
    assert frame["rounds"].tolist() == [2, 2, 1, 1]
    assert frame["chosen"].tolist() == [True, False, False, False]
    assert finalists(sweep.tables())["why"].iloc[0].endswith("in which a fresh seed of every config failed")
