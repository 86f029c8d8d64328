"""What each search of a study found, and that a training counts once."""

import pandas as pd
import pytest

from analysis.report.cautions import budget
from analysis.report.findings import findings_of
from analysis.report.sections.budget import section
from analysis.search.history import learning_curves
from analysis.selection.compare import compare
from analysis.selection.evidence import races
from analysis.selection.finalists import finalists, trials_of
from analysis.selection.searches import searches
from analysis.tables.files import read_tables
from analysis.tables.schemas import ASSUMED
from tests.analysis.conftest import rows_of

SEEDS = (8, 9, 10, 11)


@pytest.fixture
def repeated(empty_sweep):
    """Studies with two searches each: those of `kd` find different configs, those of `none` the same one.

    The fresh seeds of the config that both searches of `none` found were trained for the first search and taken over
    for the second.
    """
    made = empty_sweep(confirm_top=2, confirm_seeds=2)
    made.study("none", is_baseline=True, repeats=2)
    made.study("kd", repeats=2)
    for study, found in (("none", (("a", 0.40), ("a", 0.41))), ("kd", (("b", 0.50), ("c", 0.60)))):
        for search, (config, score) in enumerate(found, start=1):
            fields = {"config_id": config, "search": search}
            first = made.trial(study, score, seed=7 + 10**6 * (search - 1), **fields)
            for seed in SEEDS[:2]:
                fresh = made.trial(study, score - 0.01 * (seed - 6), seed=seed, of=first)
                if study == "none" and search == 2:
                    row = next(row for row in made.rows["trials"] if row["trial_id"] == fresh)
                    row |= {"score": 0.40 - 0.01 * (seed - 6), "reused_from": f"none-{seed - 7}"}
    return made


def test_each_search_of_a_study_has_a_row_with_its_winner(repeated):
    rows = searches(repeated.tables()).set_index(["study", "search"])
    assert list(rows.index) == [("none", 1), ("none", 2), ("kd", 1), ("kd", 2)]
    assert rows["config_id"].tolist() == ["a", "a", "b", "c"]
    assert rows.loc[("kd", 2), "scores"] == pytest.approx([0.58, 0.57])
    assert rows.loc[("kd", 2), "seeds"] == [8, 9]
    assert rows["search_trials"].tolist() == [1, 1, 1, 1]


def test_searches_that_found_the_same_config_share_its_trainings_and_say_so(repeated):
    rows = searches(repeated.tables()).set_index(["study", "search"])
    assert rows.loc[("none", 2), "scores"] == rows.loc[("none", 1), "scores"]
    assert rows["same_as"].isna().tolist() == [True, False, True, True]
    assert rows.loc[("none", 2), "same_as"] == 1


def test_a_config_of_two_searches_is_one_finalist_and_each_of_its_seeds_counts_once(repeated):
    tables = repeated.tables()
    ranked = finalists(tables)
    assert ranked["config_id"].tolist() == ["c", "b", "a"]
    same = ranked.set_index("config_id", drop=False).loc["a"]
    assert (same["n"], same["seeds"], same["search"]) == (2, [8, 9], 1)
    assert len(trials_of(tables, same)) == 2


def test_a_seed_that_diverged_in_two_searches_is_named_once(repeated):
    for trial in repeated.rows["trials"]:
        if trial["study"] == "none" and trial["seed"] == 9:
            trial |= {"state": "diverged", "score": None}
    same = finalists(repeated.tables()).set_index("config_id").loc["a"]
    assert str(same["unstable"]).count("9") == 1


def test_a_study_stays_one_row_of_the_comparison(repeated):
    rows = compare(repeated.tables()).set_index("study")
    assert rows["config_id"].to_dict() == {"kd": "c", "none": "a"}
    assert rows["search_trials"].to_dict() == {"kd": 2, "none": 2}


def test_the_report_says_how_the_budget_was_shared_and_draws_a_training_once(repeated):
    tables = repeated.tables()
    assert "3 trials granted to each study, shared evenly by its 2 searches." in budget(tables, compare(tables))
    curves = learning_curves(tables)
    shown = curves[(curves["study"] == "none") & (curves["phase"] == "confirm")]
    assert shown["trial_id"].unique().tolist() == ["none-1", "none-2"]


