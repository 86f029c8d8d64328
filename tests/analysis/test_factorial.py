import itertools
import json

import numpy as np
import pytest

from analysis.ablation.effects import ablate
from analysis.ablation.factorial import factorial_effects
from analysis.figures import ablation as plots_ablation
from analysis.figures.marks import Text
from tests.analysis.conftest import without_a_seed


@pytest.fixture
def factorial(empty_sweep):
    """Tables of a factorial with a known truth: a function of the signs (1 on, -1 off) of the factors."""

    def build(factors, truth, sd=0.003, seeds=3, kept=lambda signs: True, failed=(), seed=0):
        rng = np.random.default_rng(seed)
        sweep = empty_sweep(purpose="ablation", baseline=None, budget_trials=None, confirm_seeds=seeds)
        names = [f"loss_{i}" for i in range(factors)]
        for signs in itertools.product((1, -1), repeat=factors):
            if not kept(signs):
                continue
            levels = {name: "on" if sign > 0 else "off" for name, sign in zip(names, signs, strict=True)}
            off = [name for name in names if levels[name] == "off"]
            cell = "without_" + "+".join(off) if off else "reference"
            sweep.study(cell, space={}, budget_trials=None)
            for number in range(seeds):
                score = None if cell in failed else 0.5 + truth(*signs) + sd * rng.normal()
                sweep.trial(cell, score, seed=number, phase="confirm", config_id=cell)
            role = "cell" if off else "reference"
            row = {"design": "factorial", "cell": cell, "role": role, "family": "factorial"}
            sweep.rows["cells"].append({"sweep_id": "s1", **row, "levels_json": json.dumps(levels)})
        return sweep.tables()

    return build


def truth(a, b, *others):
    """Effects 0.02 and 0.008, and a brings 0.012 more where b is on."""
    return 0.010 * a + 0.004 * b + 0.003 * a * b


def test_main_effects_are_averages_and_interactions_have_their_sign(factorial):
    frame = factorial_effects(factorial(3, truth)).set_index("effect")
    assert frame.loc["loss_0", "difference"] == pytest.approx(0.020, abs=0.003)
    assert frame.loc["loss_1", "difference"] == pytest.approx(0.008, abs=0.003)
    assert frame.loc["loss_0 x loss_1", "difference"] == pytest.approx(0.012, abs=0.005)
    assert frame.loc[["loss_0", "loss_1", "loss_0 x loss_1"], "word"].tolist() == ["separated"] * 3
    assert frame.loc["loss_2", "word"] != "separated"
    assert frame.loc["loss_0", "simple"] == pytest.approx(0.026, abs=0.005)
    assert frame.loc["loss_0", "contrast"] == "on minus off"
    assert frame["share"].idxmax() == "loss_0"
    assert frame["share"].sum() < 1


def test_without_interaction_the_effect_beside_all_others_is_the_main_effect(factorial):
    frame = factorial_effects(factorial(2, lambda a, b: 0.01 * a, sd=0.0)).set_index("effect")
    assert frame.loc["loss_0", ["difference", "simple"]].tolist() == pytest.approx([0.02, 0.02])
    assert frame.loc["loss_0 x loss_1", "difference"] == pytest.approx(0, abs=1e-9)
    assert frame.loc["loss_1", "word"] == "not separated", "scores that no seed changes are no evidence"


def test_what_a_fraction_mixes_is_named_and_not_estimated(factorial):
    tables = factorial(4, truth, kept=lambda signs: np.prod(signs) == 1)
    frame = factorial_effects(tables).set_index("effect")
    mains = frame[frame["kind"] == "main"]
    assert mains["difference"].notna().all()
    assert mains["aliases"].map(len).eq(0).all()
    mixed = frame.loc["loss_0 x loss_1"]
    assert np.isnan(mixed["difference"])
    assert mixed["word"] is None or mixed["word"] != mixed["word"]
    assert mixed["aliases"] == ["loss_2 x loss_3"]
    assert mains["simple"].isna().all()
    assert "adjusted for 4 effects (step-down Sidak)" in frame["estimator"].iloc[0]


def test_failed_cells_leave_what_can_be_estimated(factorial):
    one = factorial_effects(factorial(3, truth, failed=["without_loss_0+loss_1"])).set_index("effect")
    assert one["difference"].notna().all()
    assert one["missing"].iloc[0] == ["without_loss_0+loss_1"]
    corner = [f"without_loss_0{rest}" for rest in ("", "+loss_1", "+loss_2", "+loss_1+loss_2")]
    half = factorial_effects(factorial(3, truth, failed=corner)).set_index("effect")
    assert np.isnan(half.loc["loss_0", "difference"])
    assert half.loc["loss_1", "aliases"] == ["loss_0 x loss_1"]
    assert "adjusted for 6 effects (step-down Sidak)" in half["estimator"].iloc[0]


def test_no_effect_of_a_factorial_is_judged_while_a_planned_seed_of_a_cell_is_missing(factorial):
    frame = factorial_effects(without_a_seed(factorial(2, truth), "without_loss_1"))
    assert frame["difference"].notna().all()
    assert frame["low"].isna().all()
    assert frame["word"].isna().all()
    assert frame["withheld"].eq("1 of 3 planned fresh seeds of without_loss_1 is missing").all()


@pytest.mark.parametrize("seeds", [0, 1])
def test_without_repeated_runs_nothing_is_claimed(factorial, seeds):
    frame = factorial_effects(factorial(2, truth, seeds=max(seeds, 1), failed=() if seeds else ANY))
    assert frame["low"].isna().all()
    assert not frame["word"].eq("separated").any()
    plots_ablation.interactions(frame).draw()
    plots_ablation.main_effects(frame, 0.003).draw()


ANY = ("reference", "without_loss_0", "without_loss_1", "without_loss_0+loss_1")


def test_cells_of_a_factorial_are_not_judged_one_by_one(factorial):
    frame = ablate(factorial(2, truth))
    assert frame["difference"].notna().sum() == 3
    assert frame["word"].isna().all()


@pytest.mark.slow
def test_no_effect_is_called_separated_in_more_than_one_family_of_twenty(factorial):
    wrong = sum(
        factorial_effects(factorial(2, lambda a, b: 0.0, seed=seed))["word"].eq("separated").any() for seed in range(40)
    )
    assert wrong <= 6


def test_the_heat_map_has_effects_in_points(factorial):
    frame = factorial_effects(factorial(2, truth, sd=0.0))
    texts = {(mark.x, mark.y): mark.text for mark in plots_ablation.interactions(frame).marks if isinstance(mark, Text)}
    assert texts[0, 1] == "+2.00"
    assert texts[0, 0] == "+1.20"
    assert (1, 1) not in texts


def test_a_share_is_the_sum_of_squares_of_an_effect_in_all_of_the_variation(factorial):
    tables = factorial(2, truth)
    frame = factorial_effects(tables)
    scores = tables["trials"]["score"]
    of_effects = len(scores) * (frame["difference"] / [2, 2, 4]) ** 2
    assert frame["share"].to_numpy() == pytest.approx((of_effects / ((scores - scores.mean()) ** 2).sum()).to_numpy())
