import numpy as np
import pytest

from analysis.ablation import ablate


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
