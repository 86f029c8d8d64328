"""The values that a search may take for a parameter: a range of numbers, or a list of choices."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from analysis.errors import AnalysisError

EDGE = 0.05
"""A value within this share of its range (on the log scale of a log range) lies at the edge."""

Side = Literal["lower", "upper"]


@dataclass(frozen=True)
class Range:
    """All numbers between two ends, both included."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def position(self, value: float) -> float:
        """Where a value lies: 0 at the lower end, 1 at the upper, on the range's own scale."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / (high - low)

    def edge(self, value: float) -> Side | None:
        """The end at whose edge a value lies; None for neither."""
        position = self.position(value)
        if position <= EDGE:
            return "lower"
        return "upper" if position >= 1 - EDGE else None

    def widened(self, values: Iterable[float]) -> "Range":
        """The range with all of these values in it."""
        numbers = list(values)
        return replace(self, low=min([self.low, *numbers]), high=max([self.high, *numbers]))

    def beyond(self, side: Side) -> tuple[float, float] | None:
        """A range moved past one end by half its width, on a log scale by half a decade at most.

        None where zero is in the way.
        """
        half = math.sqrt(min(self.high / self.low, 10)) if self.log else (self.high - self.low) / 2
        if self.log:
            low, high = (self.low * half, self.high * half) if side == "upper" else (self.low / half, self.high / half)
        elif side == "upper":
            low, high = self.low + half, self.high + half
        else:
            low, high = (max(self.low - half, 0.0) if self.low >= 0 else self.low - half), self.high - half
            if low == self.low:
                return None
        if self.integer:
            return max(math.floor(low), 1 if self.log else math.floor(low)), math.ceil(high)
        return low, high


@dataclass(frozen=True)
class Choices:
    """One of a few values, without order."""

    choices: tuple[object, ...]


Domain = Range | Choices
Space = Mapping[str, Domain]
"""What a study searches: the domain of every parameter, by its dotted path."""


def parse_domain(content: object) -> Domain:
    """A domain from its JSON: ``{low, high, log, integer}``, ``{choices}`` or a list of choices.

    Raises:
        AnalysisError: It is none of these.
    """
    if isinstance(content, list):
        return Choices(tuple(content))
    if isinstance(content, Mapping) and "choices" in content:
        return Choices(tuple(content["choices"]))
    if isinstance(content, Mapping) and {"low", "high"} <= content.keys():
        flags = {name: bool(content.get(name)) for name in ("log", "integer")}
        return Range(float(content["low"]), float(content["high"]), **flags)
    raise AnalysisError(f"domain: a list of choices, or a mapping with low and high is allowed, got {content!r}")
