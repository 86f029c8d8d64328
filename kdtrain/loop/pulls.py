"""How strongly terms pull at an untaught student, as a measure of weights without the scales of their losses; inferred.

The pull of a weighted term is the length of its gradient with respect to all weights of the student, divided by that
of plain cross-entropy. It is measured on a student that learns from cross-entropy alone, at a few steps early in its
training, on a few batches that it has not seen.
"""

import hashlib
import json
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from statistics import fmean

import torch
from torch import nn

from kdtrain.config import Machine, TrainConfig
from kdtrain.errors import InputError
from kdtrain.foreign import Trust, trusted_modules, trusting
from kdtrain.loop.batches import DistillBatch, moved
from kdtrain.loop.calibration import Calibration
from kdtrain.loop.optimizer import build_optimizer
from kdtrain.loop.schedules import Clock, Schedules
from kdtrain.loop.setup import Run, build
from kdtrain.loop.step import TrainStep
from kdtrain.loop.stop import Interrupt, InterruptedTrainingError
from kdtrain.loop.stopwatch import Stopwatch
from kdtrain.methods import TERMS, Term, options_of
from kdtrain.methods.schedule import WeightSchedule
from kdtrain.runtime.process_group import ProcessGroup
from kdtrain.runtime.processes import spawn

POINTS: tuple[tuple[float, int], ...] = ((1 / 16, 100), (1 / 8, 200), (1 / 4, 400))
"""When a pull is measured: after so large a share of the training's steps, but after so many steps at most."""
BATCHES = 4
"""Batches on which it is measured."""
_REFERENCE = "pull-reference"
"""The name of the plain cross-entropy that a term is compared with."""


def measure_pulls(
    config: TrainConfig, terms: Mapping[str, Term], machine: Machine | None = None, interrupt: Interrupt | None = None
) -> Calibration:
    """Measure how strongly terms pull at the student of an untaught training.

    The student takes the steps of `config`, up to a quarter of them. Layers that a term trains itself keep their first
    weights. A term's own weight and schedule do not matter. On a CPU equal arguments give equal bits.

    Args:
        config: The untaught training, with the digest of the teacher if a term needs one.
        terms: The terms by any keys.
        machine: Where to measure; nothing is recorded in its replay store.
        interrupt: Called after every step and every batch that is measured; the measurement ends if it returns True.

    Raises:
        InputError: If the config, the data, the teacher or a term is invalid, or if the lengths are not finite.
        InterruptedTrainingError: If it was interrupted.
    """
    machine = (machine or Machine()).model_copy(update={"replay": None})
    keys = {key: _measured(term) for key, term in terms.items()}
    distinct = {term.name: term for term in keys.values()}
    recipe = _with_terms(config, list(distinct.values()))
    with spawn(machine.processes, partial(_take_part, trusted_modules(), config, recipe, machine)) as group:
        of_name = _measure(config, recipe, machine, group, interrupt)
    return replace(of_name, lengths={key: of_name.lengths[term.name] for key, term in keys.items()})


def _take_part(
    trusted: frozenset[str] | None, config: TrainConfig, recipe: TrainConfig, machine: Machine, group: ProcessGroup
) -> None:
    with trusting(Trust(trusted)):
        _measure(config, recipe, machine, group)


def _measured(term: Term) -> Term:
    """The term at weight 1; its name, on which its random numbers depend, follows from its options."""
    digest = hashlib.sha256(json.dumps(options_of(term), sort_keys=True).encode()).hexdigest()[:16]
    measured = {"name": f"pull-{digest}", "weight": 1.0, "pull": None, "schedule": WeightSchedule()}
    return term.model_copy(update=measured)


def _with_terms(config: TrainConfig, terms: Sequence[Term]) -> TrainConfig:
    """The untaught training, with terms beside its own that are measured."""
    reference = TERMS["cross_entropy"].model_validate({"name": _REFERENCE})
    content = config.model_dump(mode="json")
    content["terms"] += [term.model_dump(mode="json") for term in (reference, *terms)]
    return TrainConfig.parse(content)


