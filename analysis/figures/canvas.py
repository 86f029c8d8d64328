"""A figure in the look of the report: SVG that needs no script and reads on white, on black, and on a narrow screen.

Backgrounds are transparent and every color is a middle tone. A study has one color in all figures. A figure draws a
frame that was computed elsewhere.
"""

from collections.abc import Sequence
from html import escape

import numpy as np
import pandas as pd

from analysis.figures.keys import keys
from analysis.figures.labels import LabelPlaces
from analysis.figures.marks import Box, Curve, Mark, Text, label, stretch
from analysis.figures.scale import Axis, Scale, tick_text

Colors = dict[str, str]
"""The color of every study, by its name."""

BASELINE, TEACHER = "#868c96", "#c48a00"
INK = "#7b818b"
DOT, DASH = "2 3", "6 4"
_CYCLE = (
    *("#3f7fd6", "#2a9d7f", "#c4559b", "#d9542f", "#8a68d4", "#2ba3bd"),
    *("#8f9a2b", "#a9714b", "#d98aa8", "#5f8f4e", "#6d7fb3", "#9c4a6b"),
)
_LETTER = 6.6
"""About how wide a letter is, in pixels."""
_LONGEST = 19
"""Letters of a line beside an axis."""
_GRID = 'stroke="#80868f" stroke-opacity="0.25"'


def colors(studies: pd.DataFrame) -> Colors:
    """One color per study, in the order of the table; the baseline is gray. Many studies share colors."""
    others = [study for study, base in zip(studies["study"], studies["is_baseline"], strict=True) if not base]
    chosen = {study: _CYCLE[position % len(_CYCLE)] for position, study in enumerate(others)}
    return {study: chosen.get(study, BASELINE) for study in studies["study"]}


class Figure:
    """Marks on two axes."""

    def __init__(self, height: int, x: str = "", y: str = "") -> None:
        """Make it, empty.

        Args:
            height: In pixels, with the axes.
            x: What the axis from left to right is.
            y: What the axis upwards is.
        """
        self.height, self.x, self.y = height, Axis(x, grid=True), Axis(y)
        self.marks: list[Mark] = []
        self.head = ""
        self.keys: Colors = {}
        self.axes: Sequence[float] = ()
        self._rules: list[tuple[float, str]] = []
        self._points: list[tuple[float, float, str]] = []

    def add(self, *marks: Mark) -> None:
        """Show marks above those that are there."""
        self.marks += marks

    def upright(self, x: float, color: str, name: str = "", dash: str = DOT, width: float = 1.5) -> None:
        """A vertical line from edge to edge, with its name above it."""
        self.x.include([x])
        self.add(Curve([x, x], [-np.inf, np.inf], color, width, dash))
        if name:
            self._rules.append((x, name))

    def level(self, y: float, color: str, name: str = "", dash: str = DOT) -> None:
        """A horizontal line from edge to edge, with its name on it."""
        self.y.include([y])
        self.add(Curve([-np.inf, np.inf], [y, y], color, 1.5, dash))
        if name:
            self.add(Text(np.inf, y, name, "end", down=-9))

    def name(self, x: float, y: float, name: str) -> None:
        """A name beside a point, where there is room for it."""
        self._points.append((x, y, name))

    def band(self, low: float, high: float, upright: bool = False) -> None:
        """What lies between two values of an axis, in a pale gray; ``upright``: of the axis from left to right."""
        edges = (-np.inf, np.inf)
        self.add(Box(low, high, *edges, INK, 0.16) if upright else Box(*edges, low, high, INK, 0.16))

    def draw(self) -> str:
        """The HTML."""
        for mark in self.marks:
            across, up = mark.extent()
            self.x.include(across)
            self.y.include(up)
        rows = LabelPlaces.rows([(self.x.scale().place([x]).item(), name) for x, name in self._rules])
        top = 10 + 16 * bool(self.y.title) + 15 * (max(rows, default=-1) + 1)
        bottom = 8 + (14 + 14 * self._lines(self.x)) * self.x.shown + 17 * bool(self.x.title)
        left = self._left()
        plot = _Plot(self.x.scale(), self.y.scale(), top, self.height - bottom)
        drawn = [*_across(self.x, plot), *_upwards(self.y, plot)]
        stretched: list[str] = []
        for mark in self.marks:
            if mark.stretched:
                stretched.append(mark.draw(plot.place))
                continue
            drawn += [stretch("".join(stretched)), mark.draw(plot.place)]
            stretched = []
        drawn.append(stretch("".join(stretched)))
        for (x, name), row in zip(self._rules, rows, strict=True):
            drawn.append(_aside(plot.x.place([x]).item(), top - 9 - 15 * row, name))
        drawn += LabelPlaces(plot.place, self.marks).draw(self._points)
        head = f'<p class="head">{escape(self.head)}</p>' if self.head else ""
        legend = keys(self.keys) if self.keys else ""
        about = escape(" against ".join(filter(None, (self.y.title, self.x.title))) or "figure")
        svg = f'<svg class="plot" height="{self.height}" role="img" aria-label="{about}">{"".join(drawn)}</svg>'
        axes = " ".join(f"{place:.4f}" for place in plot.x.place(self.axes))
        kind = f' data-axes="{axes}"' if axes else ""
        return f'{head}{legend}<div class="chart"{kind} style="padding-left:{left}px">{svg}</div>'

    def _left(self) -> int:
        if not self.y.shown:
            return 12
        labels = self.y.labels or [tick_text(tick) for tick in self.y.ticks or self.y.scale().ticks()]
        longest = max((len(line) for text in labels for line in wrapped(text).split("\n")), default=1)
        return round(14 + _LETTER * min(longest, _LONGEST + 1))

    @staticmethod
    def _lines(axis: Axis) -> int:
        return max((text.count("\n") for text in axis.labels or []), default=0)


