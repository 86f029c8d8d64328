"""One student of several seeds: the mean of their weights."""

from collections.abc import Sequence
from pathlib import Path

import torch

from kdtrain.data import Images
from kdtrain.loop.evaluate import evaluate
from kdtrain.runtime.scratch import scratch_folder
from kdtrain.teacher import ModelCard, load_model, save_model
from sweeps.outcome.student import TrainedStudent, local_copy

SOUP = "soup"
"""The source in the card of a mean of students."""


def make_soup(students: Sequence[TrainedStudent], images: Images, eval_scale: float, folder: Path) -> ModelCard:
    """Write the mean of the weights of students to a folder, with its score on the role select in its card.

    Students that began with different weights seldom have a mean that works; those that were tuned from the same
    encoder weights may (Wortsman et al. 2022, model soups).

    Args:
        students: Of one config, two or more.
        images: Of role select.
        eval_scale: Factor on the images at evaluation.
        folder: The folder to make.

    Raises:
        InputError: If a student is damaged.
    """
    with scratch_folder() as scratch:
        loaded = [load_model(local_copy(student.folder, scratch / str(student.seed))) for student in students]
    (card, network), states = loaded[0], [network.net.state_dict() for _, network in loaded]
    mean = {
        name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
        for name, value in states[0].items()
    }
    network.net.load_state_dict(mean)
    evaluation = evaluate(network.logits, images, "select", 4, eval_scale, torch.device("cpu"))
    facts = {
        "network": card.network,
        "classes": card.classes,
        "trained_on": card.trained_on,
        "source": SOUP,
        "members": tuple(card.digest for card, _ in loaded),
        "macs": card.macs,
        "miou": evaluation.miou,
        "role": "select",
    }
    return save_model(folder, network.net, facts)
