"""What a sweep runs on and with: environment, data and teacher, described for the ledger."""

import functools
import hashlib
import json
import os
import platform
import re
import socket
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import kdtrain
from kdtrain.config import Machine, TrainConfig
from kdtrain.data import DataConfig, Unlabelled, open_roles, open_unlabelled
from kdtrain.data.palette import color_text
from kdtrain.loop.device import precision
from kdtrain.teacher import ModelCard
from kdtrain.version import __version__
from sweeps.ledger.event_base import Environment
from sweeps.ledger.sweep_events import Command, DataFacts, TeacherKnown

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

    data: DataFacts
    """From `describe_data`."""
    environment: Environment
    """The environment of the driver's process, from `describe_environment`."""
    teacher: TeacherKnown | None = None
    """From `describe_teacher`; none for a sweep without a teacher."""
    command: Command | None = None
    """The command that began the session, if one did."""


def describe_data(config: DataConfig, machine: Machine, unlabelled: Iterable[Unlabelled] = ()) -> DataFacts:
    """Classes, colors and digests of the data that a search sees; builds their store where it is missing.

    Images without labels count as a role `unlabelled:<folder>`.

    Raises:
        InputError: If the data are not what they must be.
    """
    roles = ("train", "select")
    opened = dict(zip(roles, open_roles(config, roles, machine.data_root, machine.cache), strict=True))
    for further in unlabelled:
        opened[f"unlabelled:{further.images}"] = open_unlabelled(further, machine.data_root, machine.cache, config)
    train = opened["train"]
    return {
        "name": config.name,
        "classes": list(train.classes),
        "palette": [color_text(color) for color in train.palette],
        "images": {role: len(images) for role, images in opened.items()},
        "digests": {role: images.digest for role, images in opened.items()},
    }


def describe_teacher(card: ModelCard, source: str, config: TrainConfig | None = None) -> TeacherKnown:
    """A teacher as the ledger records it; `source` is `fitted` (by this sweep) or `given`."""
    network = card.network
    return TeacherKnown(
        digest=card.digest,
        name=network.title,
        arch=network.arch,
        encoder=network.encoder if network.is_of_smp else None,
        params=card.params,
        macs=card.macs,
        trained_on=card.trained_on,
        miou=card.miou,
        role=card.role,
        seconds=card.seconds,
        source=source,
        iou=list(card.iou) or None,
        config_json=None if config is None else json.dumps(config.model_dump(mode="json"), sort_keys=True),
    )


def describe_environment(machine: Machine) -> dict[str, object]:
    """The software and hardware of this process, with an id made of all of it but the node's name.

    To be called in the process that trains: the flags of determinism are those of the process.
    """
    facts = {**_hardware(machine), **_software(), **_numerics(machine)}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return {"environment_id": digest[:12], "node": socket.gethostname(), **facts}


def _device(machine: Machine) -> tuple[torch.device, bool]:
    """The device that the machine means, and whether it is a GPU of this machine."""
    has_gpu = torch.cuda.is_available()
    name = machine.device
    if name == "auto":
        name = "cuda" if has_gpu else "cpu"
    device = torch.device(name)
    return device, has_gpu and device.type == "cuda"


def _hardware(machine: Machine) -> dict[str, object]:
    device, on_gpu = _device(machine)
    cpu = _cpu_name()
    gpu = torch.cuda.get_device_properties(device) if on_gpu else None
    return {
        "platform": platform.platform(),
        "device": str(device),
        "device_name": gpu.name if gpu else cpu,
        "gpu_count": torch.cuda.device_count() if gpu else None,
        "gpu_memory_bytes": gpu.total_memory if gpu else None,
        "cpu_name": cpu,
        "cpu_count": os.cpu_count(),
        "num_threads": machine.threads or torch.get_num_threads(),
        "processes": machine.processes,
    }


@functools.cache
def _software() -> dict[str, object]:
    """Versions and code; they do not change while a process runs."""
    versions = {name: version for name in _PACKAGES if (version := package_version(name)) is not None}
    on_gpu = torch.cuda.is_available()
    commit, dirty = _git()
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ray": versions.get("ray"),
        "optuna": versions.get("optuna"),
        "cuda": torch.version.cuda if on_gpu else None,
        "cudnn": _cudnn() if on_gpu else None,
        "gpu_driver": _gpu_driver() if on_gpu else None,
        "versions_json": json.dumps(versions, sort_keys=True),
        "kdsweep_version": __version__,
        "code_digest": _code_digest(Path(kdtrain.__file__).parent),
        "git_commit": commit,
        "git_dirty": dirty,
    }


def _numerics(machine: Machine) -> dict[str, object]:
    """What decides how a number is rounded, and whether a run repeats to the last bit."""
    device, on_gpu = _device(machine)
    is_here = on_gpu or device.type == "cpu"
    return {
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic if on_gpu else None,
        "cudnn_benchmark": torch.backends.cudnn.benchmark if on_gpu else None,
        "tf32": _tf32() if on_gpu else None,
        "amp": precision(machine, device) if is_here else None,
    }


def _tf32() -> str:
    """Which operations may round to TF32: `none`, `convolution`, `matmul` or both."""
    backends = torch.backends
    convolution = backends.cudnn.conv  # type: ignore[attr-defined]
    kinds = {"convolution": convolution.fp32_precision, "matmul": backends.cuda.matmul.fp32_precision}
    return " and ".join(name for name, kind in kinds.items() if kind == "tf32") or "none"


def _cudnn() -> str | None:
    read_version: Callable[[], int | None] = torch.backends.cudnn.version
    number = read_version()  # slow: it loads the library
    return None if number is None else str(number)


def _gpu_driver() -> str | None:
    """The version of the GPU's driver: from its own file, where that can be read, else from `nvidia-smi`."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        text = ""
    if match := re.search(r"Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", text):
        return match[1]
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().split("\n")[0] or None


@functools.cache
def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.processor() or platform.machine()


def _code_digest(package: Path) -> str:
    """Hash of the sources that a training runs: it names the code also where there is no git, as in a wheel."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def package_version(name: str) -> str | None:
    """The installed version of a package; none where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git() -> tuple[str | None, bool | None]:
    """Commit of the checkout that this code runs from, and whether it was changed since; else none."""
    folder = Path(__file__).resolve().parents[2]
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
