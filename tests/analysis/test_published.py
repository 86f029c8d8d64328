import numpy as np
import pandas as pd
import pytest

from analysis.ablation.published import INCONCLUSIVE, NOT, REPRODUCED, replay, replays
from analysis.stats.seed_contrasts import effects

WORLDS = 50


def world(means, sd, seeds=5, seed=0):
    """Effects of configs with these true scores; the first is the reference."""
    rng = np.random.default_rng(seed)
    rows = [(name, s, mean + sd * rng.standard_normal()) for name, mean in means.items() for s in range(seeds)]
    return effects(pd.DataFrame(rows, columns=["config", "seed", "score"]), next(iter(means)))


def exact(differences, half, sd=0.001):
    """Effects with given differences and half-widths, with a standard error as large as the published noise."""
    result = world({"ref": 0.7, **dict.fromkeys(differences, 0.7)}, sd)
    frame = result.frame.assign(
        difference=list(differences.values()),
        low=[value - half for value in differences.values()],
        high=[value + half for value in differences.values()],
        se=result.sd * np.sqrt(2),
    )
    return type(result)(**{**result.__dict__, "frame": frame})


def verdict(ours, published, half=0.01, **options):
    result = replay(exact({"x": ours}, half), {"ref": 0.70, "x": 0.70 + published}, **options)
    return tuple(result.loc[0, ["verdict", "why"]])


@pytest.mark.parametrize("sign", [1, -1])
def test_the_rule_is_the_same_for_gains_and_losses(sign):
    assert verdict(sign * 0.02, sign * 0.025)[0] == REPRODUCED
    assert verdict(sign * 0.02, sign * 0.034)[0] == REPRODUCED  # half 0.01, but 0.0141 with the published noise
    assert verdict(sign * 0.02, sign * 0.035) == (NOT, "ours goes the same way, but is smaller than noise explains")
    assert verdict(sign * 0.04, sign * 0.02) == (NOT, "ours goes the same way, but is larger than noise explains")
    assert verdict(sign * 0.02, sign * -0.02) == (NOT, "ours goes the other way")
    assert verdict(sign * 0.005, sign * 0.01)[0] == INCONCLUSIVE
    assert verdict(sign * 0.012, sign * -0.001)[0] == INCONCLUSIVE


def test_no_effect_can_be_reproduced_too():
    assert verdict(0.0005, 0.001, half=0.002) == (REPRODUCED, "neither finds an effect that matters")
    assert verdict(0.0005, 0.001, half=0.004)[0] == INCONCLUSIVE
    assert verdict(0.0005, 0.004, half=0.0021)[0] == NOT


def test_more_published_runs_are_held_to_more():
    assert verdict(0.02, 0.033)[0] == REPRODUCED
    assert verdict(0.02, 0.033, published_runs=100)[0] == NOT


def test_one_seed_and_nothing_published():
    result = world({"ref": 0.7, "x": 0.8}, 0.001, seeds=1)
    assert replay(result, {"ref": 0.7, "x": 0.8}).loc[0, "verdict"] == INCONCLUSIVE
    assert replay(result, {"x": 0.8}).empty
    assert replay(result, {"ref": 0.7}).empty


@pytest.mark.slow
def test_error_rates_in_worlds_with_a_known_truth():
    """Where truth is what was published, `not` is rare; where it is the opposite, `reproduced` is."""
    rng = np.random.default_rng(1)
    verdicts = {"true": [], "opposite": []}
    for seed in range(WORLDS):
        result = world({"ref": 0.70, "true": 0.71, "opposite": 0.69, "other": 0.7}, 0.004, seeds=8, seed=seed)
        printed = {name: score + 0.004 * rng.standard_normal() for name, score in (("ref", 0.7), ("true", 0.71))}
        printed["opposite"] = printed["ref"] + 0.01
        for cell, word in replay(result, printed)[["cell", "verdict"]].itertuples(index=False):
            verdicts[cell].append(word)
    assert verdicts["true"].count(NOT) <= 0.08 * WORLDS
    assert verdicts["true"].count(REPRODUCED) > 0.5 * WORLDS
    assert REPRODUCED not in verdicts["opposite"]
    assert verdicts["opposite"].count(NOT) > 0.5 * WORLDS


def test_a_sweep_is_compared_design_by_design(empty_sweep):
    sweep = empty_sweep(purpose="ablation", design="methods", baseline=None, budget_trials=None)
    scores = {"none": (0.50, 0.51, 0.505), "kd": (0.53, 0.545, 0.54), "new": (0.52, 0.53, 0.52)}
    for study, values in scores.items():
        sweep.study(study, space={}, budget_trials=None)
        for seed, score in enumerate(values):
            sweep.trial(study, score, seed=seed, phase="confirm", config_id=study)
    sweep.cell("none", "reference")
    sweep.cell("kd", "cell", "method", "kd")
    sweep.cell("new", "cell", "method", "new")
    tables = sweep.tables()
    published = tables["cells"]["cell"].map({"none": 0.691, "kd": 0.721})
    tables["cells"] = tables["cells"].assign(published=published)
    result = replays(tables)
    assert result["cell"].tolist() == ["kd"]
    assert result.loc[0, "published"] == pytest.approx(0.03)
    assert result.loc[0, "verdict"] == REPRODUCED
    tables["trials"].loc[tables["trials"]["study"] == "none", "state"] = "diverged"
    silent = replays(tables).loc[0]
    assert silent["verdict"] == INCONCLUSIVE
    assert silent["why"].startswith("all 3 fresh seeds of none failed")
    tables["cells"] = tables["cells"].assign(published=published.where(tables["cells"]["cell"] != "none"))
    assert replays(tables).empty


def test_the_noise_of_both_sides_is_added_as_variances():
    ours = exact({"x": 0.02}, 0.01)
    ours.frame["se"] /= 3  # the published noise is three times ours
    result = replay(ours, {"ref": 0.70, "x": 0.72})
    assert result.loc[0, "expected_high"] - 0.02 == pytest.approx(0.01 * np.sqrt(1 + 3**2))
