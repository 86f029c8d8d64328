import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.ablation.response import _Surface, response_curves
from analysis.figures import ablation as plots_ablation
from tests.analysis.conftest import on_other_code, without_a_seed

WEIGHT, TEMPERATURE = "cwd.weight", "cwd.temperature"
COMPOSITE = [(0.5, 2.31), (0.5, 6.93), (18, 2.31), (18, 6.93), (0.3, 4), (30, 4), (3, 2), (3, 8), (3, 4)]


@pytest.fixture
def response(empty_sweep):
    """Tables of a response design around weight 3 (and temperature 4), with a truth in their logarithms."""

    def build(truth, both=False, sd=0.003, seeds=3, zero=True, control=True, seed=0):
        rng = np.random.default_rng(seed)
        sweep = empty_sweep(purpose="ablation", baseline=None, budget_trials=None, confirm_seeds=seeds)

        def add(cell, score, role, levels):
            sweep.study(cell, space={}, budget_trials=None)
            for number in range(seeds):
                sweep.trial(cell, score + sd * rng.normal(), seed=number, phase="confirm", config_id=cell)
            row = {"design": "response", "cell": cell, "role": role, "family": "cwd response"}
            levels_json = json.dumps(levels) if levels else None
            sweep.rows["cells"].append({"sweep_id": "s1", **row, "levels_json": levels_json})

        for weight, temperature in COMPOSITE if both else [(w, 4) for w in (0.3, 1, 3, 10, 30)]:
            levels = {WEIGHT: f"{weight:g}"} | ({TEMPERATURE: f"{temperature:g}"} if both else {})
            role = "reference" if (weight, temperature) == (3, 4) else "cell"
            add(f"w{weight}-t{temperature}", 0.5 + truth(np.log(weight / 3), np.log(temperature / 4)), role, levels)
        if zero:
            add("weight-0", 0.48, "cell", {WEIGHT: "0"})
        if control:
            add("none", 0.47, "control", None)
        return sweep.tables()

    return build


def test_a_peak_is_found_with_its_interval(response):
    (curve,) = response_curves(response(lambda w, t: -0.006 * (w - 0.5) ** 2, seed=1))
    assert curve.word == "peak"
    assert curve.best_low < 3 * np.exp(0.5) < curve.best_high
    assert curve.best_high / curve.best_low < 3
    assert curve.sentence.startswith("Best at")
    assert curve.points["mean"].notna().all()
    assert (curve.points["low"] < curve.points["mean"]).all()


@pytest.mark.parametrize(("slope", "word"), [(0.01, "rising"), (-0.01, "falling")])
def test_a_slope_says_that_the_best_may_lie_beyond_the_range(response, slope, word):
    (curve,) = response_curves(response(lambda w, t: slope * w))
    assert curve.word == word
    assert "beyond" in curve.sentence


def test_what_does_not_matter_is_flat(response):
    words = [response_curves(response(lambda w, t: 0.0, seed=seed))[0].word for seed in range(5)]
    assert words.count("flat") >= 4


def test_a_valley_has_no_best_value(response):
    (curve,) = response_curves(response(lambda w, t: 0.01 * w**2))
    assert curve.word == "valley"
    assert np.isnan(curve.best_low)


def test_a_composite_design_gives_one_surface_and_a_curve_per_factor(response):
    tables = response(lambda w, t: -0.004 * w**2 - 0.03 * (t - 0.2) ** 2, both=True)
    curves = {curve.factor: curve for curve in response_curves(tables)}
    assert set(curves) == {WEIGHT, TEMPERATURE}
    weight, temperature = curves[WEIGHT], curves[TEMPERATURE]
    assert weight.word == "peak"
    assert weight.best_low < 3 < weight.best_high
    assert temperature.best_low < 4 * np.exp(0.2) < temperature.best_high
    along = weight.points.set_index("cell")["along"]
    assert along["w30-t4"]
    assert not along["w0.5-t2.31"]


def test_a_curve_stands_beside_the_student_without_the_loss_or_without_any(response):
    (curve,) = response_curves(response(lambda w, t: 0.0))
    assert curve.band is not None
    assert curve.band.label == "without this loss"
    (other,) = response_curves(response(lambda w, t: 0.0, zero=False))
    assert other.band is not None
    assert other.band.mean == pytest.approx(0.47, abs=0.01)
    (alone,) = response_curves(response(lambda w, t: 0.0, zero=False, control=False))
    assert alone.band is None
    for drawn in (curve, other, alone):
        plots_ablation.response(drawn).draw()


def test_one_seed_still_draws(response):
    (curve,) = response_curves(response(lambda w, t: 0.0, seeds=1))
    assert curve.points["low"].isna().all()
    figure = plots_ablation.response(curve)
    assert figure.x.log


