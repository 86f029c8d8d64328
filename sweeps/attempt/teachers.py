"""The teacher of a sweep: fitted by it into `D/teacher`, or a folder that is given."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from pydantic import Field, ValidationError

from kdtrain import EpochReport, InputError, Machine, TrainConfig, TrainResult, train
from kdtrain.config_base import Strict
from kdtrain.data import DataConfig, Images, open_role
from kdtrain.errors import MissingError, StorageError
from kdtrain.explain import sentence
from kdtrain.foreign import references, require_trust
from kdtrain.loop.evaluate import evaluate, load_batch
from kdtrain.loop.run_folder import STUDENT
from kdtrain.models import Network, TappedNetwork, normalization_remarks
from kdtrain.models.ensemble import Average
from kdtrain.models.outputs import is_probability
from kdtrain.teacher import (
    CARD,
    WEIGHTS,
    ModelCard,
    import_model,
    load_model,
    make_ensemble,
    parse_card,
    read_card,
    write_card,
)
from sweeps.attempt.attempt import train_in
from sweeps.attempt.signals import Interrupted
from sweeps.spec.spec import SweepSpec, is_spec
from sweeps.store.store import Store

Fit = Callable[[TrainConfig, Machine, Store], TrainResult]
"""Trains a teacher in a folder of a store, here or on a cluster."""
FITTED = "teacher"
"""Where a sweep keeps the teacher that it fitted."""


class Teacher(NamedTuple):
    """The teacher of a sweep: its folder, wherever that is, and its card."""

    store: Store
    card: ModelCard


def teacher_store(spec: SweepSpec, sweep: Store) -> Store | None:
    """Where the teacher of a sweep lies; none for a sweep without one."""
    if spec.teacher is None:
        return None
    return Store(spec.teacher.path) if spec.teacher.path is not None else sweep.below(FITTED)


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


class _Measured(Strict):
    """On what a teacher is measured."""

    data: DataConfig
    eval_scale: float = Field(default=1.0, gt=0)


_Content = TypeVar("_Content", bound=_Measured)


class _Import(_Measured):
    """What must be known of weights that were trained elsewhere."""

    network: Network


def import_teacher(
    weights: Path,
    content: Mapping[str, Any],
    folder: Path,
    machine: Machine,
    notice: Callable[[str], None] = lambda _: None,
    spec: str = "",
) -> ModelCard:
    """Make a teacher folder from weights that were trained elsewhere, measured on the select role.

    Args:
        weights: A file that covers the whole network: safetensors, or made by `torch.save`.
        content: `network`, `data`, and perhaps `eval_scale`, as in a config; the channels of the logits must be in the
            order of the data's classes.
        folder: The folder to make.
        machine: Where the data lie.
        notice: Told in words what a user should know of the weights.
        spec: The file that holds the content, for the errors.

    Raises:
        InputError: If weights, network and data do not fit one another, or what the network gives are no logits.
    """
    measured = _parsed(_Import, content, spec)
    images = open_role(measured.data, "select", machine.data_root, machine.cache)
    lines, warnings = normalization_remarks("network", measured.network.model_copy(update={"weights": str(weights)}))
    for text in (*lines, *(f"warning: {warning}" for warning in warnings)):
        notice(text)

    def check(network: TappedNetwork) -> None:
        _check_logits(network, images, notice)

    import_model(weights, measured.network, tuple(images.classes), measured.data.name, folder, notice, check)
    return _measure(folder, images, measured.eval_scale)


def ensemble_teacher(
    members: Sequence[Path],
    folder: Path,
    average: Average,
    temperature: float,
    flip: bool,
    content: Mapping[str, Any] | None,
    machine: Machine,
    spec: str = "",
) -> ModelCard:
    """Make a teacher folder of several teachers, measured on the select role if `content` says of what.

    Args:
        members: Their folders.
        folder: The folder to make.
        average: As in `make_ensemble`.
        temperature: As in `make_ensemble`.
        flip: As in `make_ensemble`.
        content: `data`, and perhaps `eval_scale`; none for an ensemble that is not measured.
        machine: Where the data lie.
        spec: The file that holds the content, for the errors.

    Raises:
        InputError: If members and data do not fit one another.
    """
    if content is None:
        return make_ensemble(members, folder, average, temperature, flip)
    measured = _parsed(_Measured, content, spec)
    images = open_role(measured.data, "select", machine.data_root, machine.cache)
    classes = read_card(members[0]).classes
    if classes != tuple(images.classes):
        raise InputError(
            f"teacher: {members[0]} has the classes {', '.join(classes)}, which are not those of the data; give "
            "teachers of the same classes"
        )
    make_ensemble(members, folder, average, temperature, flip)
    return _measure(folder, images, measured.eval_scale)


def _parsed(kind: type[_Content], content: Mapping[str, Any], file: str) -> _Content:
    at = f"{file}: " if file else ""
    if is_spec(content):
        keys = " and ".join(name for name, field in kind.model_fields.items() if field.is_required())
        raise InputError(f"{at}is the spec of a sweep, but must hold {keys} alone, and perhaps eval_scale")
    require_trust(references(content), "--spec ")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{at}{sentence(error, kind)}") from None


def _check_logits(network: TappedNetwork, images: Images, notice: Callable[[str], None]) -> None:
    """Look at what a network predicts for one image.

    Raises:
        InputError: If it gives NaN, infinity or probabilities, or other classes than the data have.
    """
    image, _ = load_batch(images, [0], torch.device("cpu"))
    with torch.inference_mode():
        logits = network.logits(image)
    if logits.shape[1] != len(images.classes):
        raise InputError(f"teacher: gives {logits.shape[1]} channels of logits for {len(images.classes)} classes")
    if bool(logits.isnan().any() | (logits == torch.inf).any()):
        raise InputError(
            "teacher: its logits of the first image are not finite, though its weights are; do network.mean, "
            "network.std and options fit the weights?"
        )
    if kind := is_probability(logits):
        raise InputError(
            f"teacher: the network gives probabilities ({kind}), and losses need logits: leave out its last "
            "activation, as in options: {activation: null}"
        )
    endless = (logits == -torch.inf).any(dim=3).any(dim=2).any(dim=0).nonzero().flatten().tolist()
    if endless:
        names = ", ".join(images.classes[index] for index in endless)
        notice(f"the logits of {names} hold minus infinity, which losses take as a probability of 0")


def _measure(folder: Path, images: Images, eval_scale: float) -> ModelCard:
    """Write the score on the select role into the card of a teacher folder."""
    card, network = load_model(folder)
    evaluation = evaluate(network.logits, images, "select", 4, eval_scale, torch.device("cpu"))
    measured = {
        "miou": evaluation.miou,
        "role": "select",
        "iou": [None if math.isnan(iou) else float(iou) for iou in evaluation.iou],
    }
    card = ModelCard.model_validate(card.model_dump() | measured)
    write_card(folder, card)
    return card
