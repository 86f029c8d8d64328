"""Names beside points, placed so that they do not lie on each other on a narrow screen nor on a wide one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analysis.figures.marks import Dots, Mark, Place, label

_WIDTHS = (270, 900)
"""Widths of a figure in pixels for which places are tried: a phone and a desk."""
_LETTER, _HEIGHT = 6.6, 14.0
_BESIDE = (
    ("start", 10, 0),
    ("end", -10, 0),
    ("middle", 0, -15),
    ("middle", 0, 15),
    ("start", 10, -13),
    ("end", -10, 13),
)
"""Where a name is tried, in this order: which end of it is at the point, pixels to the right, pixels down."""


@dataclass(frozen=True)
class _Rectangle:
    left: float
    top: float
    right: float
    bottom: float

    def touches(self, other: "_Rectangle") -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


class LabelPlaces:
    """Places of names among the marks of a figure."""

    def __init__(self, place: Place, marks: Iterable[Mark]) -> None:
        """Take what is in the way.

        Args:
            place: From values to places on the figure.
            marks: The marks of the figure; names keep off its dots.
        """
        self._place = place
        self._dots = [
            (across, down, 5.0)
            for mark in marks
            if isinstance(mark, Dots)
            for across, down in zip(*place(mark.x, mark.y), strict=True)
        ]

    def draw(self, points: Sequence[tuple[float, float, str]]) -> list[str]:
        """The names of points ``(x, y, name)`` as SVG; a name without a free place stands on the right of its point."""
        taken = [[_Rectangle(w * x - r, y - r, w * x + r, y + r) for x, y, r in self._dots] for w in _WIDTHS]
        drawn = []
        for x, y, name in points:
            (across,), (down,) = self._place([x], [y])
            anchor, right, below, boxes = self._free(across, down, name, taken)
            for of_width, box in zip(taken, boxes, strict=True):
                of_width.append(box)
            drawn.append(label(f"{100 * across:.1f}%", down + below, name, anchor, right))
        return drawn

    @staticmethod
    def _free(
        across: float, down: float, name: str, taken: list[list[_Rectangle]]
    ) -> tuple[str, float, float, list[_Rectangle]]:
        tried: list[tuple[float, int, tuple[str, float, float, list[_Rectangle]]]] = []
        for anchor, right, below in _BESIDE:
            boxes = [_box(width * across + right, down + below, name, anchor) for width in _WIDTHS]
            outside = sum(max(0.0, -box.left, box.right - width) for box, width in zip(boxes, _WIDTHS, strict=True))
            hits = sum(box.touches(other) for box, others in zip(boxes, taken, strict=True) for other in others)
            tried.append((outside + 20 * hits, len(tried), (anchor, right, below, boxes)))
        return min(tried)[2]

    @staticmethod
    def rows(names: Sequence[tuple[float, str]]) -> list[int]:
        """In which row each name ``(share of the width, name)`` above a figure stands, so that none lies on another."""
        rows: list[int] = []
        boxes: list[tuple[int, _Rectangle]] = []
        for across, name in names:
            anchor = "start" if across < 0.2 else "end" if across > 0.8 else "middle"
            box = _box(_WIDTHS[0] * across, 0.0, name, anchor)
            row = next(row for row in range(len(names)) if not any(r == row and box.touches(b) for r, b in boxes))
            boxes.append((row, box))
            rows.append(row)
        return rows


def _box(x: float, y: float, name: str, anchor: str) -> _Rectangle:
    width = _LETTER * len(name) + 4
    left = x - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
    return _Rectangle(left, y - _HEIGHT / 2, left + width, y + _HEIGHT / 2)
