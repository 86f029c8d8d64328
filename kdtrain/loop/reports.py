"""What a training tells while it runs and when it ends."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from kdtrain.loop.evaluate import Evaluation

OUTSIDE = ("record", "record_teacher", "wait", "start", "checkpoint")
"""Parts of `EpochReport.seconds` that its `total` does not count."""

State = Literal["complete", "stopped", "interrupted", "diverged"]


@dataclass(frozen=True)
class EpochReport:
    """What one epoch gave.

    Attributes:
        epoch: Number of finished epochs, from 1.
        epochs: Epochs planned.
        metrics: `miou` and `pixel_accuracy` on the select role as fractions; empty where the epoch was not
            evaluated.
        losses: By the term's name the means over the epoch: `raw` (of the steps in which it was computed; missing if
            there were none) and `weighted`; and, where they were looked at, the length of its weighted `gradient` and
            its `gradient_share` of the sum of these lengths (see `kdtrain.loop.gradients`).
        lr: Learning rate of the epoch's last step.
        seconds: Where the time went; `total` is what the training itself took in this epoch. Its parts are `data`
            (waiting for samples and for the disk), `teacher`, `student`, `losses`, `gradients`, `backward`,
            `optimizer` and `evaluate`. Outside of `total` lie what was done once for all trainings, whichever came
            first: `record` (samples), `record_teacher` (the teacher's answers) and `wait` (for others that record,
            and for the store); `start` (from the call of `train` to this epoch, in the first report of an attempt);
            and `checkpoint` (writing that of the epoch before; those of the last epoch and of an interrupted one are
            in no report). On a GPU, parts are those of the host, since kernels run behind it.
        images: Images trained on in this epoch.
        peak_memory_bytes: Most GPU memory that the (first) process has held for tensors so far, its allocator's
            reserve included: what decides how many trainings share a GPU. None on a CPU.
        asked: Images that the teacher was shown in this epoch.
        recorded: Those of them whose answers were recorded for all trainings.
    """

    epoch: int
    epochs: int
    metrics: dict[str, float]
    losses: dict[str, dict[str, float]]
    lr: float
    seconds: dict[str, float]
    images: int
    peak_memory_bytes: int | None = None
    asked: int = 0
    recorded: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "EpochReport":
        """The inverse of `to_dict`."""
        return cls(**content)


Report = Callable[[EpochReport], str | None]
"""Takes every epoch's report, those of before a resume included, and may answer "stop"."""


@dataclass(frozen=True)
class TrainResult:
    """How a training ended.

    Attributes:
        state: `complete`; `stopped` where the listener said so; `interrupted` where it was asked to leave off;
            `diverged` where a loss was not finite.
        reason: Why it did not complete.
        epochs_run: Finished epochs.
        resumed_from: Finished epochs that this call went on from; 0 for a fresh start.
        evaluation: The last evaluation, per image; none unless complete.
        held_out: That on the role report, where one was asked for.
        student: `params`, `macs` (of one image of the input size), `latency_ms` (batch of 1, median),
            `latency_device`, `input_height`, `input_width`; empty unless complete.
        seconds: Seconds of training over all attempts, without what was recorded for all trainings.
        teacher_seconds: Seconds of these in which the teacher was asked.
        reports: The report of every epoch.
    """

    state: State
    epochs_run: int
    reports: tuple[EpochReport, ...]
    reason: str | None = None
    resumed_from: int = 0
    evaluation: Evaluation | None = None
    student: dict[str, Any] = field(default_factory=dict)
    held_out: Evaluation | None = None

    @property
    def seconds(self) -> float:
        """Seconds of training over all attempts, without what was recorded for all trainings."""
        return sum(report.seconds["total"] for report in self.reports)

    @property
    def teacher_seconds(self) -> float:
        """Seconds of these in which the teacher was asked."""
        return sum(report.seconds.get("teacher", 0.0) for report in self.reports)

    def to_dict(self) -> dict[str, Any]:
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
    def from_dict(cls, content: dict[str, Any]) -> "TrainResult":
        """The inverse of `to_dict`."""
        evaluations = {name: content.get(name) for name in ("evaluation", "held_out")}
        return cls(
            **content
            | {name: Evaluation.from_dict(found) if found else None for name, found in evaluations.items()}
            | {
                "reports": tuple(EpochReport.from_dict(report) for report in content["reports"]),
            }
        )


