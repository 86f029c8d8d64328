"""What a training reports while it runs and when it ends."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal, TypedDict

from kdtrain.loop.evaluation import Evaluation


class Part(StrEnum):
    """A part of `EpochReport.seconds`; its value is the name that reports, tables and checkpoints use.

    On a GPU the parts are those of the host, because kernels run behind it.
    """

    TOTAL = "total"
    """What the training itself took in the epoch: the sum of the parts inside of it and a rest."""
    DATA = "data"
    """Inside of `total`: waiting for samples and for the disk."""
    TEACHER = "teacher"
    STUDENT = "student"
    LOSSES = "losses"
    GRADIENTS = "gradients"
    """Measuring the gradient of every term."""
    BACKWARD = "backward"
    OPTIMIZER = "optimizer"
    EVALUATE = "evaluate"
    RECORD = "record"
    """Outside of `total`, once for all trainings, by whichever comes first: recording samples."""
    RECORD_TEACHER = "record_teacher"
    """Likewise: recording the teacher's maps."""
    WAIT = "wait"
    """Outside: waiting for others that record, and for the store."""
    START = "start"
    """Outside: from the call of `train` to the first epoch of an attempt; in the report of that epoch."""
    CHECKPOINT = "checkpoint"
    """Outside: writing the checkpoint of the epoch before. Those of the last epoch and of an interrupted one are in
    no report."""

    @property
    def is_outside(self) -> bool:
        """Whether `total` does not count it."""
        return self in (Part.RECORD, Part.RECORD_TEACHER, Part.WAIT, Part.START, Part.CHECKPOINT)

    @property
    def is_inside(self) -> bool:
        """Whether it is a part of `total`."""
        return self is not Part.TOTAL and not self.is_outside


INSIDE: tuple[Part, ...] = tuple(part for part in Part if part.is_inside)
"""The parts of `total`."""
OUTSIDE: tuple[Part, ...] = tuple(part for part in Part if part.is_outside)
"""The parts that `total` does not count."""

State = Literal["complete", "stopped", "interrupted", "diverged"]


@dataclass(frozen=True)
class EpochReport:
    """What happened in one epoch.

    Attributes:
        epoch: Number of finished epochs, from 1.
        epochs: Epochs planned.
        metrics: `miou` and `pixel_accuracy` on the select role as fractions; empty where the epoch was not
            evaluated.
        losses: By the term's name the means over the epoch: `raw` (of the steps in which it was computed; missing if
            there were none) and `weighted`; and, where they were looked at, the length of its weighted `gradient` and
            its `gradient_share` of the sum of these lengths (see `kdtrain.loop.gradients`).
        lr: Learning rate of the epoch's last step.
        seconds: Where the time went, by the name of the `Part`.
        images: Images trained on in this epoch.
        peak_memory_bytes: Most GPU memory that the (first) process has held for tensors so far, its allocator's
            reserve included: what decides how many trainings share a GPU. None on a CPU.
        gpu_busy: The mean share of the time in which the GPU was busy, with the work of all processes on it, see
            `kdtrain.loop.gpu_busy`; None if it was not measured.
        asked: Images that the teacher was shown in this epoch; none in the ledger of a version that did not count them.
        recorded: Those of them for which its maps were recorded for all trainings.
        replayed: Images for which recorded maps were read; none in the ledger of a version that did not count them.
    """

    epoch: int
    epochs: int
    metrics: dict[str, float]
    losses: dict[str, dict[str, float]]
    lr: float
    seconds: dict[str, float]
    images: int
    peak_memory_bytes: int | None = None
    asked: int | None = 0
    recorded: int | None = 0
    replayed: int | None = 0
    gpu_busy: float | None = None

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "EpochReport":
        """The inverse of `to_dict`."""
        return cls(**content)


OnEpoch = Callable[[EpochReport], str | None]
"""Takes the report of every epoch, those of before a resume included, and may answer "stop"."""


class StudentCost(TypedDict, total=False):
    """What a student costs to run; empty for a training that is not complete."""

    params: int
    macs: int
    """Multiply-accumulates of one image of the input size."""
    latency_ms: float
    """Median for a batch of one."""
    latency_device: str
    input_height: int
    input_width: int


@dataclass(frozen=True)
class TrainResult:
    """How a training ended.

    Attributes:
        state: `complete`; `stopped` if the listener answered so; `interrupted` if it can be resumed; `diverged` if a
            loss or a weight was not finite.
        reason: Why it did not complete.
        epochs_run: Finished epochs.
        resumed_from: Finished epochs from which this call resumed; 0 for a fresh start.
        evaluation: The last evaluation on the role select, per image; None unless complete.
        held_out: The evaluation on the role test, if there was one.
        student: What the student costs to run; empty unless complete.
        seconds: Seconds of training over all attempts, without what was recorded for all trainings.
        teacher_seconds: Seconds of these in which the teacher computed.
        reports: The report of every epoch.
    """

    state: State
    epochs_run: int
    reports: tuple[EpochReport, ...]
    reason: str | None = None
    resumed_from: int = 0
    evaluation: Evaluation | None = None
    student: StudentCost = field(default_factory=StudentCost)
    held_out: Evaluation | None = None

    @property
    def seconds(self) -> float:
        """Seconds of training over all attempts, without what was recorded for all trainings."""
        return sum(report.seconds[Part.TOTAL] for report in self.reports)

    @property
    def teacher_seconds(self) -> float:
        """Seconds of these in which the teacher computed."""
        return sum(report.seconds.get(Part.TEACHER, 0.0) for report in self.reports)

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        return {
            "state": self.state,
            "reason": self.reason,
            "epochs_run": self.epochs_run,
            "resumed_from": self.resumed_from,
            "evaluation": self.evaluation.to_dict() if self.evaluation else None,
            "held_out": self.held_out.to_dict() if self.held_out else None,
            "student": self.student,
            "reports": [report.to_dict() for report in self.reports],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "TrainResult":
        """The inverse of `to_dict`."""
        values = dict(content)
        for name in ("evaluation", "held_out"):
            values[name] = Evaluation.from_dict(values[name]) if values.get(name) else None
        values["reports"] = tuple(EpochReport.from_dict(report) for report in values["reports"])
        return cls(**values)
