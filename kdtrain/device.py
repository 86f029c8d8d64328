"""Where a training computes, and in which precision."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from kdtrain.config import Machine
from kdtrain.errors import InputError


def find_device(machine: Machine) -> torch.device:
    """The device that the machine names.

    Raises:
        InputError: If it is not to be had.
    """
    name = machine.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device: {machine.device!r} is not to be had here ({reason})") from error
    return device


def mixed_precision(
    machine: Machine, device: torch.device
) -> tuple[Callable[[], AbstractContextManager[Any]], torch.amp.GradScaler]:
    """What makes a context of mixed precision, and the scaler of its gradients; neither does anything if off."""
    kind = machine.amp
    if kind == "auto" and device.type == "cuda":
        kind = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    scaler = torch.amp.GradScaler(device.type, enabled=kind == "float16" and device.type == "cuda")

    def autocast() -> AbstractContextManager[Any]:
        if kind in ("auto", "off"):
            return nullcontext()
        return torch.autocast(device.type, getattr(torch, kind))

    return autocast, scaler