def _measure(
    config: TrainConfig,
    recipe: TrainConfig,
    machine: Machine,
    group: ProcessGroup,
    interrupt: Interrupt | None = None,
) -> Calibration:
    """Take the steps of the untaught training, and measure between them."""
    run = build(recipe, machine, group)
    group.join(run.device)
    group.align(run.trained)
    run.trained.train()
    names = {term.name for term in recipe.terms[len(config.terms) :]}
    untaught, measured = _only(run, config, set(run.term_names) - names), _only(run, recipe, names)

    def check_interrupt() -> None:
        if group.broadcast_object(interrupt is not None and interrupt()):
            raise InterruptedTrainingError

    points = _points(config.epochs * run.steps_per_epoch)
    lengths: dict[str, list[float]] = {name: [] for name in measured.term_names}
    take_step = TrainStep(untaught)
    with closing(run.source), closing(_first(run, points[-1])) as first:
        batches = list(moved(islice(run.source.epoch(config.epochs), BATCHES), run.device))
        for step, batch in enumerate(first):
            take_step(batch, Clock(*divmod(step, run.steps_per_epoch)), Stopwatch())
            check_interrupt()
            if step + 1 in points:
                for name, length in _lengths(measured, batches, check_interrupt).items():
                    lengths[name].append(length)
    for name, values in lengths.items():
        if not all(math.isfinite(value) for value in values):
            loss = next(term.loss for term in measured.schedules.terms if term.name == name)
            raise InputError(f"the gradient of {loss} is not finite on an untaught student: its pull has no value")
    task = lengths.pop(_REFERENCE)
    if not all(task):
        raise InputError("cross-entropy has no gradient on an untaught student, so that no pull has a value")
    return Calibration(points, tuple(task), {name: tuple(values) for name, values in lengths.items()})


def _points(steps: int) -> tuple[int, ...]:
    """The steps after which lengths are measured."""
    return tuple(sorted({max(1, min(most, round(share * steps))) for share, most in POINTS}))


def _only(run: Run, config: TrainConfig, names: set[str]) -> Run:
    """The run with some of its terms, its student and an optimizer for both."""
    terms = [term for term in run.schedules.terms if term.name in names]
    modules = nn.ModuleList([run.module_of(term) for term in terms])
    trained = nn.ModuleList([run.student, modules])
    parameters = tuple(parameter for parameter in trained.parameters() if parameter.requires_grad)
    kernels = {name: kernel for name, kernel in run.schedules.kernels.items() if name in names}
    return replace(
        run,
        config=config,
        term_modules=modules,
        trained=trained,
        parameters=parameters,
        optimizer=build_optimizer(config.optimizer, parameters),
        schedules=Schedules(config, tuple(terms), kernels, run.steps_per_epoch),
    )


def _first(run: Run, steps: int) -> Generator[DistillBatch]:
    """The batches of the first steps of a training."""
    for epoch in range(-(-steps // run.steps_per_epoch)):
        left = steps - epoch * run.steps_per_epoch
        yield from moved(islice(run.source.epoch(epoch), left), run.device)


def _lengths(run: Run, batches: Sequence[DistillBatch], check_interrupt: Callable[[], None]) -> dict[str, float]:
    """The mean length over the batches, by term; the student stays as it is."""
    buffers = [buffer.clone() for buffer in run.student.buffers()]
    step = TrainStep(run)
    of_batch = []
    for number, batch in enumerate(batches):
        of_batch.append(step.lengths(batch, Clock(0, number)))
        check_interrupt()
    with torch.no_grad():
        for buffer, before in zip(run.student.buffers(), buffers, strict=True):
            buffer.copy_(before)
    return {name: fmean(lengths[name] for lengths in of_batch) for name in run.term_names}
