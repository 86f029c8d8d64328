"""How far an epoch has come: what a checkpoint in its middle holds besides the state of the networks."""

from collections.abc import Mapping

import torch
from torch import Tensor

from kdtrain.loop.frozen_teacher import TeacherUse
from kdtrain.loop.step import StepResult
from kdtrain.loop.stopwatch import Stopwatch
from kdtrain.runtime.checkpoints import StateDict


class LossMeter:
    """Means of the terms over an epoch, and a check that their values are finite.

    Args:
        names: The terms.
        every: Steps between checks of the values; on a GPU every check waits for it.
    """

    def __init__(self, names: list[str], every: int) -> None:
        self.names, self.every = names, every
        self._unchecked: list[tuple[Mapping[str, Tensor], Mapping[str, float]]] = []
        self._raw = torch.zeros(len(names), dtype=torch.float64)
        self._weighted = torch.zeros(len(names), dtype=torch.float64)
        self._computed = torch.zeros(len(names), dtype=torch.int64)
        self._steps = 0

    def add(self, raw: Mapping[str, Tensor], weights: Mapping[str, float]) -> None:
        """Count a step.

        Args:
            raw: The value of every computed term before its weight.
            weights: Of all terms.
        """
        self._unchecked.append((raw, weights))

    def first_broken(self, now: bool = False) -> str | None:
        """The first term with a value that is not finite.

        Args:
            now: Whether all values are checked now; else every so many steps.
        """
        return self.check() if now or len(self._unchecked) >= self.every else None

    def check(self) -> str | None:
        """Check the values that were not checked yet; the first term with one that is not finite."""
        if not self._unchecked:
            return None
        computed = torch.tensor([[name in raw for name in self.names] for raw, _ in self._unchecked])
        values = torch.zeros(computed.shape, dtype=torch.float64)
        in_order = [raw[name] for raw, _ in self._unchecked for name in self.names if name in raw]
        values[computed] = torch.stack(in_order).double().cpu()
        rows = [[weights[name] for name in self.names] for _, weights in self._unchecked]
        weights = torch.tensor(rows, dtype=torch.float64)
        self._unchecked.clear()
        broken = (~torch.isfinite(values)).nonzero()
        if len(broken):
            return self.names[int(broken[0, 1])]
        self._raw += values.sum(dim=0)
        self._weighted += (weights * values).sum(dim=0)
        self._computed += computed.sum(dim=0)
        self._steps += len(values)
        return None

    def state_dict(self) -> StateDict:
        """The sums of what was checked."""
        return {"raw": self._raw, "weighted": self._weighted, "computed": self._computed, "steps": self._steps}

    def load_state_dict(self, state: StateDict) -> None:
        """The inverse of `state_dict`."""
        self._raw, self._weighted = state["raw"].clone(), state["weighted"].clone()
        self._computed, self._steps = state["computed"].clone(), state["steps"]

    def means(self) -> dict[str, dict[str, float]]:
        """By term: `raw`, over the steps in which it was computed, and `weighted`, over all checked steps."""
        sums = zip(self.names, self._raw.tolist(), self._weighted.tolist(), self._computed.tolist(), strict=True)
        return {
            name: ({"raw": raw / computed} if computed else {}) | {"weighted": weighted / self._steps}
            for name, raw, weighted, computed in sums
        }


class EpochProgress:
    """How far an epoch has come.

    Args:
        terms: Names of the terms.
        check_every: Steps between checks of their values.

    Attributes:
        step: Finished steps.
        meter: Of the losses.
        stopwatch: Of the seconds.
        gradients: By term, the length of its gradient, where it was measured.
        teacher_use: Of all processes and attempts, but for the current attempt.
    """

    def __init__(self, terms: list[str], check_every: int) -> None:
        self.step = 0
        self.meter = LossMeter(terms, check_every)
        self.stopwatch = Stopwatch()
        self.gradients: dict[str, float] = {}
        self.teacher_use = TeacherUse()

    def add(self, result: StepResult) -> None:
        """Count a finished step."""
        self.step += 1
        self.meter.add(result.raw, result.weights)
        self.gradients = dict(result.gradients) or self.gradients

    def losses(self) -> dict[str, dict[str, float]]:
        """As in `EpochReport`."""
        total = sum(self.gradients.values())
        lengths = {
            name: {"gradient": length, "gradient_share": length / total if total > 0 else 0.0}
            for name, length in self.gradients.items()
        }
        return {name: means | lengths.get(name, {}) for name, means in self.meter.means().items()}

    def state_dict(self) -> StateDict:
        """Plain values and tensors."""
        return {
            "step": self.step,
            "losses": self.meter.state_dict(),
            "seconds": dict(self.stopwatch.seconds),
            "gradients": self.gradients,
            "shown": self.teacher_use.to_tensor(),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """The inverse of `state_dict`."""
        self.step = state["step"]
        self.meter.load_state_dict(state["losses"])
        self.stopwatch.seconds.update(state["seconds"])
        self.gradients = dict(state["gradients"])
        if "shown" in state:  # checkpoints of the first versions lack it
            self.teacher_use = TeacherUse.from_tensor(state["shown"])
