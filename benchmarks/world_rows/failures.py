"""What is said of methods whose trainings collapse or diverge, through search, race on fresh seeds and claims."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from world_rows.row import Row, Simulate

from analysis.selection.claims import Claim, config_claims
from analysis.selection.collapse import Runs, collapsed, collapsed_in_search
from analysis.selection.failures import Share, StudyFailures
from analysis.selection.halving import entered, schedule, survivors
from analysis.selection.study_row import BestFinalist, Spent, StudyFacts, StudyRow
from analysis.selection.withheld import Claims

LEVEL, POINT, DIVERGED = 0.70, 0.01, 0.30
SMALLEST = 0.003


@dataclass(frozen=True)
class Method:
    """What a method does, in points.

    Attributes:
        gain: Over the baseline, where nothing fails.
        failing: Share of its trainings that fail.
        loss: Of a training that collapses; None where it diverges, at 30 points.
        sd: Over seeds.
        landscape: Standard deviation of its configs' true scores.
    """

    gain: float = 0.0
    failing: float = 0.0
    loss: float | None = 20.0
    sd: float = 0.5
    landscape: float = 0.0


@dataclass(frozen=True)
class Design:
    """A sweep: trials of each search, configs in the race on fresh seeds, and seeds per config on average."""

    trials: int = 8
    top: int = 4
    seeds: int = 3

    def __str__(self) -> str:
        return f"{self.trials} trials, top {self.top}, n = {self.seeds}"


Training = tuple[float, bool]
"""Score of a training, and whether it diverged."""


def raced(
    rng: np.random.Generator, design: Design, method: Method
) -> tuple[list[Training], dict[int, list[Training]], list[int]]:
    """Search a method and race its best configs on fresh seeds: both trainings by config, and who is left."""
    truth = LEVEL + POINT * (method.gain + method.landscape * rng.standard_normal(design.trials))

    def train(config: int) -> Training:
        score = truth[config] + POINT * method.sd * rng.standard_normal()
        if rng.random() >= method.failing:
            return float(score), False
        return (DIVERGED, True) if method.loss is None else (float(score - POINT * method.loss), False)

    searched = [train(config) for config in range(design.trials)]
    able = [config for config in range(design.trials) if not searched[config][1]]
    alive = sorted(able, key=lambda config: -searched[config][0])[: design.top]
    fresh: dict[int, list[Training]] = {config: [] for config in alive}
    rounds = schedule(design.top, design.seeds)
    for number, each in enumerate(rounds):
        if number:
            failed = _failed(alive, fresh, searched)
            scores = {config: [score for score, _ in fresh[config]] for config in alive}
            alive = survivors(scores, each.alive, {config for config in alive if any(failed[config])})
        for config in alive:
            fresh[config] += [train(config) for _ in range(each.seeds)]
    return searched, fresh, alive


def study(rng: np.random.Generator, design: Design, name: str, method: Method) -> tuple[StudyRow, StudyFailures]:
    """Of a method that is searched and raced: its best config, and what failed on the way."""
    searched, fresh, alive = raced(rng, design, method)
    able = [config for config in range(design.trials) if not searched[config][1]]
    rounds = schedule(design.top, design.seeds)
    failed = _failed(list(fresh), fresh, searched)
    levels = {config: _runs(fresh[config], searched[config][0]).level for config in fresh}
    best = min(alive, key=lambda config: (any(failed[config]), -np.mean([score for score, _ in fresh[config]])))
    scores_of_best = [score for score, _ in fresh[best]]
    complete = [searched[config][0] for config in able]
    fell = dict(zip(able, collapsed_in_search(complete), strict=True))
    broken = [config for config in range(design.trials) if fell.get(config, True)]
    middle = float(np.median(complete))
    losses = [middle - searched[config][0] for config in broken] + [
        levels[config] - score
        for config in fresh
        for (score, _), flag in zip(fresh[config], failed[config], strict=True)
        if flag
    ]
    row = StudyRow(
        facts=StudyFacts(name, name, None, name == "none", 1, design.trials, None),
        finalists=len(fresh),
        best=BestFinalist(
            config_id=str(best),
            mean=float(np.mean(scores_of_best)),
            n=len(scores_of_best),
            planned_seeds=len(scores_of_best),
            confirmed=True,
            seeds=list(range(len(scores_of_best))),
            scores=scores_of_best,
            unstable="failed" if any(failed[best]) else None,
            failed_seeds=[seed for seed, flag in enumerate(failed[best]) if flag],
            level=levels[best],
            rounds=entered(rounds, len(scores_of_best)),
            study_rounds=len(rounds),
        ),
        spent=Spent(),
    )
    on_fresh = Share(sum(map(sum, failed.values())), sum(map(len, failed.values())))
    return row, StudyFailures(Share(len(broken), design.trials), on_fresh, tuple(losses))


def claim(
    rng: np.random.Generator, design: Design, method: Method, baseline: Method
) -> tuple[Claim, StudyRow, StudyFailures]:
    """What is claimed of a method against a baseline, in a sweep of the two."""
    reference, of_reference = study(rng, design, "none", baseline)
    row, failures = study(rng, design, "cwd", method)
    judge = partial(config_claims, [reference, row], SMALLEST)
    made = Claims.of(
        [reference, row], reference, {"none": of_reference, "cwd": failures}, lambda each: judge(burdens=each)
    )
    return made.about(row, float("nan")), row, failures


def better(design: Design, method: Method, baseline: Method | None = None, either: bool = False) -> Simulate:
    """Whether the method is called separated from the baseline and better; with `either`, or worse."""

    def simulate(rng: np.random.Generator, worlds: int) -> np.ndarray:
        said = (claim(rng, design, method, baseline or Method())[0] for _ in range(worlds))
        return np.array([each.word == "separated" and (either or each.difference > 0) for each in said])

    return simulate


def without_a_mark(design: Design, method: Method) -> Simulate:
    """Whether the method is called better though nothing in its row tells of a failure that came up."""

    def simulate(rng: np.random.Generator, worlds: int) -> np.ndarray:
        said = []
        for _ in range(worlds):
            each, row, failures = claim(rng, design, method, Method())
            marked = bool(failures.all.failed or row.best.unstable or each.withheld)
            said.append(each.word == "separated" and each.difference > 0 and bool(failures.losses) and not marked)
        return np.array(said)

    return simulate


def false_collapse(configs: int, seeds: int, sds: tuple[float, ...], level: float) -> Simulate:
    """Whether any run of a study is called collapsed though none is."""

    def simulate(rng: np.random.Generator, worlds: int) -> np.ndarray:
        found = []
        for _ in range(worlds):
            spread = POINT * np.resize(sds, configs)
            truth = level + 0.6 * POINT * rng.standard_normal(configs)
            fresh = truth[:, None] + spread[:, None] * rng.standard_normal((configs, seeds))
            screened = truth + spread * rng.normal(0.8, 0.6, configs)
            found.append(any(map(any, collapsed(list(map(Runs, fresh.tolist(), screened))))))
        return np.array(found)

    return simulate


def _runs(fresh: list[tuple[float, bool]], screened: float) -> Runs:
    return Runs([score for score, diverged in fresh if not diverged], screened)


def _failed(
    configs: list[int], fresh: dict[int, list[tuple[float, bool]]], searched: list[tuple[float, bool]]
) -> dict[int, list[bool]]:
    """Of every config, which fresh trainings diverged or collapsed."""
    fell = collapsed([_runs(fresh[config], searched[config][0]) for config in configs])
    flags = {}
    for config, its in zip(configs, map(iter, fell), strict=True):
        flags[config] = [diverged or next(its) for _, diverged in fresh[config]]
    return flags


def _rows() -> Iterator[Row]:
    fails, called = "trainings that fail", "called better"
    for top in (4, 1):
        for trials in (3, 8, 20):
            for seeds in (3, 5, 10):
                design = Design(trials, top, seeds)
                world = f"+1 point, collapses by 20 in 20 % (true -3), {design}"
                yield Row(fails, world, called, better(design, Method(1.0, 0.2)), most=0.025)
    for seeds in (3, 5, 10):
        design = Design(seeds=seeds)
        yield Row(
            *(fails, f"+1 point, diverges in 20 %, {design}", "called better without a mark"),
            without_a_mark(design, Method(1.0, 0.2, None)),
            most=0.0,
        )
        yield Row(
            fails, f"+1 point, diverges in 20 %, {design}", called, better(design, Method(1.0, 0.2, None)), most=0.025
        )
        for loss in (5.0, 10.0, 50.0):
            world = f"+1 point, collapses by {loss:g} in 20 %, {design}"
            yield Row(fails, world, called, better(design, Method(1.0, 0.2, loss)), most=0.025)
        equal = Method(failing=0.05)
        yield Row(
            *(fails, f"both collapse by 20 in 5 %, {design}", "false separated"),
            better(design, equal, equal, either=True),
            most=0.05,
        )
        half = Method(failing=0.2)
        yield Row(
            *(fails, f"both collapse by 20 in 20 %, {design}", "false separated"),
            better(design, half, half, either=True),
            most=0.05,
        )
        yield Row(
            *(fails, f"the baseline alone collapses by 20 in 20 %, no gain otherwise, {design}", called),
            better(design, Method(), Method(failing=0.2)),
            most=0.05,
        )
        yield Row(
            fails, f"+1 point, collapses by 20 in 2 % (true +0.6), {design}", called, better(design, Method(1.0, 0.02))
        )
        yield Row(fails, f"+1 point, nothing fails, {design}", called, better(design, Method(1.0)))
    for sds, level in (((1.0,), 0.7), ((2.0,), 0.7), ((0.1, 2.0), 0.7), ((2.0,), 0.25), ((4.4,), 0.25)):
        for seeds in (1, 3, 10):
            world = f"4 configs of sd {' and '.join(map(str, sds))} points, level {100 * level:.0f}, n = {seeds}"
            yield Row(fails, world, "any false collapse", false_collapse(4, seeds, sds, level), most=0.05)


ROWS = list(_rows())