class LossMeter:
    """Means of the terms over an epoch, and a look-out for values that are not finite.

    Args:
        names: The terms.
        every: Steps between looks at the values; on a GPU every look waits for it.
    """

    def __init__(self, names: list[str], every: int) -> None:
        self.names, self.every = names, every
        self._recent: list[tuple[Sequence[Tensor | None], Sequence[float]]] = []
        self._raw = torch.zeros(len(names), dtype=torch.float64)
        self._weighted = torch.zeros(len(names), dtype=torch.float64)
        self._computed = torch.zeros(len(names), dtype=torch.int64)
        self._steps = 0

    def add(self, raw: Sequence[Tensor | None], weights: Sequence[float], look: bool = False) -> str | None:
        """Count a step's raw values, none for a term that rests, and `look` now; the first term seen to have broken."""
        self._recent.append(([None if value is None else value.detach() for value in raw], weights))
        return self.flush() if look or len(self._recent) >= self.every else None

    def flush(self) -> str | None:
        """Look at the values not looked at yet; the first term that broke, if one has."""
        if not self._recent:
            return None
        acted = torch.tensor([[value is not None for value in raw] for raw, _ in self._recent])
        values = torch.zeros(acted.shape, dtype=torch.float64)
        values[acted] = (
            torch.stack([value for raw, _ in self._recent for value in raw if value is not None]).double().cpu()
        )
        weights = torch.tensor([weights for _, weights in self._recent], dtype=torch.float64)
        self._recent.clear()
        broken = (~torch.isfinite(values)).nonzero()
        if len(broken):
            return self.names[int(broken[0, 1])]
        self._raw += values.sum(dim=0)
        self._weighted += (weights * values).sum(dim=0)
        self._computed += acted.sum(dim=0)
        self._steps += len(values)
        return None

    def state_dict(self) -> dict[str, Any]:
        """What has been looked at so far."""
        return {"raw": self._raw, "weighted": self._weighted, "computed": self._computed, "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._raw, self._weighted = state["raw"].clone(), state["weighted"].clone()
        self._computed, self._steps = state["computed"].clone(), state["steps"]

    def means(self) -> dict[str, dict[str, float]]:
        """By term: `raw`, over the steps in which it was computed, and `weighted`, over all steps looked at."""
        found = zip(self.names, self._raw.tolist(), self._weighted.tolist(), self._computed.tolist(), strict=True)
        return {
            name: ({"raw": raw / computed} if computed else {}) | {"weighted": weighted / self._steps}
            for name, raw, weighted, computed in found
        }


class Stopwatch:
    """Adds up seconds by name."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count the time of a block under `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start

    @contextmanager
    def around(self, name: str) -> Iterator[None]:
        """Count the time of a block under `name`, but for what is counted inside of it under other names."""
        start, before = time.perf_counter(), sum(self.seconds.values())
        try:
            yield
        finally:
            inside = sum(self.seconds.values()) - before
            self.seconds[name] += max(0.0, time.perf_counter() - start - inside)

    def take(self, other: "Stopwatch") -> None:
        """Move what another has counted over to this one."""
        for name, seconds in other.seconds.items():
            self.seconds[name] += seconds
        other.seconds.clear()

    def timed(self, name: str, items: Iterator[Any]) -> Iterator[Any]:
        """Hand on items, counting the time of waiting for each under `name`."""
        while True:
            with self(name):
                item = next(items, None)
            if item is None:
                return
            yield item


class EpochSoFar:
    """How far an epoch has come: what a checkpoint in its middle holds besides weights.

    Args:
        terms: Names of the terms.
        look_every: Steps between looks at their values.

    Attributes:
        step: Steps done.
        meter: Of the losses.
        watch: Of the seconds.
        gradients: Length of every term's gradient, where it was looked at.
        shown: Images that the teacher was shown, and those of them that were recorded, in all processes.
    """

    def __init__(self, terms: list[str], look_every: int) -> None:
        self.step = 0
        self.meter = LossMeter(terms, look_every)
        self.watch = Stopwatch()
        self.gradients: dict[str, float] = {}
        self.shown = torch.zeros(2, dtype=torch.int64)

    def losses(self) -> dict[str, dict[str, float]]:
        """As in `EpochReport`."""
        whole = sum(self.gradients.values())
        lengths = {
            name: {"gradient": length, "gradient_share": length / whole if whole > 0 else 0.0}
            for name, length in self.gradients.items()
        }
        return {name: means | lengths.get(name, {}) for name, means in self.meter.means().items()}

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors."""
        return {
            "step": self.step,
            "losses": self.meter.state_dict(),
            "seconds": dict(self.watch.seconds),
            "gradients": self.gradients,
            "shown": self.shown,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.step = state["step"]
        self.meter.load_state_dict(state["losses"])
        self.watch.seconds.update(state["seconds"])
        self.gradients = dict(state["gradients"])
        self.shown = state.get("shown", self.shown).clone()
