"""Where a training computes, and in which precision."""

import ctypes
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Literal

import torch

from kdtrain.config import Machine
from kdtrain.errors import InputError
from kdtrain.explain import first_line


def find_device(machine: Machine, rank: int = 0) -> torch.device:
    """The device that the machine names; for several processes, the one of the process `rank`.

    Raises:
        InputError: If it is not available, or there are fewer GPUs than processes.
    """
    name = machine.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if machine.processes > 1 and name != "cpu":
        if name != "cuda":
            raise InputError(
                f"device: must be auto, cpu or cuda for {machine.processes} processes, got {machine.device!r}"
            )
        if 0 < torch.cuda.device_count() < machine.processes:
            raise InputError(
                f"processes: each needs a GPU of its own, got {machine.processes} processes for "
                f"{torch.cuda.device_count()} visible GPUs"
            )
        name = f"cuda:{rank}"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device: {machine.device!r} is not available ({first_line(error)})") from error
    return device


def check_device(name: str, is_here: bool = True) -> None:
    """Check the name of a device, without using the device.

    Args:
        name: As in `Machine.device`.
        is_here: Whether trainings run on this machine, so that the device must be here.

    Raises:
        InputError: If there is no such device.
    """
    if name == "auto":
        return
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in _DEVICES:
        raise InputError(f"device: must be auto, cpu, cuda, or cuda:1 for the second GPU, got {name!r}")
    if device.type != "cuda" or not is_here:
        return
    count = torch.cuda.device_count()
    if count == 0:
        raise InputError(f"device: {name!r} is not available, because torch sees no GPU here; use auto or cpu")
    if (device.index or 0) >= count:
        raise InputError(f"device: {name!r} is not available, the last GPU here is cuda:{count - 1}")


_DEVICES = ("cpu", "cuda", "mps", "xpu")
"""The kinds of devices on which a training may compute."""


def keep_freed_memory() -> None:
    """Let this process reuse the memory of freed tensors, where the C library is glibc.

    By default glibc returns every large block to the system, which hands it out again page by page and zeroed: on a
    CPU that was measured as a sixth of a training step (`docs/performance.md`).
    """
    with suppress(OSError, AttributeError):
        set_option = ctypes.CDLL("libc.so.6").mallopt
        for option, value in _MALLOC.items():
            set_option(option, value)


def return_freed_memory() -> None:
    """Return the memory of freed tensors to the system, where the C library is glibc."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


_MALLOC = {-3: 2**30, -1: 2**31 - 1, -2: 2**26}
"""M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_TOP_PAD of `malloc.h`: the size from which on a block is the
system's own, how much stays free before any is returned, and how much is requested at once; in bytes."""


def precision(machine: Machine, device: torch.device) -> Literal["off", "bfloat16", "float16"]:
    """The precision that `amp` means on a device."""
    if machine.amp != "auto":
        return machine.amp
    if device.type != "cuda":
        return "off"
    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"


def mixed_precision(
    machine: Machine, device: torch.device
) -> tuple[Callable[[], AbstractContextManager[object]], torch.amp.GradScaler]:
    """A function that makes a context of mixed precision, and the scaler of gradients; both do nothing if it is off."""
    kind = precision(machine, device)
    scaler = torch.amp.GradScaler(device.type, enabled=kind == "float16" and device.type == "cuda")

    def autocast() -> AbstractContextManager[object]:
        if kind == "off":
            return nullcontext()
        return torch.autocast(device.type, getattr(torch, kind))

    return autocast, scaler