def test_the_report_has_a_row_for_each_search_where_studies_have_several(repeated, tables):
    shown = section(findings_of(repeated.tables()))
    assert "What each search spent and found" in shown
    assert shown.count("the config of search 1, trained once on each seed") == 1
    assert "What each search" not in section(findings_of(tables))


def test_more_seeds_cost_a_race_for_each_search(repeated):
    made = races(repeated.tables())
    assert [race.trainings(made.top, 3) for race in made.studies.values()] == [2 * 3, 2 * 2 * 3]


def test_the_final_seeds_of_a_frozen_selection_do_not_enter(repeated):
    before = searches(repeated.tables())
    for seed in (20, 21):
        repeated.trial("kd", 0.1, seed=seed, of="kd-3", phase="final")
    pd.testing.assert_frame_equal(searches(repeated.tables()), before)


def test_a_search_that_still_runs_has_no_winner_while_others_are_confirmed(repeated):
    trials = repeated.rows["trials"]
    repeated.rows["trials"] = [trial for trial in trials if (trial["search"], trial["phase"]) != (2, "confirm")]
    row = searches(repeated.tables()).set_index(["study", "search"]).loc[("kd", 2)]
    assert (row["n"], row["seeds"], row["search_trials"]) == (0, [], 1)
    assert pd.isna(row["config_id"])


def test_a_search_in_its_first_round_is_not_taken_for_one_that_went_out(empty_sweep):
    made = empty_sweep(confirm_top=4, confirm_seeds=3, finished=False)  # one seed for four configs, three for two
    made.study("kd", repeats=2)
    for search, seeds in ((1, SEEDS), (2, SEEDS[:1])):
        first = made.trial("kd", 0.5, search=search, seed=7 * search)
        for seed in seeds:
            made.trial("kd", 0.5, seed=seed, of=first)
    planned = finalists(made.tables()).set_index("search")["planned_seeds"]
    assert planned.to_dict() == {1: 4, 2: 4}


def test_a_search_without_fresh_seeds_is_represented_by_one_trial(empty_sweep):
    made = empty_sweep(confirm_top=0)
    made.study("kd", repeats=2)
    for search, scores in ((1, (0.3, 0.4)), (2, (0.6, 0.5))):
        for number, score in enumerate(scores):
            made.trial("kd", score, search=search, seed=7 * search, config_id=f"c{number}")
    tables = made.tables()
    assert searches(tables)["scores"].tolist() == [[0.4], [0.6]]
    (best,) = [row for _, row in finalists(tables).iterrows()]
    assert trials_of(tables, best)["score"].tolist() == [0.6]


def test_a_sweep_without_repeats_has_one_row_for_each_study(tables):
    rows, one = searches(tables), compare(tables).set_index("study")
    assert rows["search"].tolist() == [1, 1]
    for _, row in rows.iterrows():
        assert row["config_id"] == one.loc[row["study"], "config_id"]
        assert row["scores"] == one.loc[row["study"], "scores"]


def test_tables_that_were_written_before_hold_one_search_for_each_study(sweep, tmp_path):
    tables = read_tables(sweep.write(tmp_path, lacking=ASSUMED))
    assert set(tables["trials"]["search"]) == {1}
    assert set(tables["studies"]["repeats"]) == {1}
    answer = rows_of(tmp_path, "select distinct search, repeats from trials join studies using (study)")
    assert answer == [{"search": 1, "repeats": 1}]


def test_rows_without_the_columns_are_those_of_a_sweep_without_repeats(sweep, tmp_path):
    expected = searches(sweep.tables())
    for rows, column in ((sweep.rows["trials"], "search"), (sweep.rows["studies"], "repeats")):
        for row in rows:
            del row[column]
    assert set(read_tables(sweep.write(tmp_path))["trials"]["search"]) == {1}
    pd.testing.assert_frame_equal(searches(sweep.tables()), expected)
