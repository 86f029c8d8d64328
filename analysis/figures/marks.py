"""What a figure is drawn from: lines, dots, areas, boxes and texts, each as SVG.

A figure is as wide as the reader's screen, and its text keeps its size. So dots and texts stand at percentages of the
width, and lines are drawn 1000 wide and stretched, with strokes that are not.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import ClassVar, Protocol

import numpy as np

Place = Callable[[object, object], tuple[np.ndarray, np.ndarray]]
"""From values on both axes to shares of the width, 0..1, and pixels from the top."""
Values = Sequence[float] | np.ndarray
WIDE = 1000
"""How wide lines are drawn before they are stretched."""
CLOUD = 300
"""In a figure of more dots none has a tooltip: circles of one look are then one path, which keeps the page small."""
_SHAPES = {
    "square": "M-{r} -{r}H{r}V{r}H-{r}Z",
    "diamond": "M0 -{R}L{R} 0L0 {R}L-{R} 0Z",
    "x": "M-{r} -{r}L{r} {r}M-{r} {r}L{r} -{r}",
    "bar": "M0 -{R}V{R}",
    "down": "M-{r} -{r}H{r}L0 {r}Z",
}
"""Outlines of symbols around their center, by name; a circle has an element of its own."""
_STROKED = ("x", "bar")


class Mark(Protocol):
    """Something that a figure shows."""

    stretched: ClassVar[bool]

    def extent(self) -> tuple[Values, Values]:
        """The values on both axes for which there must be room."""
        ...

    def draw(self, place: Place) -> str:
        """The SVG."""
        ...


@dataclass(frozen=True)
class Curve:
    """A line; it has a gap where a value is not finite. ``step``: it keeps its value until the next point."""

    x: Values
    y: Values
    color: str
    width: float = 2.0
    dash: str = ""
    opacity: float = 1.0
    title: str = ""
    step: bool = False
    trial: str = ""
    stretched: ClassVar[bool] = True

    def extent(self) -> tuple[Values, Values]:
        """All of its points."""
        return self.x, self.y

    def draw(self, place: Place) -> str:
        """One path."""
        x, y = place(self.x, self.y)
        return _path(_outline(WIDE * x, y, self.step), _stroke(self), self.title, self.trial)


@dataclass(frozen=True)
class Area:
    """What lies between two lines."""

    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    color: str
    opacity: float = 0.15
    stretched: ClassVar[bool] = True

    def extent(self) -> tuple[Values, Values]:
        """Both lines."""
        return self.x, [*self.low, *self.high]

    def draw(self, place: Place) -> str:
        """One closed path."""
        x, y = place([*self.x, *self.x[::-1]], [*self.high, *self.low[::-1]])
        outline = f"{_outline(WIDE * x, y)}Z" if len(x) else ""
        return _path(outline, f'style="fill:{escape(self.color)}" fill-opacity="{self.opacity:g}"')


@dataclass(frozen=True)
class Dots:
    """Symbols at points. Names that end in ``-open`` are hollow.

    Attributes:
        x: Their places from left to right.
        y: Their places upwards.
        color: Of all, or of each.
        size: In pixels, of all or of each.
        symbol: Of all, or of each: ``circle``, ``square``, ``diamond``, ``x``, ``bar`` (upright) or ``down``.
        opacity: Of all.
        titles: What a tooltip says, of each; or none.
        trials: The trial behind each; or none.
    """

    x: Values
    y: Values
    color: str | Sequence[str]
    size: float | Sequence[float] = 8.0
    symbol: str | Sequence[str] = "circle"
    opacity: float = 1.0
    titles: Sequence[str] = ()
    trials: Sequence[str] = ()
    stretched: ClassVar[bool] = False

    def extent(self) -> tuple[Values, Values]:
        """All of its points."""
        return self.x, self.y

    def draw(self, place: Place) -> str:
        """An element for each, or one path for equal circles without tooltips."""
        count = len(self.x)
        x, y = place(self.x, self.y)
        alike = self.symbol == "circle" and isinstance(self.size, int | float)
        if alike and isinstance(self.color, str) and not self.titles and not self.trials:
            dots = "".join(f"M{_short(WIDE * a)} {_short(b)}h0" for a, b in _finite(x, y))
            look = f'stroke="{escape(self.color)}" stroke-width="{self.size}" stroke-linecap="round"'
            return stretch(_path(dots, f'{look} stroke-opacity="{self.opacity:g}"'))
        columns = (_each(value, count) for value in (self.color, self.size, self.symbol))
        rows = zip(x, y, *columns, self.titles or [""] * count, self.trials or [""] * count, strict=True)
        drawn = "".join(
            _symbol(a, b, str(color), float(str(size)), str(symbol), title, trial)
            for a, b, color, size, symbol, title, trial in rows
            if np.isfinite(a) and np.isfinite(b)
        )
        return f'<g opacity="{self.opacity:g}">{drawn}</g>' if self.opacity < 1 else drawn


@dataclass(frozen=True)
class Box:
    """A rectangle; an infinite value is the edge of the figure."""

    x0: float
    x1: float
    y0: float
    y1: float
    color: str
    opacity: float = 1.0
    title: str = ""
    outline: str = ""
    stretched: ClassVar[bool] = True

    def extent(self) -> tuple[Values, Values]:
        """Its corners."""
        return [self.x0, self.x1], [self.y0, self.y1]

    def draw(self, place: Place) -> str:
        """One path, so that it stretches."""
        (left, right), (bottom, top) = place([self.x0, self.x1], [self.y0, self.y1])
        path = f"M{_short(WIDE * left)} {_short(bottom)}H{_short(WIDE * right)}V{_short(top)}H{_short(WIDE * left)}Z"
        edge = f' stroke="{escape(self.outline)}"' if self.outline else ""
        return _path(path, f'style="fill:{escape(self.color)}" fill-opacity="{self.opacity:g}"{edge}', self.title)


@dataclass(frozen=True)
class Text:
    """A text at a point; lines are parted by line breaks.

    Attributes:
        x: Its place from left to right.
        y: Its place upwards.
        text: What it says.
        anchor: Which end of it is there: ``start``, ``middle`` or ``end``.
        across: Pixels that it is moved to the right.
        down: Pixels that it is moved down.
        bold: Whether it is bold.
        title: What a tooltip says.
        bare: Whether it has no edge in the color of the paper, for a text on a colored ground.
    """

    x: float
    y: float
    text: str
    anchor: str = "middle"
    across: float = 0.0
    down: float = 0.0
    bold: bool = False
    title: str = ""
    bare: bool = False
    stretched: ClassVar[bool] = False

    def extent(self) -> tuple[Values, Values]:
        """Its point alone."""
        return [self.x], [self.y]

    def draw(self, place: Place) -> str:
        """One element for each line."""
        (x,), (y,) = place([self.x], [self.y])
        drawn = label(f"{_short(100 * x)}%", y + self.down, self.text, self.anchor, self.across, self.bold, self.title)
        return f'<g class="bare">{drawn}</g>' if self.bare else drawn


def label(
    x: str, y: float, text: str, anchor: str = "middle", across: float = 0.0, bold: bool = False, title: str = ""
) -> str:
    """A text whose lines are centered on ``y`` (pixels); ``x`` is pixels or a percentage."""
    lines = text.split("\n")
    moved = f' dx="{across:g}"' if across else ""
    weight = ' font-weight="600"' if bold else ""
    drawn = "".join(
        f'<text x="{x}" y="{_short(y + 14 * (place - (len(lines) - 1) / 2))}" dy=".35em"{moved}{weight} '
        f'text-anchor="{anchor}">{escape(line)}{_titled(title)}</text>'
        for place, line in enumerate(lines)
    )
    return drawn


def stretch(paths: str) -> str:
    """Paths that are drawn ``WIDE`` wide, as wide as the figure."""
    frame = f'class="wide" viewBox="0 0 {WIDE} 100" preserveAspectRatio="none" width="100%" height="100"'
    return f"<svg {frame}>{paths}</svg>" if paths else ""


def _outline(x: np.ndarray, y: np.ndarray, step: bool = False) -> str:
    parts, gap, before = [], True, 0.0
    for across, down in zip(x, y, strict=True):
        if not (np.isfinite(across) and np.isfinite(down)):
            gap = True
            continue
        point = f"{_short(across)} {_short(down)}"
        corner = f"{_short(across)} {_short(before)}L" if step else ""
        parts.append(f"M{point}" if gap else f"L{corner}{point}")
        gap, before = False, down
    return "".join(parts)


def _stroke(line: Curve) -> str:
    look = f'stroke="{escape(line.color)}" stroke-width="{line.width:g}"'
    look += f' stroke-dasharray="{line.dash}"' if line.dash else ""
    return look + (f' stroke-opacity="{line.opacity:g}"' if line.opacity < 1 else "")


def _symbol(x: float, y: float, color: str, size: float, symbol: str, title: str, trial: str) -> str:
    name, _, hollow = symbol.partition("-")
    stroked = hollow or name in _STROKED
    look = f'fill="none" stroke="{escape(color)}" stroke-width="2"' if stroked else f'fill="{escape(color)}"'
    radius, at = size / 2 - bool(hollow), f"{_short(100 * x)}%"
    if name == "circle":
        shape = f'<circle cx="{at}" cy="{_short(y)}" r="{radius:.3g}" {look}{_of(trial)}'
        return f"{shape}>{_titled(title)}</circle>" if title else f"{shape}/>"
    path = _SHAPES[name].format(r=f"{0.9 * radius:.3g}", R=f"{1.25 * radius:.3g}")
    drawn = f'<path d="{path}" {look}>{_titled(title)}</path>'
    return f'<svg x="{at}" y="{_short(y)}"{_of(trial)}>{drawn}</svg>'


def _path(outline: str, look: str, title: str = "", trial: str = "") -> str:
    if not outline:
        return ""
    start = f'<path d="{outline}" {look}{_of(trial)}'
    return f"{start}>{_titled(title)}</path>" if title else f"{start}/>"


def _titled(title: str) -> str:
    return f"<title>{escape(title)}</title>" if title else ""


def _of(trial: str) -> str:
    return f' data-trial="{escape(trial)}"' if trial else ""


def _each(value: object, count: int) -> Iterable[object]:
    return [value] * count if isinstance(value, str | int | float) else value  # type: ignore[return-value]


def _finite(x: np.ndarray, y: np.ndarray) -> Iterable[tuple[float, float]]:
    return ((a, b) for a, b in zip(x, y, strict=True) if np.isfinite(a) and np.isfinite(b))


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
