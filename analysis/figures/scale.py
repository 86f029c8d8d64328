"""Axes of figures: where a value lies between the two ends of an axis, and which values get a tick."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

_ROUND = (1.0, 2.0, 2.5, 5.0, 10.0)
"""Steps between ticks, by powers of ten."""


@dataclass(frozen=True)
class Scale:
    """From values to places on an axis, 0 at its low end and 1 at its high end.

    Attributes:
        low: The value at the low end.
        high: The value at the high end, above ``low``.
        log: Whether the axis is logarithmic; then ``low`` is above 0.
    """

    low: float
    high: float
    log: bool = False

    def place(self, values: object) -> np.ndarray:
        """Where values lie, as an array; NaN for what has no place on the axis."""
        array = np.asarray(values, dtype=float)
        if not self.log:
            return (array - self.low) / (self.high - self.low)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(array / self.low) / math.log(self.high / self.low)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values on the axis, at most about ``most``."""
        return _log_ticks(self.low, self.high, most) if self.log else linear_ticks(self.low, self.high, most)


@dataclass
class Axis:
    """What one axis of a figure is.

    Attributes:
        title: Its name, with the unit.
        low: The value at its low end; by default what the marks need.
        high: The value at its high end; the same.
        log: Whether it is logarithmic.
        ticks: Values with a tick; by default round values.
        labels: Texts of ``ticks``; by default the values.
        grid: Whether a line stands at every tick.
        shown: Whether ticks have labels at all.
    """

    title: str = ""
    low: float | None = None
    high: float | None = None
    log: bool = False
    ticks: Sequence[float] | None = None
    labels: Sequence[str] | None = None
    grid: bool = True
    shown: bool = True

    extent: list[float] = field(default_factory=list)
    """Smallest and largest value of the marks."""

    def name(self, labels: Sequence[str]) -> None:
        """Make it an axis of names: the value of each is its position, from 0 on."""
        self.ticks, self.labels, self.grid = list(range(len(labels))), list(labels), False
        self.low, self.high = -0.6, len(labels) - 0.4

    def include(self, values: object) -> None:
        """Have room for values; those that are not finite need none."""
        array = np.asarray(values, dtype=float).ravel()
        finite = array[np.isfinite(array) & ((array > 0) | (not self.log))]
        if finite.size:
            self.extent = [min([*self.extent, float(finite.min())]), max([*self.extent, float(finite.max())])]

    def scale(self, room: float = 0.04) -> Scale:
        """The scale; ``room`` is what stays free beyond the marks at an end without a given value, as a share."""
        low, high = self.extent or [1.0, 10.0]
        if self.log:
            spread = max(high / low, 1.2) ** room
            low, high = low / spread, high * spread
        else:
            spread = room * (high - low) or 0.05 * abs(high) or 0.5
            low, high = low - spread, high + spread
        low = low if self.low is None else self.low
        high = high if self.high is None else self.high
        return Scale(low, high if high > low else low + 1.0, self.log and low > 0)


def linear_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values from ``low`` to ``high``, evenly spaced."""
    rough = (high - low) / max(1, most - 1)
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next((times * unit for times in _ROUND if times * unit >= rough * (1 - 1e-9)), 10 * unit)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    """Powers of ten; between them 1, 2, 5 or all digits where there are too few; round values on less than that."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), range(1, 10)):
        values = [digit * 10.0**power for power in powers for digit in digits]
        ticks = [float(f"{value:.6g}") for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
        if len(ticks) >= 3:
            return ticks[:: -(-len(ticks) // most)]
    return linear_ticks(low, high, most)


def tick_text(value: float) -> str:
    """A value beside its tick: short, without an exponent of one digit written as two."""
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        mantissa, _, exponent = f"{value:.3g}".partition("e")
        return f"{mantissa}e{int(exponent)}" if exponent else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.6g}"
