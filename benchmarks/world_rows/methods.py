"""Claims about methods from several searches of each, and words about parameters and layers without an effect."""

import itertools
import json
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy import stats
from world_rows.row import Row, Simulate

from analysis.ablation.layers import layer_grids
from analysis.search.importance import METHODS as IMPORTANCES
from analysis.search.importance import importance
from analysis.selection.halving import schedule
from analysis.stats.search_contrasts import UNEQUAL, SearchContrasts, search_contrasts
from analysis.stats.step_down import holm
from analysis.tables.files import Tables
from tests.analysis.conftest import Sweep

TOPIC = "methods, with the search as the unit"
LARGEST = 0.05
CONFIGS, TOP, SEEDS = 8, 4, 4
FEW = 200
"""Worlds of rows that grow forests or fit designs."""


def searched(
    rng: np.random.Generator,
    methods: int,
    searches: int,
    landscape: float | Sequence[float],
    noise: float | Sequence[float],
    gain: float,
    missing: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """What every search returned, in points / 100: on the seeds that did not choose, and the mean of the winner.

    A search draws ``CONFIGS`` configs, screens them on one seed and races the best four by sequential halving.

    Returns:
        Scores of the leader before the last round on the seeds of the last round, and of the winner on all of its
        seeds, both (methods, searches, seeds).
    """
    first, last = schedule(TOP, SEEDS)
    shape = (methods, searches, CONFIGS)
    truth = rng.normal(size=shape) * np.reshape(landscape, (-1, 1, 1))
    truth[-1] += gain
    sd = np.reshape(noise, (-1, 1, 1))
    screen = truth + sd * rng.normal(size=shape)
    entered = np.argsort(-screen, axis=2)[:, :, :TOP]
    truth = np.take_along_axis(truth, entered, axis=2)[..., None]
    fresh = truth + sd[..., None] * rng.normal(size=(methods, searches, TOP, first.seeds + last.seeds))
    early = fresh[..., : first.seeds].mean(3)
    alive = np.argsort(-early, axis=2)[:, :, : last.alive]
    finalists = np.take_along_axis(fresh, alive[..., None], axis=2)
    held_out = finalists[:, :, 0, first.seeds :] / 100
    if missing:
        held_out = np.where(rng.random(held_out.shape) < missing, np.nan, held_out)
    best = finalists.mean(3).argmax(2)
    winners = np.take_along_axis(finalists, best[..., None, None], axis=2)[:, :, 0] / 100
    return held_out, np.where(rng.random(winners.shape) < missing, np.nan, winners)


def model_of(scores: np.ndarray) -> SearchContrasts:
    """The mixed model of scores (methods, searches, seeds); the first method is the baseline."""
    places = np.indices(scores.shape).reshape(3, -1)
    names = np.array([f"m{number}" for number in range(len(scores))])
    frame = {"study": names[places[0]], "search": places[1], "seed": places[2], "score": scores.ravel()}
    return search_contrasts(pd.DataFrame(frame), "m0")


def by_welch(means: np.ndarray) -> np.ndarray:
    """Which methods Welch's test with Holm separates from the first, from means (methods, searches)."""
    p = np.array([stats.ttest_ind(mine, means[0], equal_var=False).pvalue for mine in means[1:]])
    return np.asarray(holm(p)[0] < LARGEST)


def claims(measure: str, methods: int = 5, searches: int = 3, gain: float = 0.0, **world: object) -> Simulate:
    """Of identical methods (but the last, by ``gain``): whether ``any`` or the ``last`` is separated, and so on."""
    world = {"landscape": 1.0, "noise": 1.0, **world}

    def one(rng: np.random.Generator) -> float:
        held_out, winners = searched(rng, methods, searches, gain=gain, **world)  # type: ignore[arg-type]
        means = np.nanmean(winners, axis=2)
        if measure == "welch":
            return float(by_welch(means)[-1])
        model = model_of(winners)
        model = model_of(held_out) if model.equal_noise < UNEQUAL else model
        separated = model.frame["separated"].to_numpy()[1:]
        if measure == "gained":
            return float(separated[-1]) - 2 * float(by_welch(means)[-1])
        return float(separated.any() if measure == "any" else separated[-1])

    return lambda rng, worlds: np.array([one(rng) for _ in range(worlds)])


def normal(measure: str, luck: float | Sequence[float], noise: float | Sequence[float], favor: float = 0.0) -> Simulate:
    """Luck and noise that are normal, without a race: ``any`` separated, or whether an interval covers the truth."""

    def one(rng: np.random.Generator) -> float:
        scores = rng.normal(size=(5, 3, 1)) * np.reshape(luck, (-1, 1, 1))
        scores = (
            scores + rng.normal(size=(5, 3, 4)) * np.reshape(noise, (-1, 1, 1)) + favor * rng.normal(size=(5, 1, 4))
        )
        model = model_of(scores / 100)
        if measure == "any":
            return float(model.frame["separated"].any())
        spread, truth = (model.luck, luck) if measure == "luck" else (model.noise, noise)
        return float(spread.low <= np.max(truth) / 100 <= spread.high)

    return lambda rng, worlds: np.array([one(rng) for _ in range(worlds)])


def dummies(method: str, effect: float = 0.0) -> Simulate:
    """Whether a parameter without effect, or the one with an effect, is above the noise floor (60 configs, five)."""
    space = {f"p{number}": {"low": 0.0, "high": 1.0} for number in range(5)}

    def one(rng: np.random.Generator) -> float:
        values = rng.random((60, 5))
        score = 0.5 + 0.01 * rng.normal(size=60) - 0.1 * effect * (values[:, 0] - 0.3) ** 2
        frame = importance(_search_tables(space, values, score), "cwd", replicates=8, seed=int(rng.integers(2**31)))
        above = frame[(frame["method"] == method) & frame["above_noise"]]["name"]
        return float((above == "p0").any() if effect else len(above) > 0)

    return lambda rng, worlds: np.array([one(rng) for _ in range(worlds)])


def grids(effect: float = 0.0) -> Simulate:
    """Whether anything is called beyond noise in a layer grid of 4 x 4 with three seeds."""

    def one(rng: np.random.Generator) -> float:
        scores = 0.5 + 0.01 * (rng.normal(size=(4, 4, 3)) + effect * np.arange(4)[:, None, None])
        return float("Beyond noise" in layer_grids(_grid_tables(scores))[0].note)

    return lambda rng, worlds: np.array([one(rng) for _ in range(worlds)])


def _search_tables(
    space: dict[str, dict[str, float]], values: np.ndarray, score: np.ndarray
) -> dict[str, pd.DataFrame]:
    names = list(space)
    trials = [f"t{number}" for number in range(len(values))]
    every = {"study": "cwd", "phase": "search", "state": "complete"}
    rows = [
        {"trial_id": trial, "name": name, "value_json": repr(float(value))}
        for trial, row in zip(trials, values, strict=True)
        for name, value in zip(names, row, strict=True)
    ]
    return {
        "sweeps": pd.DataFrame({"sampler": ["random"]}),
        "studies": pd.DataFrame({"study": ["cwd"], "space_json": [json.dumps(space)]}),
        "trials": pd.DataFrame({"trial_id": trials, "config_id": trials, "score": score, **every}),
        "params": pd.DataFrame(rows),
    }


def _grid_tables(scores: np.ndarray) -> Tables:
    made = Sweep(purpose="ablation", baseline=None, confirm_seeds=3)
    for row, column in itertools.product(range(4), repeat=2):
        cell = f"pair-{row}-{column}"
        made.study(cell, space={})
        made.cell(cell, "cell")
        levels = {"cwd.student_layer": f"encoder.{row}", "cwd.teacher_layer": f"layer{column}"}
        made.rows["cells"][-1]["levels_json"] = json.dumps(levels)
        for seed, score in enumerate(scores[row, column]):
            made.trial(cell, float(score), seed=seed, phase="confirm", config_id=cell)
    return made.tables()


def _rows() -> Iterator[Row]:
    quiet, noisy = [0.1, 2.0, 0.1, 2.0, 0.1], [2.0, 0.1, 2.0, 0.1, 2.0]
    false, repeats = "any method separated", "identical methods searched anew, repeats 3"
    for landscape in (1.0, 4.0):
        world = f"{repeats}, landscape {landscape:g} times the noise"
        yield Row(TOPIC, world, false, claims("any", landscape=landscape), most=LARGEST)
        gain = {1.0: 1.8, 4.0: 5.0}[landscape]
        world = f"one of five methods gains {gain:g} sd of a seed, landscape {landscape:g} times the noise"
        for measure, words, least in (
            ("last", "separated", None),
            ("welch", "separated by Welch and Holm over searches", None),
            ("gained", "separated, minus twice by Welch and Holm", 0.0),
        ):
            yield Row(TOPIC, world, words, claims(measure, landscape=landscape, gain=gain), least=least)
    for methods in (2, 10):
        yield Row(TOPIC, f"{repeats}, {methods} methods", false, claims("any", methods=methods), most=LARGEST)
    yield Row(TOPIC, f"{repeats}, a fifth of the seeds missing", false, claims("any", missing=0.2), most=LARGEST)
    for words, noise in (("quiet baseline", quiet), ("noisy baseline", noisy)):
        world = f"{repeats}, noise 0.1 and 2.0 in turns, {words}"
        yield Row(TOPIC, f"{world}, flat landscape", false, claims("any", noise=noise, landscape=0.3), most=LARGEST)
        yield Row(
            TOPIC, f"luck 0.5, noise 0.1 and 2.0 in turns, {words}", false, normal("any", 0.5, noise), most=LARGEST
        )
    for luck in (0.0, 0.3, 1.0):
        world = f"luck of a search {luck:g} times the noise of a seed"
        yield Row(TOPIC, world, false, normal("any", luck, 1.0), most=LARGEST)
        yield Row(TOPIC, world, "interval of the luck covers", normal("luck", luck, 1.0), least=0.93)
        yield Row(TOPIC, world, "interval of the noise covers", normal("noise", luck, 1.0), least=0.93)
    for words, luck in (
        ("twice that of the others, of the baseline", [1.0, 0.5, 0.5, 0.5, 0.5]),
        ("four times that of the others, of the baseline", [2.0, 0.5, 0.5, 0.5, 0.5]),
        ("four times that of the others, of one method", [0.5, 0.5, 0.5, 0.5, 2.0]),
        ("a fifth of that of the others, of the baseline", [0.2, 1.0, 1.0, 1.0, 1.0]),
    ):
        yield Row(TOPIC, f"luck of searches {words} (outside of the assumption)", false, normal("any", luck, 0.3))
    yield Row(TOPIC, "seeds favor methods (outside of the assumption)", false, normal("any", 0.5, 0.7, 0.7))
    for method in IMPORTANCES:
        topic = "parameters and layers without effect"
        yield Row(
            *(topic, f"five parameters, 60 configs, {method}", "any above the noise floor", dummies(method)),
            most=LARGEST,
            most_worlds=FEW,
        )
        world = f"one of five parameters explains half of the variance, {method}"
        yield Row(topic, world, "above the noise floor", dummies(method, 1.6), most_worlds=FEW)
    yield Row(topic, "layer grid 4 x 4, three seeds", "anything beyond noise", grids(), most=LARGEST, most_worlds=FEW)
    yield Row(topic, "layer grid, rows differ by 0.5 sd", "anything beyond noise", grids(0.5), most_worlds=FEW)


ROWS = list(_rows())