class _Plot:
    """Where values lie on a drawing of which the axes are at ``top`` and ``bottom`` (pixels)."""

    def __init__(self, x: Scale, y: Scale, top: float, bottom: float) -> None:
        self.x, self.y, self.top, self.bottom = x, y, top, bottom

    def place(self, x: object, y: object) -> tuple[np.ndarray, np.ndarray]:
        """Shares of the width and pixels from the top; an infinite value lies at an edge."""
        return _to_edge(x, self.x), self.bottom - (self.bottom - self.top) * _to_edge(y, self.y)


def _to_edge(values: object, scale: Scale) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    return np.where(np.isinf(array), array > 0, scale.place(array))


def _across(axis: Axis, plot: _Plot) -> list[str]:
    """Grid, tick labels and title of the axis from left to right."""
    ticks, texts = _ticks(axis, plot.x, 6)
    places = plot.x.place(ticks)
    drawn = [f'<path class="axis" d="M0 {plot.bottom}H{1000}" {_GRID}/>']
    if axis.grid:
        drawn += [f'<path d="M{1000 * place:.1f} {plot.top}V{plot.bottom}" {_GRID}/>' for place in places]
    drawn = [stretch("".join(drawn))]
    if axis.shown:
        lines = [(place, text) for place, text in zip(places, texts, strict=True) if -0.01 <= place <= 1.01]
        drawn += [label(f"{100 * place:.1f}%", plot.bottom + 14 + 7 * text.count("\n"), text) for place, text in lines]
    if axis.title:
        below = plot.bottom + 31 + 14 * max((text.count("\n") for text in texts), default=0)
        drawn.append(label("50%", below if axis.shown else plot.bottom + 14, axis.title))
    return drawn


def _upwards(axis: Axis, plot: _Plot) -> list[str]:
    """The same of the axis upwards; its title stands above it."""
    ticks, texts = _ticks(axis, plot.y, max(2, round((plot.bottom - plot.top) / 42)))
    heights = plot.bottom - (plot.bottom - plot.top) * plot.y.place(ticks)
    drawn = []
    if axis.grid:
        drawn = [stretch("".join(f'<path d="M0 {height:.1f}H1000" {_GRID}/>' for height in heights))]
    if axis.shown:
        drawn += [
            label("-8", height, wrapped(text), "end", title=_full(text))
            for height, text in zip(heights, texts, strict=True)
        ]
    if axis.title:
        drawn.append(label("-8", 8, axis.title, "start"))
    return drawn


def _ticks(axis: Axis, scale: Scale, most: int) -> tuple[Sequence[float], list[str]]:
    ticks = scale.ticks(most) if axis.ticks is None else axis.ticks
    return ticks, list(axis.labels) if axis.labels is not None else [tick_text(tick) for tick in ticks]


def _aside(place: float, y: float, name: str) -> str:
    anchor = "start" if place < 0.2 else "end" if place > 0.8 else "middle"
    return label(f"{100 * place:.1f}%", y, name, anchor)


def wrapped(text: str, width: int = _LONGEST) -> str:
    """A long text on two lines, broken where a reader would, and cut where even that is too long."""
    if len(text) <= width or "\n" in text:
        return text
    breaks = [place + 1 for place, sign in enumerate(text[:-1]) if sign in " ._+-="]
    best = min(breaks, key=lambda place: abs(place - len(text) / 2)) if breaks else len(text) // 2
    lines = (text[:best].rstrip(), text[best:])
    return "\n".join(line if len(line) <= width + 1 else f"{line[:width]}\u2026" for line in lines)


def _full(text: str) -> str:
    return text if "\u2026" in wrapped(text) else ""
