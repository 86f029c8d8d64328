"""Probes: a head is fitted on one layer of a frozen teacher, which makes a teacher with logits of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from kdtrain import InputError, Machine, TrainConfig
from kdtrain.config_base import Strict
from kdtrain.data import DataConfig, open_role
from kdtrain.models.network import PROBED
from kdtrain.models.probed import Head
from kdtrain.teacher import CARD, WEIGHTS, ModelCard, card_bytes, load_model
from sweeps.attempt.made_teachers import parsed
from sweeps.attempt.teachers import Fit, fit_teacher
from sweeps.spec.spec import merged
from sweeps.store.store import Store

RECIPE: Mapping[str, Any] = {
    "epochs": 20,
    "optimizer": {"name": "adamw", "lr": 0.001, "weight_decay": 0.0001},
    "schedule": {"name": "cosine"},
}
"""How a head is trained, where nothing else is said."""
_FIXED = frozenset({"data", "student", "teacher", "terms"})


class ProbeSettings(Strict):
    """What a probe is fitted on, and how."""

    data: DataConfig
    """The head is trained on its role train, and measured on its role select."""
    train: dict[str, Any] = Field(default_factory=dict)
    """What differs from `RECIPE`, as under `train` in a spec."""


def probe_config(teacher: Path, content: Mapping[str, Any], layer: str, head: Head, spec: str = "") -> TrainConfig:
    """The training of a head.

    Args:
        teacher: The teacher folder.
        content: `data`, and perhaps `train`.
        layer: The layer of the teacher that the head sees.
        head: What is trained.
        spec: The file that holds the content, for the errors.

    Raises:
        InputError: If the folder is not a teacher folder or is damaged, it has no such layer, or a setting is wrong.
    """
    settings = parsed(ProbeSettings, content, spec)
    if fixed := sorted(_FIXED & settings.train.keys()):
        raise InputError(f"{spec}: train.{fixed[0]}: is set by the probe itself; leave it out")
    card, network = load_model(teacher)
    network.tap([layer])
    options = {
        "network": card.network.model_dump(mode="json"),
        "classes": len(card.classes),
        "layer": layer,
        "head": head,
    }
    student = {"arch": PROBED, "encoder": "", "weights": str(teacher.resolve() / WEIGHTS), "options": options}
    config = {**merged(RECIPE, settings.train), "data": settings.data.model_dump(mode="json"), "student": student}
    return TrainConfig.parse(config)


def fit_probe(config: TrainConfig, teacher: Path, machine: Machine, store: Store, fit: Fit) -> ModelCard:
    """Train a head and make a teacher folder of it; an interrupted fit is resumed.

    Args:
        config: As `probe_config` makes it.
        teacher: The teacher folder.
        machine: Where to train.
        store: The folder to make.
        fit: Trains.

    Raises:
        InputError: If the training diverged.
        Interrupted: If it was interrupted.
    """
    card, _ = load_model(teacher)
    fitted = fit_teacher(config, machine, store, fit)
    images = open_role(config.data, "train", machine.data_root, machine.cache)
    facts = {"source": "probe", "members": (card.digest,), "data_digest": images.digest}
    probe = ModelCard.model_validate(fitted.model_dump() | facts)
    store.write(CARD, card_bytes(probe))
    return probe
