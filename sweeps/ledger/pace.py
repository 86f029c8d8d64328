"""How fast the trainings of a sweep are and how much memory they take, from report to report."""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from kdtrain.loop.reports import EpochReport
from sweeps.ledger.event_base import Environment

RECENT = 1001
"""The newest epochs that make the usual one."""


@dataclass
class Pace:
    """How long epochs have taken.

    Attributes:
        epochs: How many were reported.
        seconds: What they took together.
    """

    epochs: int = 0
    seconds: float = 0.0
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    @property
    def mean(self) -> float | None:
        """Seconds of an epoch; none before the first."""
        return self.seconds / self.epochs if self.epochs else None

    @property
    def usual(self) -> float | None:
        """The median of the newest epochs; none before the first."""
        return sorted(self._recent)[len(self._recent) // 2] if self._recent else None

    def add(self, report: EpochReport) -> None:
        """Take in an epoch."""
        seconds = report.seconds.get("total", 0.0)
        self.epochs += 1
        self.seconds += seconds
        if seconds:
            self._recent.append(seconds)


class MemoryUse(NamedTuple):
    """The memory of a GPU that a training has held, and the memory of this GPU, in bytes."""

    peak: int
    total: int

    @classmethod
    def of(cls, report: EpochReport, environment: Environment) -> "MemoryUse | None":
        """What a report says; none if it was not on a GPU."""
        peak, total = report.peak_memory_bytes, environment.get("gpu_memory_bytes")
        return cls(peak, total) if peak and isinstance(total, int) and total else None

    @property
    def share(self) -> float:
        """The share of the GPU's memory."""
        return self.peak / self.total
