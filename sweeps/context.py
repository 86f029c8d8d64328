"""What a sweep runs on and with: environment, data and teacher, described once per session for the ledger."""

import hashlib
import json
import os
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from kdtrain.config import Machine, TrainConfig
from kdtrain.data import DataConfig, open_role
from kdtrain.teacher import ModelCard

_PACKAGES = (
    "torch",
    "ray",
    "optuna",
    "numpy",
    "timm",
    "segmentation-models-pytorch",
    "torchvision",
    "pyarrow",
)


@dataclass(frozen=True)
class TrainContext:
    """What the driver records beside the spec."""

    data: dict[str, Any]
    """name, classes, palette (`#rrggbb`), images and digests by role: from `describe_data`."""
    environment: dict[str, Any]
    """A row of the table of environments: from `describe_environment`."""
    teacher: dict[str, Any] | None = None
    """A row of the table of teachers, without its sweep: from `describe_teacher`."""


def describe_data(config: DataConfig, machine: Machine) -> dict[str, Any]:
    """Classes, colours and digests of the data that a search sees; builds their store where it is missing.

    Raises:
        InputError: If the data are not what they must be.
    """
    opened = {role: open_role(config, role, machine.data_root, machine.cache) for role in ("train", "select")}
    train = opened["train"]
    return {
        "name": config.name,
        "classes": list(train.classes),
        "palette": ["#{:02x}{:02x}{:02x}".format(*color) for color in train.palette],
        "images": {role: len(images) for role, images in opened.items()},
        "digests": {role: images.digest for role, images in opened.items()},
    }


def describe_teacher(card: ModelCard, source: str, config: TrainConfig | None = None) -> dict[str, Any]:
    """A teacher as the tables have it; `source` is `fitted` (by this sweep) or `given`."""
    network = card.network
    return {
        "digest": card.digest,
        "name": network.arch if network.is_custom else f"{network.arch} {network.encoder}",
        "arch": network.arch,
        "encoder": None if network.is_custom else network.encoder,
        "params": card.params,
        "macs": card.macs,
        "trained_on": card.trained_on,
        "miou": card.miou,
        "role": card.role,
        "seconds": card.seconds,
        "source": source,
        "iou": list(card.iou) or None,
        "config_json": None if config is None else json.dumps(config.model_dump(mode="json"), sort_keys=True),
    }


def describe_environment(machine: Machine) -> dict[str, Any]:
    """The software and hardware of this session, with an id made of all of it."""
    device = machine.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    on_gpu = device.startswith("cuda") and torch.cuda.is_available()
    versions = {name: found for name in _PACKAGES if (found := package_version(name)) is not None}
    commit, dirty = _git()
    facts = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ray": versions.get("ray"),
        "optuna": versions.get("optuna"),
        "platform": platform.platform(),
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if on_gpu else platform.processor() or platform.machine(),
        "num_threads": machine.threads or torch.get_num_threads(),
        "git_commit": commit,
        "git_dirty": dirty,
        "versions_json": json.dumps(versions, sort_keys=True),
        "kdsweep_version": package_version("kdsweep") or "unknown",
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return {"environment_id": digest[:12], **facts}


def package_version(name: str) -> str | None:
    """The installed version of a package; none where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git() -> tuple[str | None, bool | None]:
    """Commit of the checkout that this code runs from, and whether it was changed since; else none."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return None, None
    quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10, env=quiet).stdout

    try:
        return git("rev-parse", "HEAD").strip(), bool(git("status", "--porcelain", "--untracked-files=no").strip())
    except (OSError, subprocess.SubprocessError):
        return None, None
