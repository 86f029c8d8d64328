"""How busy a GPU is while a training runs, by NVML: that of all processes on it, not of this one alone."""

import time

import torch

_EVERY_S = 1.0
"""NVML itself looks back a sixth of a second up to a second."""


class GpuBusy:
    """The mean share of the time in which kernels run on a GPU.

    Args:
        device: Where the training computes; nothing is measured on a CPU, nor where torch cannot ask NVML (it needs the
            package `nvidia-ml-py`).
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._can_ask = device.type == "cuda"
        self._shares: list[float] = []
        self._asked_at = -_EVERY_S

    def sample(self) -> None:
        """Ask once a second, whenever this is called."""
        if self._can_ask and time.monotonic() - self._asked_at >= _EVERY_S:
            try:
                self._shares.append(torch.cuda.utilization(self._device) / 100)
            except Exception:  # of NVML, which has its own classes, or of its import: it decides nothing
                self._can_ask = False
            self._asked_at = time.monotonic()

    def take(self) -> float | None:
        """The mean of the samples since the last call; None without any."""
        mean = sum(self._shares) / len(self._shares) if self._shares else None
        self._shares.clear()
        return mean
