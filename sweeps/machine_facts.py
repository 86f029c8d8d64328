"""What this machine has of what a sweep needs: weights of encoders, space on its disks, CPUs and GPUs."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from analysis.formats import gigabytes, plural
from kdtrain.config import Machine
from kdtrain.models.network import LIBRARY
from kdtrain.models.weights import published_file
from sweeps.plan import Plan
from sweeps.spec.spec import SweepSpec


def machine_lines(spec: SweepSpec, made: Plan, machine: Machine, folder: Path | None) -> Iterator[str]:
    """What was looked for on this machine, and what is there.

    Args:
        spec: The sweep.
        made: Its plan.
        machine: Where data, weights and the cache are.
        folder: The folder of the sweep; None for an object store.
    """
    networks = [spec.config_for(study).student for study in spec.studies]
    if (fit := spec.teacher_config) is not None:
        networks.append(fit.student)
    of_library = [each for each in networks if each.weights == LIBRARY and not (each.is_custom or each.is_ensemble)]
    for encoder in dict.fromkeys(network.encoder for network in of_library):
        yield f"weights of {encoder}: {_where(encoder, machine)}"
    cpus, gpus = plural(os.cpu_count() or 1, "CPU"), plural(torch.cuda.device_count(), "GPU")
    yield f"{_disk_text(spec, made, machine, folder)}; cluster: none was asked; this machine has {cpus} and {gpus}"


def _where(encoder: str, machine: Machine) -> str:
    """Where the library's weights of an encoder are, or come from."""
    if (file := published_file(encoder, machine.weights)) is not None:
        return f"in {file}"
    from kdtrain.models.library import hub_repository  # takes seconds to import

    repository = hub_repository(encoder)
    if repository is None:
        return "the library publishes none"
    if repository.startswith("https://"):
        cached = Path(torch.hub.get_dir()) / "checkpoints" / repository.rpartition("/")[2]
        return f"in the cache of torch, {cached}" if cached.is_file() else f"to be downloaded from {repository}"
    from huggingface_hub.constants import HF_HUB_CACHE

    cached = Path(HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}" / "snapshots"
    if any(cached.glob("*/*.safetensors")) or any(cached.glob("*/*.bin")):
        return f"in the cache of the hub, {cached.parent}"
    return f"to be downloaded from the hub, {repository}"


def _disk_text(spec: SweepSpec, made: Plan, machine: Machine, folder: Path | None) -> str:
    """Free space beside what the sweep writes."""
    seeds = spec.repeats + len(spec.confirm_seeds) + spec.confirm.final_seeds
    recorded = made.checked.replay.bytes_of_seeds(seeds)
    cache = f"up to {gigabytes(recorded)} GB of recorded views in the cache {machine.cache}, "
    line = f"free disk: {cache}where {gigabytes(_free(machine.cache))} GB are free"
    if folder is None:
        return line
    return (
        f"{line}; up to {gigabytes(made.disk_bytes)} GB of trials in {folder.absolute()}, where "
        f"{gigabytes(_free(folder))} GB are free"
    )


def _free(folder: Path) -> int:
    """Free bytes on the disk of a folder, which may not be there yet."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free
