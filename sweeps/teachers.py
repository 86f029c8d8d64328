"""The teacher of a sweep: fitted by it into `D/teacher`, or a folder that is given."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, ValidationError

from kdtrain import EpochReport, InputError, Machine, TrainConfig, TrainResult, train
from kdtrain.checkpoint import write_atomically
from kdtrain.config_base import Strict
from kdtrain.data import DataConfig, open_role
from kdtrain.evaluate import evaluate
from kdtrain.explain import sentence
from kdtrain.models import Network
from kdtrain.teacher import CARD, WEIGHTS, ModelCard, import_model, load_model, read_card
from sweeps.spec import SweepSpec

Fit = Callable[[TrainConfig, Machine, Path], TrainResult]
"""Trains a teacher in a folder, here or on a cluster."""


def teacher_folder(spec: SweepSpec, sweep: Path) -> Path | None:
    """Where the teacher of a sweep lies; none for a sweep without one."""
    if spec.teacher is None:
        return None
    return Path(spec.teacher.path) if spec.teacher.path is not None else sweep / "teacher"


def prepare_teacher(spec: SweepSpec, sweep: Path, machine: Machine, fit: Fit) -> tuple[Path, ModelCard] | None:
    """The teacher's folder and card; fits it first where the sweep says so and it is not there yet.

    Raises:
        InputError: If the given folder is no teacher, or the fitting did not come to its end.
    """
    folder = teacher_folder(spec, sweep)
    if folder is None:
        return None
    if spec.teacher_config is not None and not (folder / CARD).is_file():
        fit_teacher(spec.teacher_config, machine, folder, fit)
    return folder, read_card(folder)


def fit_teacher(config: TrainConfig, machine: Machine, folder: Path, fit: Fit) -> ModelCard:
    """Train a network and leave it in `folder` as a teacher; an interrupted fit goes on.

    Raises:
        InputError: If the training diverged.
    """
    result = fit(config, machine, folder / "fit")
    if result.state != "complete":
        raise InputError(f"teacher: its training {result.state} ({result.reason}); lower teacher.fit.optimizer.lr")
    for name in (WEIGHTS, CARD):
        write_atomically(folder / name, (folder / "fit" / "student" / name).read_bytes())
    return read_card(folder)


def fit_here(tell: Callable[[EpochReport], None]) -> Fit:
    """Fit in this process."""

    def fit(config: TrainConfig, machine: Machine, folder: Path) -> TrainResult:
        return train(config, machine, tell, folder)

    return fit


class _Import(Strict):
    """What must be known of weights that were trained elsewhere."""

    network: Network
    data: DataConfig
    eval_scale: float = Field(default=1.0, gt=0)


def import_teacher(weights: Path, content: Mapping[str, Any], folder: Path, machine: Machine) -> ModelCard:
    """Make a teacher folder from weights that were trained elsewhere, measured on the select role.

    Args:
        weights: A safetensors file that covers the whole network.
        content: `network`, `data`, and perhaps `eval_scale`, as in a config; the channels of the logits must be in the
            order of the data's classes.
        folder: The folder to make.
        machine: Where the data lie.

    Raises:
        InputError: If weights, network and data do not fit one another.
    """
    try:
        wanted = _Import.model_validate(content)
    except ValidationError as error:
        raise InputError(sentence(error, _Import)) from None
    images = open_role(wanted.data, "select", machine.data_root, machine.cache)
    card = import_model(weights, wanted.network, tuple(images.classes), wanted.data.name, folder)
    _, network = load_model(folder)
    found = evaluate(network.logits, images, "select", 4, wanted.eval_scale, torch.device("cpu"))
    measured = {
        "miou": found.miou,
        "role": "select",
        "iou": [None if math.isnan(iou) else float(iou) for iou in found.iou],
    }
    card = ModelCard.model_validate(card.model_dump() | measured)
    write_atomically(folder / CARD, card.model_dump_json(indent=2).encode())
    return card
