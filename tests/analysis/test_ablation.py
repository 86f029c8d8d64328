import numpy as np
import pytest

from analysis.ablation.effects import ablate, worth
from analysis.figures import ablation as plots_ablation
from analysis.figures.marks import Box, Dots


@pytest.fixture
def ablation(empty_sweep):
    """A reference of two terms and one cell without each; the second cell lacks seed 2, the third failed."""
    sweep = empty_sweep(purpose="ablation", design="leave-one-out", baseline=None, budget_trials=None)
    scores = {
        "full": {1: 0.50, 2: 0.52},
        "no-cwd": {1: 0.45, 2: 0.48},
        "no-kd": {1: 0.51},
        "no-csc": {1: None},
    }
    for study, seeds in scores.items():
        sweep.study(study, space={}, budget_trials=None)
        for seed, score in seeds.items():
            sweep.trial(study, score, seed=seed, phase="confirm", config_id=study)
    sweep.cell("no-kd", "cell", "kd", "off")
    sweep.cell("full", "reference")
    sweep.cell("no-cwd", "cell", "channel_wise", "off")
    sweep.cell("no-csc", "cell", "csc", "off")
    return sweep


def test_cells_are_paired_with_the_reference_by_seed(ablation):
    frame = ablate(ablation.tables()).set_index("cell")
    assert frame.index.tolist() == ["full", "no-cwd", "no-kd", "no-csc"]
    assert frame.loc["no-cwd", "differences"] == pytest.approx([-0.05, -0.04])
    assert frame.loc["no-cwd", "difference"] == pytest.approx(-0.045)
    assert frame.loc["no-kd", "paired_seeds"] == [1]
    assert frame["n"].tolist() == [2, 2, 1, 0]


def test_a_cell_without_a_complete_trial_stays_in_the_table(ablation):
    row = ablate(ablation.tables()).set_index("cell").loc["no-csc"]
    assert np.isnan(row["mean"])
    assert np.isnan(row["difference"])
    assert row["scores"] == []


def test_a_search_is_no_ablation(tables):
    assert ablate(tables).empty


def test_every_family_is_judged_by_itself_and_what_failed_belongs_to_it(ablation):
    ablation.study("none", space={}, budget_trials=None)
    for seed, score in ((1, 0.40), (2, 0.42)):
        ablation.trial("none", score, seed=seed, phase="confirm", config_id="none")
    ablation.cell("none", "control")
    frame = ablate(ablation.tables()).set_index("cell")
    assert frame.loc["none", "family"] == "controls"
    assert "Sidak" not in frame.loc["none", "estimator"]
    assert "adjusted for 3 comparisons (step-down Sidak)" in frame.loc["no-cwd", "estimator"]
    assert frame.loc["no-kd", "word"] == "not separated"
    assert np.isnan(frame.loc["no-csc", "low"])
    assert frame.loc["no-cwd", "low"] < -0.045 < frame.loc["no-cwd", "high"]
    assert frame.loc["no-cwd", "runs"] == 2
    assert frame.loc["no-cwd", "seconds"] == pytest.approx(40)


def test_what_a_term_brings_is_positive_where_it_helps(ablation):
    for cell, role, factor, level in (("no-csc", "reference", None, None), ("no-cwd", "cell", "kd", "on")):
        ablation.cell(cell, role, factor, level)
        ablation.rows["cells"][-1]["design"] = "add-one-in"
    result = worth(ablate(ablation.tables())).set_index(["label", "way"])
    row = result.loc[("channel_wise", "beside the others")]
    assert row["difference"] == pytest.approx(0.045)
    assert row["differences"] == pytest.approx([0.05, 0.04])
    assert row["low"] < row["difference"] < row["high"]
    assert np.isnan(result.loc[("kd", "alone"), "difference"])


def test_a_forest_has_every_seed_in_points(ablation):
    frame = ablate(ablation.tables())
    figure = plots_ablation.forest(frame[frame["role"] != "reference"], 0.003)
    dots = [mark for mark in figure.marks if isinstance(mark, Dots) and mark.size == 6]
    assert sorted(value for mark in dots for value in mark.x) == pytest.approx([-5, -4, 1])
    assert figure.y.labels == ["without csc", "without kd", "without channel_wise"]
    (band,) = (mark for mark in figure.marks if isinstance(mark, Box))
    assert (band.x0, band.x1) == pytest.approx((-0.3, 0.3))
    assert "channel_wise</text>" in figure.draw()


def test_runs_that_are_only_planned_have_cost_nothing(ablation):
    ablation.trial("no-kd", None, seed=2, phase="confirm", config_id="no-kd", state="planned", seconds=None)
    row = ablate(ablation.tables()).set_index("cell").loc["no-kd"]
    assert (row["runs"], row["seconds"]) == (1, 20.0)


def test_no_effect_is_judged_while_a_planned_seed_is_missing(ablation):
    before = ablate(ablation.tables()).set_index("cell").loc["no-cwd"]
    assert np.isfinite(before["low"])
    ablation.trial("no-cwd", None, seed=3, phase="confirm", config_id="no-cwd", failure="node_lost")
    row = ablate(ablation.tables()).set_index("cell").loc["no-cwd"]
    assert not isinstance(row["word"], str)
    assert np.isnan(row["low"])
    assert row["difference"] == pytest.approx(-0.045)
    assert row["withheld"] == "1 of 3 planned fresh seeds of no-cwd is missing"


def test_no_effect_is_judged_where_no_seed_of_the_reference_was_trained_to_its_end(ablation):
    for row in ablation.rows["trials"]:
        if row["study"] == "full":
            row["state"] = "diverged"
    frame = ablate(ablation.tables()).set_index("cell")
    assert frame.loc["no-cwd", "withheld"].startswith("all 2 fresh seeds of full failed")
    assert frame["low"].isna().all()
