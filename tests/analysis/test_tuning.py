import numpy as np
import pytest

from analysis.tuning import edges, incumbents, learning_curves, responses, spending


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
    found = edges(sweep.tables(), [trial])[trial]
    assert (f"at the {side} edge" in found[0]) if side else found == []


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
