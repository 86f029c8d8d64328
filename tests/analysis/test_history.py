import math

import numpy as np
import pandas as pd
import pytest

from analysis.search.history import incumbents, learning_curves, responses, spending, thinned
from analysis.tables.ranges import crowded_edges, distance, edges


def test_incumbent_counts_the_cost_of_trials_that_won_nothing(empty_sweep):
    sweep = empty_sweep()
    sweep.study("kd")
    for score, state in ((None, "diverged"), (0.4, "complete"), (None, "pruned"), (0.3, "complete")):
        sweep.trial("kd", score, state=state)
    frame = incumbents(sweep.tables())
    assert frame["epochs"].tolist() == [2, 4, 6, 8]
    assert frame["seconds"].tolist() == [20, 40, 60, 80]
    assert np.isnan(frame["best"].iloc[0])
    assert frame["best"].tolist()[1:] == [0.4, 0.4, 0.4]


def test_incumbent_leaves_fresh_seeds_out(tables):
    frame = incumbents(tables)
    assert frame.groupby("study").size().to_dict() == {"cwd": 3, "none": 3}
    assert frame.loc[frame["study"] == "none", "best"].tolist() == [0.35, 0.43, 0.43]


def test_responses_hold_numbers_and_names(tables):
    frame = responses(tables)
    act = frame[frame["name"] == "act"]
    assert act["value"].isna().all()
    assert act["value_json"].unique().tolist() == ['"a"']
    assert frame.loc[frame["name"] == "optimizer.lr", "log"].all()
    assert len(frame) == 3 + 6


@pytest.mark.parametrize(
    ("value", "side"), [(1e-4, "lower"), (1.3e-4, "lower"), (1e-3, None), (0.05, None), (0.1, "upper")]
)
def test_edges_are_measured_on_the_scale_of_the_range(empty_sweep, value, side):
    sweep = empty_sweep()
    sweep.study("kd")
    trial = sweep.trial("kd", 0.4, params={"optimizer.lr": value, "unknown": 3.0})
    result = edges(sweep.tables(), [trial])[trial]
    assert (f"at the {side} edge" in result[0]) if side else result == []


def test_spending_adds_up(tables):
    frame = spending(tables)
    assert frame["seconds"].sum() == tables["trials"]["seconds"].sum()
    assert set(frame["use"]) == {"search", "fresh seeds"}


def test_many_curves_are_thinned_but_fresh_seeds_stay(empty_sweep):
    sweep = empty_sweep()
    sweep.study("kd")
    for _ in range(25):
        sweep.trial("kd", 0.4, curve=[0.1, 0.2, 0.4])
    sweep.trial("kd", 0.4, of="kd-0", seed=3)
    curves = learning_curves(sweep.tables(), per_study=10)
    shown = curves.drop_duplicates("trial_id")
    assert (shown["phase"] == "search").sum() == 10
    assert (shown["phase"] == "confirm").sum() == 1
    assert len(learning_curves(sweep.tables(), per_study=30)["trial_id"].unique()) == 26


def test_a_crowd_at_an_edge_proposes_a_range_that_reaches_beyond_it(empty_sweep):
    sweep = empty_sweep()
    space = {
        "optimizer.lr": {"low": 0.01, "high": 0.1, "log": True},
        "t": {"low": 1.0, "high": 8.0},
        "g": {"low": 0.0, "high": 1.0},
    }
    sweep.study("kd", space=space)
    for score, lr, t in ((0.5, 0.099, 7.9), (0.49, 0.0999, 7.8), (0.48, 0.05, 4.0), (0.1, 0.0101, 1.0)):
        sweep.trial("kd", score, params={"optimizer.lr": lr, "t": t, "g": 0.0})
    assert crowded_edges(sweep.tables(), "kd") == [
        "2 of the best 4 trials have optimizer.lr at the upper edge of its range (0.01 to 0.1); try 0.032 to 0.32",
        "2 of the best 4 trials have t at the upper edge of its range (1 to 8); try 4.5 to 12",
        "4 of the best 4 trials have g at the lower edge of its range (0 to 1)",
    ]
    assert len(crowded_edges(sweep.tables(), "kd", top=2)) == 3


def test_the_distance_from_published_values_is_a_share_of_the_ranges(empty_sweep):
    sweep = empty_sweep()
    space = {"lr": {"low": 0.01, "high": 1.0, "log": True}, "act": {"choices": ["a", "b"]}}
    sweep.study("kd", space=space, defaults_json='{"lr": 0.1, "act": "a"}')
    near, far = (sweep.trial("kd", 0.5, params=params) for params in ({"lr": 0.1, "act": "a"}, {"lr": 1.0, "act": "b"}))
    tables = sweep.tables()
    assert distance(tables, "kd", near) == pytest.approx(0.0)
    assert distance(tables, "kd", far) == pytest.approx(0.75)
    assert math.isnan(distance(tables, "kd", None))


def test_trials_that_run_are_neither_incumbents_nor_ended(sweep):
    sweep.trial("cwd", None, state="running")
    assert len(incumbents(sweep.tables())) == 6


def test_what_diverged_or_failed_is_lost_whatever_it_was_for(sweep):
    sweep.trial("cwd", None, state="diverged", seconds=5.0)
    sweep.trial("cwd", None, state="failed", seed=13, of="cwd-0", seconds=7.0)
    frame = spending(sweep.tables()).set_index(["study", "use"])
    assert frame.loc[("cwd", "lost"), ["trials", "seconds"]].tolist() == [2, 12.0]
    assert frame.loc[("cwd", "fresh seeds"), "trials"] == 2


def test_curves_and_responses_are_of_the_search_and_the_fresh_seeds(sweep):
    final = sweep.trial("cwd", 0.5, seed=21, of="cwd-0", phase="final")
    fixed = {"name": "terms.kd.weight", "value_json": "1.0", "value": 1.0, "role": "scientific"}
    sweep.rows["params"].append({"sweep_id": "s1", "trial_id": "cwd-0", **fixed})
    assert final not in set(learning_curves(sweep.tables())["trial_id"])
    assert set(responses(sweep.tables())["name"]) == {"optimizer.lr", "act"}


def test_a_thinned_curve_keeps_its_first_and_its_last_row():
    rows = pd.DataFrame({"epoch": range(1, 51)})
    kept = list(thinned(rows, 40)["epoch"])
    assert (kept[0], kept[-1], len(kept), len(set(kept))) == (1, 50, 40, 40)
    assert thinned(rows, 50) is rows
