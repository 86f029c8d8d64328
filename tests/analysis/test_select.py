import json

import pytest
import yaml

from analysis import InputError
from analysis.select import best, select
from analysis.tables import SCHEMAS, write_table


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


def test_a_candidate_without_all_planned_seeds_is_not_chosen(sweep):
    sweep.trial("cwd", 0.90, seed=11, of="cwd-1")
    sweep.trial("cwd", None, seed=12, of="cwd-1", state="diverged")
    frame = select(sweep.tables())
    assert frame.loc[frame["chosen"], "trial_id"].tolist() == ["cwd-0"]
    assert frame.iloc[-1]["trial_id"] == "cwd-1"
    assert frame.iloc[-1]["n"] == 1


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
    with pytest.raises(InputError, match="no trial of this sweep is complete \\(1 failed\\)"):
        best(sweep.tables())


def test_selections_can_be_stored(tables, empty_sweep, tmp_path):
    assert list(select(tables)) == SCHEMAS["selections"].names
    write_table(tmp_path, "selections", select(tables))
    write_table(tmp_path, "selections", select(empty_sweep().tables()))
