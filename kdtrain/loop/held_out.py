"""Evaluation of a student that was trained and saved."""

from collections.abc import Callable
from pathlib import Path

import torch

from kdtrain.config import Machine, TrainConfig
from kdtrain.data import open_role
from kdtrain.errors import InputError
from kdtrain.loop.device import find_device, mixed_precision
from kdtrain.loop.evaluate import evaluate
from kdtrain.loop.evaluation import Evaluation
from kdtrain.teacher import load_model


def measure(
    student: Path,
    config: TrainConfig,
    role: str,
    machine: Machine | None = None,
    between: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Evaluate a saved student on a role of its data, as its training evaluates it.

    Args:
        student: The folder of the student, `student/` of a run.
        config: The config of its training, for data, batch size and scale.
        role: The role of the data; this is the only function of a sweep that reads `test`.
        machine: Where and with what.
        between: Called between batches; may end the evaluation by raising.

    Raises:
        InputError: If the folder is not a student's, or the data have no such role.
    """
    machine = machine or Machine()
    if machine.threads:
        torch.set_num_threads(machine.threads)
    device = find_device(machine)
    images = open_role(config.data, role, machine.data_root, machine.cache)
    card, network = load_model(student)
    if card.classes != tuple(images.classes):
        raise InputError(
            f"{student} must have the classes of the role {role} ({', '.join(images.classes)}), "
            f"got {', '.join(card.classes)}"
        )
    network.place(device)
    autocast, _ = mixed_precision(machine, device)
    with autocast():
        per_batch, scale = config.images_per_evaluation, config.eval_scale
        return evaluate(network.logits, images, role, per_batch, scale, device, between=between)
