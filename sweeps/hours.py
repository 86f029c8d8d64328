"""How many hours a sweep takes on this machine, and what it costs: from a few timed steps of each study."""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from analysis.formats import duration
from kdtrain.config import Machine
from kdtrain.errors import InputError
from kdtrain.loop.device import find_device
from kdtrain.loop.rehearsal import TIMED_STEPS, Rehearsal
from sweeps.plan import Plan
from sweeps.rehearsals import TIMED_S
from sweeps.spec.spec import SweepSpec

PRICE = "KDSWEEP_PRICE"
"""The environment variable with the price of an hour of this machine, in any currency."""


@dataclass(frozen=True)
class StudyHours:
    """The time of one study on this machine, if no trial is stopped early.

    Attributes:
        name: The study.
        epoch_s: Seconds of an epoch of a trial, its evaluation included.
        epochs: Epochs of search, fresh seeds and audits.
        by_first_step: Whether no step was timed but the first one, which is slower than those that follow.
    """

    name: str
    epoch_s: float
    epochs: int
    by_first_step: bool = False

    @property
    def seconds(self) -> float:
        """Seconds of all trials, one after the other."""
        return self.epoch_s * self.epochs


def study_hours(spec: SweepSpec, made: Plan, rehearsed: Mapping[str, Rehearsal]) -> tuple[StudyHours, ...]:
    """The time of every study that was rehearsed.

    Args:
        spec: The sweep.
        made: Its plan.
        rehearsed: By study, its rehearsal.
    """
    images, found = made.checked.images, []
    evaluation = next((each.evaluation_s for each in rehearsed.values() if each.evaluation_s is not None), 0.0)
    for study in made.studies:
        rehearsal, config = rehearsed.get(study.name), spec.config_for(spec.study(study.name))
        if rehearsal is None:
            continue
        batches = -(-images["select"] // config.images_per_evaluation)
        one = evaluation if rehearsal.evaluation_s is None else rehearsal.evaluation_s
        steps = max(1, images["train"] // config.batch_size)
        epochs = study.search_epochs + study.confirm_runs * study.epochs + study.audit_epochs
        step_s = rehearsal.step_s if rehearsal.steady_s is None else rehearsal.steady_s
        found.append(StudyHours(study.name, steps * step_s + batches * one, epochs, rehearsal.steady_s is None))
    return tuple(found)


def trials_at_a_time(spec: SweepSpec, machine: Machine) -> int:
    """How many trials run side by side on this machine."""
    most = spec.resources.concurrent or math.inf
    if spec.resources.gpus_alone > 0 and find_device(machine).type == "cuda":
        return max(1, int(min(most, torch.cuda.device_count() / spec.resources.gpus_alone)))
    return max(1, int(min(most, (os.cpu_count() or 1) / max(1.0, float(spec.resources.cpu)))))


def price_of(given: float | None) -> float | None:
    """The price of an hour: the given one, else that of the environment; none where neither says it.

    Raises:
        InputError: If it is not a number of at least 0.
    """
    text = os.environ.get(PRICE, "").strip()
    try:
        price = given if given is not None else float(text) if text else None
    except ValueError:
        price = -1.0
    if price is not None and not 0 <= price < float("inf"):
        where = "--price" if given is not None else PRICE
        raise InputError(f"{where}: must be the price of an hour, a number of at least 0, got {given or text}")
    return price


def hour_lines(studies: tuple[StudyHours, ...], side_by_side: int, price: float | None, lacking: str) -> Iterator[str]:
    """Time and cost of a sweep.

    Args:
        studies: From `study_hours`.
        side_by_side: From `trials_at_a_time`.
        price: Of an hour of this machine; none if it is not given.
        lacking: Why nothing was timed, for the case that `studies` is empty.
    """
    if not studies:
        yield f"time: not measured, because {lacking}"
        return
    yield (
        f"time on this machine with {side_by_side} trial{'s' * (side_by_side > 1)} at a time, by at most "
        f"{TIMED_STEPS} timed steps of each study, if no trial is stopped early and the teacher computes in every step:"
    )
    for study in studies:
        taken = study.seconds / side_by_side
        cost = _cost(taken, price)
        rough = ", at most, by its first step alone" if study.by_first_step else ""
        yield f"  {study.name}: {duration(taken)}{cost} ({study.epochs} epochs of {duration(study.epoch_s)}{rough})"
    total = sum(study.seconds for study in studies) / side_by_side
    hint = f"; --price, or {PRICE}, the price of an hour of this machine, gives the cost" if price is None else ""
    yield f"  in all: {duration(total)}{_cost(total, price)}, without the teacher's fit{hint}"
    if any(study.by_first_step for study in studies):
        yield f"  no further step of some studies was timed, because the timed steps of the others took {TIMED_S:g} s"


def _cost(seconds: float, price: float | None) -> str:
    return "" if price is None else f", cost {seconds / 3600 * price:.2f}"
