import itertools
import json

import numpy as np
import pytest
import statsmodels.formula.api as smf
from statsmodels.stats.anova import anova_lm

from analysis.ablation.factorial import factorial_effects
from analysis.ablation.layers import layer_grids
from analysis.figures import ablation as plots_ablation
from tests.analysis.conftest import on_other_code, without_a_seed


@pytest.fixture
def grid(empty_sweep):
    """Tables of a layer grid with a known truth: a function of row and column."""

    def build(truth, size=4, sd=0.003, seeds=3, failed=(), seed=0):
        rng = np.random.default_rng(seed)
        sweep = empty_sweep(purpose="ablation", baseline=None, budget_trials=None, confirm_seeds=seeds)
        for row, column in itertools.product(range(size), repeat=2):
            cell = f"pair-{row}-{column}"
            sweep.study(cell, space={}, budget_trials=None)
            for number in range(seeds):
                score = None if (row, column) in failed else 0.5 + truth(row, column) + sd * rng.normal()
                sweep.trial(cell, score, seed=number, phase="confirm", config_id=cell)
            levels = {"cwd.student_layer": f"encoder.{row}", "cwd.teacher_layer": f"layer{column}"}
            role = "cell" if row + column else "reference"
            named = {"design": "layer-grid", "cell": cell, "role": role, "family": "cwd layers"}
            sweep.rows["cells"].append({"sweep_id": "s1", **named, "levels_json": json.dumps(levels)})
        return sweep.tables()

    return build


def test_rows_and_columns_are_told_apart(grid):
    result = layer_grids(grid(lambda row, column: 0.01 * row - 0.004 * column))[0]
    frame = result.frame.set_index("cell")
    assert frame.loc["pair-3-0", "row_effect"] == pytest.approx(0.015, abs=0.003)
    assert frame.loc["pair-0-3", "column_effect"] == pytest.approx(-0.006, abs=0.003)
    assert result.p["student"] < 0.001
    assert result.p["teacher"] < 0.001
    assert result.sd == pytest.approx(0.003, rel=0.4)
    assert "pair-3-0" in frame.index[frame["top"]]
    assert frame["top"].sum() == 4
    assert "confirm the best 4" in result.note


def test_where_layers_do_not_matter_pairs_come_out_alike(grid):
    worlds = [layer_grids(grid(lambda row, column: 0.0, seed=seed))[0].frame for seed in range(3)]
    shrunken = np.mean([frame["shrunken"].max() - 0.5 for frame in worlds])
    plain = np.mean([frame["mean"].max() - 0.5 for frame in worlds])
    assert shrunken < plain / 2


def test_a_particular_pair_survives_the_shrinking(grid):
    result = layer_grids(grid(lambda row, column: 0.03 * (row == column == 2)))[0]
    best = result.frame.loc[result.frame["shrunken"].idxmax()]
    assert best["cell"] == "pair-2-2"
    assert best["residual"] > 0.01
    assert result.p["pair"] < 0.001


def test_missing_pairs_stay_missing_and_are_never_the_best(grid):
    result = layer_grids(grid(lambda row, column: 0.01 * row, failed=[(3, 1), (1, 2)]))[0]
    frame = result.frame.set_index("cell")
    assert np.isnan(frame.loc["pair-3-1", "mean"])
    assert frame.loc["pair-3-1", "n"] == 0
    assert not frame.loc["pair-3-1", "top"]
    assert frame.loc["pair-3-1", "additive"] == pytest.approx(0.53, abs=0.005)
    plots_ablation.layer_grid(result).draw()


def test_one_seed_cannot_tell_a_good_pair_from_a_lucky_one(grid):
    result = layer_grids(grid(lambda row, column: 0.01 * row, seeds=1))[0]
    assert np.isnan(result.sd)
    assert np.isnan(result.p["pair"])
    assert "One seed per pair" in result.note


def test_a_grid_of_two_by_two_is_no_factorial(grid):
    tables = grid(lambda row, column: 0.0, size=2)
    assert len(layer_grids(tables)) == 1
    assert factorial_effects(tables).empty


def test_a_grid_without_any_score_is_drawn_empty(grid):
    pairs = list(itertools.product(range(2), repeat=2))
    result = layer_grids(grid(lambda row, column: 0.0, size=2, failed=pairs))[0]
    assert result.frame["mean"].isna().all()
    plots_ablation.layer_grid(result).draw()


def test_chances_are_those_of_an_analysis_of_variance(grid):
    tables = grid(lambda row, column: 0.002 * row)
    trials = tables["trials"]
    runs = trials["study"].str.extract("pair-(?P<row>.)-(?P<column>.)").assign(seed=trials["seed"], y=trials["score"])
    theirs = anova_lm(smf.ols("y ~ C(row) * C(column) + C(seed)", runs).fit(), typ=2)["PR(>F)"]
    expected = {"student": "C(row)", "teacher": "C(column)", "pair": "C(row):C(column)"}
    p = layer_grids(tables)[0].p
    assert p == pytest.approx({part: theirs[name] for part, name in expected.items()})


def test_three_tests_of_one_grid_are_one_family(grid):
    """A p-value of 0.04 among three is not beyond noise."""
    worlds = [layer_grids(grid(lambda row, column: 0.0, size=2, seeds=4, seed=seed))[0] for seed in range(12)]
    for result in worlds:
        assert min(result.p_adjusted.values()) == pytest.approx(1 - (1 - min(result.p.values())) ** 3)
        assert ("Nothing here" in result.note) == (min(result.p_adjusted.values()) >= 0.05)
    assert any(min(result.p.values()) < 0.05 <= min(result.p_adjusted.values()) for result in worlds)


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        (without_a_seed, "1 of 3 planned fresh seeds of pair-2-1 is missing"),
        (on_other_code, "pair-0-0 and pair-2-1 ran on different code"),
    ],
)
def test_a_grid_has_no_verdict_while_its_pairs_cannot_be_compared(grid, spoilt, why):
    tables = grid(lambda row, column: 0.01 * row - 0.004 * column)
    (whole,), (result,) = layer_grids(tables), layer_grids(spoilt(tables, "pair-2-1"))
    assert whole.note.startswith("Beyond noise: the student's layer, the teacher's layer.")
    assert result.note == f"No verdict: {why}. The best of 16 pairs is a selection: confirm the best 4 on fresh seeds."
    assert np.isnan(list(result.p_adjusted.values())).all()
    plots_ablation.layer_grid(result).draw()
