"""How fast a student is: what is measured, and the figures. Nothing here needs torch."""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from kdtrain.config_base import Strict
from kdtrain.errors import InputError, unreadable
from kdtrain.explain import sentence

Runtime = Literal["torch", "compile", "onnxruntime"]
Count = Annotated[int, Field(ge=1, le=4096)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Setting(Strict):
    """What is measured: a runtime with all that its speed depends on."""

    runtime: Runtime = "torch"
    """`compile` is `torch.compile`."""
    device: str = "cpu"
    """As torch names it; onnxruntime takes the CPU alone."""
    threads: Count = 1
    """Of the CPU, within one operation."""
    batch: Count = 1
    """Images of a call."""
    height: int = Field(ge=1, le=8192)
    """Of the images, in pixels."""
    width: int = Field(ge=1, le=8192)
    seconds: Positive = 3.0
    """Of measuring, after a warm-up of a tenth of it."""
    int8: bool = False
    """Whether onnxruntime computes in 8-bit integers."""


class Speed(Strict):
    """What was measured, as `device_report.py` prints it."""

    student: str
    """The digest of the student."""
    runtime: str
    version: str
    """Of the runtime."""
    provider: str | None = None
    """Of onnxruntime."""
    device: str
    """Its name."""
    threads: Count
    batch: Count
    height: Count
    width: Count
    calls: int = Field(ge=1)
    """How often the student was called."""
    median_ms: Positive
    """Of a call, as the next two."""
    low_ms: Positive
    """The 10 % quantile."""
    high_ms: Positive
    """The 90 % quantile."""
    images_per_s: Positive
    """At the median."""
    peak_mib: Positive | None
    """The most memory of the process, or on a GPU of its tensors, in MiB; null where the system does not say it."""
    int8: bool = False
    """Whether it computed in 8-bit integers."""


class Cost(Strict):
    """What a student costs to run."""

    params: int
    macs: int
    """Multiply-accumulates of one image."""
    speed: Speed | None = None
    """Null where it was not measured."""

    @property
    def order(self) -> tuple[float, int]:
        """By which students are sorted: by latency where it was measured, and by multiply-accumulates."""
        return (self.speed.median_ms if self.speed else 0.0, self.macs)

    @property
    def in_words(self) -> str:
        """The cost in one line."""
        costs = f"{self.params / 1e6:.2f} M parameters, {self.macs / 1e9:.3g} G multiply-accumulates"
        if self.speed is None:
            return costs
        threads = f"{self.speed.threads} thread{'s' if self.speed.threads > 1 else ''}"
        runtime = f"{self.speed.runtime}{', int8,' if self.speed.int8 else ''}"
        return f"{self.speed.median_ms:.3g} ms in {runtime} on {self.speed.device} ({threads}), {costs}"


def read_report(file: Path) -> Speed:
    """Read a report that `device_report.py` printed on another machine.

    Raises:
        InputError: If it is not such a report.
    """
    try:
        return Speed.model_validate(json.loads(file.read_text()))
    except OSError as error:
        raise unreadable(file, error) from error
    except ValidationError as error:
        raise InputError(f"{file}: {sentence(error, Speed)}") from None
    except ValueError:
        raise InputError(f"{file}: must be the JSON that device_report.py prints") from None