def test_names_are_no_numbers(empty_sweep):
    sweep = empty_sweep()
    for level in ("channel", "batch", "pixel"):
        sweep.study(level, space={})
        sweep.trial(level, 0.5, phase="confirm")
        role = "reference" if level == "channel" else "cell"
        row = {"design": "one-factor", "cell": level, "role": role, "family": "norm"}
        sweep.rows["cells"].append({"sweep_id": "s1", **row, "levels_json": json.dumps({"cwd.normalize": level})})
    assert response_curves(sweep.tables()) == []


def test_curve_and_best_value_have_the_intervals_of_a_t_test_over_seeds(response):
    tables = response(lambda w, t: -0.006 * (w - 0.5) ** 2, sd=0.006, seeds=5, seed=1)
    (curve,) = response_curves(tables)
    assert curve.word == "peak"
    runs = tables["trials"][["study", "seed", "score"]]
    runs = runs.assign(x=np.log(runs["study"].str.extract("^w([0-9.]+)-")[0].astype(float) / 3)).dropna()
    fits = [np.polynomial.Polynomial.fit(group["x"], group["score"], 2) for _, group in runs.groupby("seed")]
    x = np.log(curve.curve["x"].to_numpy() / 3)
    shown = stats.ttest_1samp([fit(x) for fit in fits], 0).confidence_interval()
    assert curve.curve[["low", "high"]].to_numpy() == pytest.approx(np.column_stack(shown))
    low, high = stats.ttest_1samp([fit.deriv()(x) for fit in fits], 0).confidence_interval()
    assert np.log([curve.best_low / 3, curve.best_high / 3]) == pytest.approx([x[low > 0][-1], x[high < 0][0]])


@pytest.mark.parametrize("spreads", [(1, 1, 1, 1, 1), (0.1, 0.1, 0.1, 0.1, 2), (0.1, 2, 0.1, 2, 0.1)])
def test_the_intervals_of_a_curve_hold_under_unequal_noise_and_seeds_in_common(spreads):
    rng = np.random.default_rng(0)
    weights = np.array([0.3, 1, 3, 10, 30])
    for correlation in (0.0, 0.8):
        covered = []
        for _ in range(150):
            common, own = rng.normal(size=3), rng.normal(size=(5, 3))
            noise = np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own
            scores = 0.5 + 0.01 * np.array(spreads)[:, None] * noise
            rows = [(f"w{w}", w, seed, scores[i, seed]) for i, w in enumerate(weights) for seed in range(3)]
            surface = _Surface(pd.DataFrame(rows, columns=["cell", WEIGHT, "seed", "score"]), {WEIGHT: 3.0})
            along = surface.rows(WEIGHT, np.log(weights[[0, 2, 4]] / 3))
            half = stats.t.ppf(0.975, surface.fit.df) * np.sqrt(np.diag(along @ surface.fit.covariance @ along.T))
            covered.append(np.abs(along @ surface.fit.params - 0.5) < half)
        assert np.mean(covered, axis=0) == pytest.approx(0.95, abs=0.06)


def test_scores_that_do_not_differ_from_seed_to_seed_are_no_curve(response):
    (curve,) = response_curves(response(lambda w, t: -0.006 * w**2, sd=0.0))
    assert curve.word == "untested"
    assert "the same scores on every seed" in curve.sentence


def test_cells_that_lack_a_seed_are_fitted_on_the_seeds_that_all_have(response):
    whole = response(lambda w, t: -0.006 * (w - 0.5) ** 2, seeds=4, seed=1)
    (fewer,) = response_curves(response(lambda w, t: -0.006 * (w - 0.5) ** 2, seeds=4, seed=1))
    trials = whole["trials"]
    last = trials.index[trials["study"].eq("w30-t4") & trials["seed"].eq(3)]
    (curve,) = response_curves({**whole, "trials": trials.drop(index=last)})
    assert (curve.word, fewer.word) == ("peak", "peak")


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        (without_a_seed, "1 of 3 planned fresh seeds of w10-t4 is missing"),
        (on_other_code, "w0.3-t4 and w10-t4 ran on different code"),
    ],
)
def test_a_curve_has_no_verdict_while_its_cells_cannot_be_compared(response, spoilt, why):
    tables = response(lambda w, t: -0.006 * (w - 0.5) ** 2, seed=1)
    (whole,) = response_curves(tables)
    (curve,) = response_curves(spoilt(tables, "w10-t4"))
    assert (whole.word, curve.word) == ("peak", "untested")
    assert curve.sentence == f"No verdict: {why}."
    assert np.isnan([curve.best, curve.best_low, curve.best_high]).all()
    assert len(curve.points) == len(whole.points)
    plots_ablation.response(curve).draw()
