"""How many students of a sweep with `resources: {gpu: auto}` share a GPU, by what its trials have measured.

A fold over records of the ledger, in their order: a sweep that is resumed takes the same decisions.
"""

import math
from dataclasses import dataclass, replace

from analysis.conditions.memory import advice

MOST_STUDENTS = 16
"""Students on one GPU at most: their processes share its host's cores and disk, too."""
FULL = 0.95
"""The share of the time from which on a GPU counts as busy all the time."""


@dataclass(frozen=True)
class GpuUse:
    """What trials have measured so far.

    Attributes:
        peak_bytes: The most memory that a trial has held; 0 before the first measurement.
        gpu_bytes: The memory of the smallest GPU that was measured.
        busy: The share of the time in which a GPU was busy, when last measured; None if it never was.
        busy_with: The students that shared the GPU then.
        most: The most students, because more of them have run out of memory.
    """

    peak_bytes: int = 0
    gpu_bytes: int = 0
    busy: float | None = None
    busy_with: int = 1
    most: int = MOST_STUDENTS

    @property
    def students(self) -> int:
        """Students on one GPU: as many as its memory holds, and as keep it busy, but no more.

        The first trial has a GPU alone, and measures.
        """
        if not self.peak_bytes:
            return 1
        fitting = min(self.most, advice(self.peak_bytes, self.gpu_bytes).fit)
        if self.busy is not None:
            fitting = min(fitting, int(self.busy_with * FULL / max(self.busy, 0.01) + 1e-6))
        return max(1, fitting)

    @property
    def share(self) -> float:
        """The share of a GPU for one student, of which `students`, and not one more, fit into 1."""
        return math.floor(1e4 / self.students) / 1e4

    def with_epoch(self, students: int, peak_bytes: int, gpu_bytes: int, busy: float | None) -> "GpuUse":
        """What an epoch has measured.

        Args:
            students: How many students could share the GPU.
            peak_bytes: The most memory that the trial has held so far.
            gpu_bytes: The memory of the GPU.
            busy: The share of the time in which the GPU was busy; None if it was not measured.
        """
        smallest = min(self.gpu_bytes or gpu_bytes, gpu_bytes)
        measured = replace(self, peak_bytes=max(self.peak_bytes, peak_bytes), gpu_bytes=smallest)
        return measured if busy is None else replace(measured, busy=busy, busy_with=students)

    def without_memory(self, students: int) -> "GpuUse":
        """A trial has run out of memory while so many students could share the GPU."""
        return replace(self, most=max(1, min(self.most, students - 1)))


def students_at(share: float | None) -> int:
    """How many trials with a share of a GPU fit onto one; 1 where the share is not known."""
    return max(1, int(1 / share + 1e-6)) if share else 1
