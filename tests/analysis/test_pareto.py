import numpy as np
import pytest
from scipy import stats

from analysis.figures import search as plots
from analysis.figures.marks import Dots
from analysis.search.pareto import on_front, pareto


def test_the_front_is_what_no_other_beats():
    scores = np.array([0.5, 0.6, 0.6, 0.4, 0.5])
    costs = np.array([[1.0], [2.0], [3.0], [0.5], [1.0]])
    assert on_front(scores, costs).tolist() == [True, True, False, True, True]


@pytest.fixture
def costly(sweep):
    """The confirmed trainings of ``cwd`` took three times as long."""
    for trial in sweep.rows["trials"]:
        trial["seconds"] = 60.0 if trial["study"] == "cwd" else 20.0
    return sweep


def test_better_and_dearer_configs_are_both_on_the_front(costly):
    result = pareto(costly.tables()).set_index("study")
    assert result.index.tolist() == ["cwd", "none"]
    assert result["on_front"].all()
    assert result.loc["none", "p_front"] == 1.0
    assert 0.5 < result.loc["cwd", "p_front"] < 1.0


def test_a_dearer_config_that_is_hardly_better_is_unlikely_to_belong(costly):
    for trial in costly.rows["trials"]:
        if trial["phase"] == "confirm" and trial["study"] == "cwd":
            trial["score"] = {11: 0.405, 12: 0.395}[trial["seed"]]
    result = pareto(costly.tables()).set_index("study")
    assert not result.loc["cwd", "on_front"]
    assert 0.05 < result.loc["cwd", "p_front"] < 0.5


def test_a_config_whose_fresh_seeds_all_diverged_has_no_size_and_is_drawn(costly):
    for trial in costly.rows["trials"]:
        if trial["phase"] == "confirm" and trial["study"] == "none":
            trial.update(state="diverged", score=None, params=None)
    result = pareto(costly.tables())
    assert result.set_index("study").loc[["none", "cwd"], "params"].isna().tolist() == [True, False]
    drawn = plots.pareto(result, {"none": "#000000", "cwd": "#ff0000"})
    (dots,) = (mark for mark in drawn.marks if isinstance(mark, Dots))
    assert len(dots.x) == len(dots.size) == 2
    assert all(f">{study}</text>" in drawn.draw() for study in ("none", "cwd"))


def test_one_student_has_one_latency(costly):
    for trial, latency in zip(costly.rows["trials"], np.linspace(10, 40, len(costly.rows["trials"])), strict=True):
        trial["latency_ms"] = float(latency)
    assert pareto(costly.tables())["latency_ms"].tolist() == [10.0, 10.0]


def test_latencies_of_different_devices_decide_nothing(costly):
    for trial in costly.rows["trials"]:
        trial.update(seconds=20.0)
        if trial["study"] == "none":
            trial.update(latency_device="gpu", latency_ms=1.0)
    result = pareto(costly.tables()).set_index("study")
    assert result["on_front"].to_dict() == {"cwd": True, "none": False}


def test_an_unknown_cost_decides_nothing_and_stays_missing(costly):
    for trial in costly.rows["trials"]:
        trial["latency_ms"] = None
    result = pareto(costly.tables())
    assert result["latency_ms"].isna().all()
    assert result["on_front"].all()


def test_search_scores_are_on_no_front(empty_sweep):
    made = empty_sweep()
    made.study("none", is_baseline=True)
    made.trial("none", 0.5)
    assert pareto(made.tables()).empty


def test_a_dearer_config_is_on_the_front_as_often_as_it_is_better(costly):
    """Two configs on two seeds: the difference of two t distributions with one degree of freedom each is another."""
    for trial in costly.rows["trials"]:
        if trial["phase"] == "confirm" and trial["study"] == "cwd":
            trial["score"] = {11: 0.41, 12: 0.39}[trial["seed"]]
    result = pareto(costly.tables()).set_index("study")
    assert result.loc["cwd", "p_front"] == pytest.approx(stats.t.sf(0.01 / (0.01 + 0.01), 1), abs=0.03)
