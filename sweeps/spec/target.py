"""What a student may cost on the device that it is for."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, model_validator

from kdtrain.config_base import Strict
from kdtrain.deploy.speed import Cost, Count, Positive, Runtime, Setting

Limit = Annotated[int, Field(ge=1)]


class Target(Strict):
    """Limits of a student's cost. A student above a limit is not trained."""

    latency_ms: Positive | None = None
    """Of one call, median, in milliseconds, on the machine of the driver."""
    params: Limit | None = None
    """Weights."""
    macs: Limit | None = None
    """Multiply-accumulates of one image."""
    runtime: Runtime = "onnxruntime"
    """In which the latency is measured: `torch`, `compile` (`torch.compile`) or `onnxruntime`."""
    threads: Count = 1
    """Of the CPU, as the next two where the latency is measured."""
    batch: Count = 1
    """Images of a call."""
    device: str = "cpu"
    """As torch names it; onnxruntime takes the CPU alone."""
    size: tuple[Limit, Limit] | None = None
    """Height and width of the images; `null` for those of the data, as they are evaluated."""

    @model_validator(mode="after")
    def _has_limit(self) -> "Target":
        if self.latency_ms is None and self.params is None and self.macs is None:
            raise ValueError("give latency_ms, params or macs")
        return self

    def setting(self, size: tuple[int, int]) -> Setting | None:
        """How the latency is measured; none where it has no limit.

        Args:
            size: Height and width of the images where the target names none.
        """
        if self.latency_ms is None:
            return None
        height, width = self.size or size
        common = {"runtime": self.runtime, "device": self.device, "threads": self.threads, "batch": self.batch}
        return Setting.model_validate({**common, "height": height, "width": width})

    @property
    def in_words(self) -> str:
        """The limits in one line."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        limits = {
            f"{self.latency_ms or 0:g} ms in {self.runtime} ({threads}, batches of {self.batch})": self.latency_ms,
            f"{self.params or 0:,} parameters": self.params,
            f"{self.macs or 0:,} multiply-accumulates": self.macs,
        }
        return "students of at most " + ", ".join(words for words, limit in limits.items() if limit is not None)

    def excess(self, cost: Cost) -> str | None:
        """Which limits a cost is above, in words; none if it is within all."""
        return ", ".join(self._above(cost)) or None

    def _above(self, cost: Cost) -> Iterator[str]:
        latency = None if cost.speed is None else cost.speed.median_ms
        figures = {"latency_ms": latency, "params": cost.params, "macs": cost.macs}
        for name, figure in figures.items():
            limit = getattr(self, name)
            if limit is not None and figure is not None and figure > limit:
                yield (
                    f"{figure:,.4g} is above target.{name} {limit:,.4g}"
                    if name == "latency_ms"
                    else (f"{figure:,} is above target.{name} {limit:,}")
                )
