"""What a student may cost on the device that it is for."""

import sys
from collections.abc import Iterator
from typing import Annotated, TypeGuard

from pydantic import BeforeValidator, Field, model_validator

from kdtrain.config_base import Strict
from kdtrain.deploy.speed import Cost, Count, Positive, Runtime, Setting

FIGURES = ("latency_ms", "params", "macs")
"""What may be limited."""
Limit = Annotated[int, Field(ge=1)]


def _ascending(value: object) -> object:
    """One limit, or several different ones in ascending order; a list of one is that one."""
    given = list(value) if isinstance(value, list | tuple) else [value]
    limits = [limit for limit in given if _is_number(limit) and limit > 0]
    if value is None:
        return None
    if not limits or len(limits) < len(given):
        raise ValueError(f"must be a number above 0 or a list of such numbers, got {_shown(value)}")
    if len(set(limits)) < len(limits):
        raise ValueError(f"the limits must differ, got {limits}")
    return limits[0] if len(limits) == 1 else tuple(sorted(limits))


def _whole(value: object) -> object:
    """As `_ascending`, of whole numbers."""
    limits = list(value) if isinstance(value, list | tuple) else [value]
    if any(_is_number(limit) and limit != int(limit) for limit in limits):
        raise ValueError(f"must be a whole number above 0 or a list of such numbers, got {_shown(value)}")
    return _ascending(value)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _shown(value: object) -> object:
    return list(value) if isinstance(value, tuple) else repr(value) if isinstance(value, str) else value


class Target(Strict):
    """Limits of a student's cost. A student above the largest limit is not trained.

    One of the limits may be a list: then the sweep finds the best student below each of them.
    """

    latency_ms: Annotated[Positive | tuple[Positive, ...] | None, BeforeValidator(_ascending)] = None
    """Of one call, median, in milliseconds, on the machine of the driver."""
    params: Annotated[Limit | tuple[Limit, ...] | None, BeforeValidator(_whole)] = None
    """Weights."""
    macs: Annotated[Limit | tuple[Limit, ...] | None, BeforeValidator(_whole)] = None
    """Multiply-accumulates of one image."""
    runtime: Runtime = "onnxruntime"
    """In which the latency is measured: `torch`, `compile` (`torch.compile`) or `onnxruntime`."""
    threads: Count = 1
    """Of the CPU, as the next two where the latency is measured."""
    batch: Count = 1
    """Images of a call."""
    device: str = "cpu"
    """As torch names it; onnxruntime takes the CPU alone."""
    int8: bool = False
    """Whether the latency is that of the export in 8-bit integers, whose mIoU on role `select` is measured, too."""
    size: tuple[Limit, Limit] | None = None
    """Height and width of the images; `null` for those of the data, as they are evaluated."""

    @model_validator(mode="after")
    def _has_limit(self) -> "Target":
        if all(getattr(self, name) is None for name in FIGURES):
            raise ValueError("give latency_ms, params or macs")
        if self.int8 and (self.latency_ms is None or self.runtime != "onnxruntime"):
            raise ValueError("int8: needs latency_ms with runtime: onnxruntime, which measures it; leave int8 out")
        several = [name for name in FIGURES if isinstance(getattr(self, name), tuple)]
        if len(several) > 1:
            raise ValueError(f"only one of its limits may be a list, got {' and '.join(several)}; give one limit each")
        return self

    @property
    def figure(self) -> str:
        """The figure with several limits, or the first one that has a limit."""
        given = [name for name in FIGURES if getattr(self, name) is not None]
        return next((name for name in given if isinstance(getattr(self, name), tuple)), given[0])

    @property
    def limits(self) -> tuple[float, ...]:
        """The limits of `figure`, ascending."""
        limits = getattr(self, self.figure)
        return limits if isinstance(limits, tuple) else (limits,)

    def step(self, cost: Cost) -> int:
        """The place among `limits` of the smallest one that a cost is within; of the last where it is above all."""
        figure = self.figure_of(cost)
        met = (place for place, limit in enumerate(self.limits) if figure is None or figure <= limit)
        return next(met, len(self.limits) - 1)

    def figure_of(self, cost: Cost) -> float | None:
        """What `figure` is of a cost; none where it was not measured."""
        return _figures(cost)[self.figure]

    def setting(self, size: tuple[int, int]) -> Setting | None:
        """How the latency is measured; none where it has no limit.

        Args:
            size: Height and width of the images where the target names none.
        """
        if self.latency_ms is None:
            return None
        height, width = self.size or size
        common = {"runtime": self.runtime, "device": self.device, "threads": self.threads, "batch": self.batch}
        return Setting.model_validate({**common, "int8": self.int8, "height": height, "width": width})

    @property
    def in_words(self) -> str:
        """The limits in one line."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        units = {
            "latency_ms": f"ms in {self.runtime}{' in int8' * self.int8} ({threads}, batches of {self.batch})",
            "params": "parameters",
            "macs": "multiply-accumulates",
        }
        limits = {name: self._limits_of(name) for name in units}
        words = (f"{_listed(limits[name])} {unit}" for name, unit in units.items() if limits[name])
        each = f", the best below each of the {len(self.limits)} limits" if len(self.limits) > 1 else ""
        return f"students of at most {', '.join(words)}{each}"

    def excess(self, cost: Cost) -> str | None:
        """Which limits a cost is above, in words; none if it is within the largest of all."""
        return ", ".join(self._above(cost)) or None

    def _above(self, cost: Cost) -> Iterator[str]:
        for name, figure in _figures(cost).items():
            limit = max(self._limits_of(name), default=None)
            if limit is not None and figure is not None and figure > limit:
                largest = "the largest limit of " * (len(self._limits_of(name)) > 1)
                yield (
                    f"{figure:,.4g} is above {largest}target.{name} {limit:,.4g}"
                    if name == "latency_ms"
                    else f"{figure:,} is above {largest}target.{name} {limit:,}"
                )

    def _limits_of(self, name: str) -> tuple[float, ...]:
        limits = getattr(self, name)
        return limits if isinstance(limits, tuple) else () if limits is None else (limits,)


def _figures(cost: Cost) -> dict[str, float | None]:
    return {
        "latency_ms": None if cost.speed is None else cost.speed.median_ms,
        "params": cost.params,
        "macs": cost.macs,
    }


def _listed(limits: tuple[float, ...]) -> str:
    *most, last = (f"{limit:,}" if isinstance(limit, int) else f"{limit:g}" for limit in limits)
    return f"{', '.join(most)} or {last}" if most else last
