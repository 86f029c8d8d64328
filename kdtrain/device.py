"""Where a training computes, and in which precision."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

from kdtrain.config import Machine
from kdtrain.errors import InputError


def find_device(machine: Machine, rank: int = 0) -> torch.device:
    """The device that the machine names; for several processes, that of the process `rank`.

    Raises:
        InputError: If it is not to be had.
    """
    name = machine.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if machine.processes > 1 and name != "cpu":
        if name != "cuda":
            raise InputError(
                f"device: must be auto, cpu or cuda for {machine.processes} processes, but came {machine.device!r}"
            )
        if 0 < torch.cuda.device_count() < machine.processes:
            raise InputError(
                f"processes: each needs a GPU of its own, but came {machine.processes} processes for "
                f"{torch.cuda.device_count()} visible GPUs"
            )
        name = f"cuda:{rank}"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device: {machine.device!r} is not to be had here ({reason})") from error
    return device


def precision(machine: Machine, device: torch.device) -> Literal["off", "bfloat16", "float16"]:
    """What `amp` comes to on a device."""
    if machine.amp != "auto":
        return machine.amp
    if device.type != "cuda":
        return "off"
    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"


def mixed_precision(
    machine: Machine, device: torch.device
) -> tuple[Callable[[], AbstractContextManager[Any]], torch.amp.GradScaler]:
    """What makes a context of mixed precision, and the scaler of its gradients; neither does anything if off."""
    kind = precision(machine, device)
    scaler = torch.amp.GradScaler(device.type, enabled=kind == "float16" and device.type == "cuda")

    def autocast() -> AbstractContextManager[Any]:
        if kind == "off":
            return nullcontext()
        return torch.autocast(device.type, getattr(torch, kind))

    return autocast, scaler
