"""The teacher of a sweep: fitted by it into `D/teacher`, or a folder that is given."""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from kdtrain import EpochReport, InputError, Machine, TrainConfig, TrainResult, train
from kdtrain.errors import MissingError, StorageError
from kdtrain.loop.run_files import STUDENT
from kdtrain.teacher import (
    CARD,
    WEIGHTS,
    ModelCard,
    parse_card,
    read_card,
)
from sweeps.attempt.attempt import train_in
from sweeps.attempt.signals import Interrupted
from sweeps.attempt.teacher_place import FITTED, teacher_store
from sweeps.spec.spec import SweepSpec
from sweeps.store.store import Store

Fit = Callable[[TrainConfig, Machine, Store], TrainResult]
"""Trains a teacher in a folder of a store, here or on a cluster."""


class Teacher(NamedTuple):
    """The teacher of a sweep: its folder, wherever that is, and its card."""

    store: Store
    card: ModelCard


def card_of(teacher: Store) -> ModelCard:
    """The card of a teacher folder.

    Raises:
        InputError: If the folder is not one, or its card does not read.
    """
    if teacher.local is not None:
        return read_card(teacher.local)
    if not (teacher.exists(CARD) and teacher.exists(WEIGHTS)):
        raise MissingError(f"teacher: {teacher} is not a teacher folder, it must hold {CARD} and {WEIGHTS}")
    return parse_card(teacher.read(CARD), f"{teacher}/{CARD}")


def prepare_teacher(spec: SweepSpec, sweep: Store, machine: Machine, fit: Fit) -> Teacher | None:
    """The sweep's teacher; it is fitted first where the sweep says so and it is not there yet, or not whole.

    Raises:
        InputError: If the given folder is not a teacher folder or is damaged, or the fitting did not come to its end.
        Interrupted: If the fitting was interrupted.
    """
    store = teacher_store(spec, sweep)
    if store is None:
        return None
    if spec.teacher_config is not None and not _is_whole(store):
        fit_teacher(spec.teacher_config, machine, store, fit)
    return Teacher(store, checked_card(store))


def present_teacher(spec: SweepSpec, sweep: Store | None) -> Teacher | None:
    """The teacher of a sweep as far as it is there: the given one, or the one that the sweep has fitted.

    Raises:
        InputError: If the given folder is not a teacher folder.
    """
    if spec.teacher is None:
        return None
    if spec.teacher.path is not None:
        store = Store(spec.teacher.path)
        return Teacher(store, card_of(store))
    if sweep is None or not _is_whole(store := sweep.below(FITTED)):
        return None
    return Teacher(store, card_of(store))


def _is_whole(teacher: Store) -> bool:
    try:
        checked_card(teacher)
    except StorageError:
        raise
    except InputError:
        return False
    return True


def checked_card(teacher: Store) -> ModelCard:
    """The card, once the weights are known to be those that it names.

    Raises:
        InputError: If they are not, or the folder is not a teacher folder.
    """
    card = card_of(teacher)
    if hashlib.sha256(teacher.read(WEIGHTS)).hexdigest() != card.weights_sha256:
        raise InputError(
            f"teacher: {teacher}/{WEIGHTS} is damaged, its hash is not the one in {CARD}; put it back from a copy, or "
            "make the teacher again"
        )
    return card


def fit_teacher(config: TrainConfig, machine: Machine, store: Store, fit: Fit) -> ModelCard:
    """Train a network and make a teacher folder of it; an interrupted fit is resumed.

    Raises:
        InputError: If the training diverged.
        Interrupted: If it was interrupted.
    """
    fitting = store.below("fit")
    result = fit(config, machine, fitting)
    if result.state == "interrupted":
        raise Interrupted(f"the teacher is saved after {result.epochs_run} of {config.epochs} epochs")
    if result.state != "complete":
        raise InputError(f"teacher: its training {result.state} ({result.reason}); lower teacher.fit.optimizer.lr")
    for name in (WEIGHTS, CARD):
        store.write(name, fitting.read(f"{STUDENT}/{name}"))
    return card_of(store)


def fit_here(on_epoch: Callable[[EpochReport], None], interrupt: Callable[[], bool]) -> Fit:
    """Fit in this process."""

    def fit(config: TrainConfig, machine: Machine, store: Store) -> TrainResult:
        return train_in(store, "", train, config, machine, on_epoch, interrupt)

    return fit
