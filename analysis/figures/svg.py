"""Small drawings as SVG: they need no script, and are cheap enough for a page that is rewritten all the time."""

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 640, 220
_LEFT, _BOTTOM, _TOP = 38, 24, 8
_INK = "#7b818b"


def lines(curves: Mapping[str, Sequence[tuple[float, float]]], colors: Mapping[str, str], x: str, y: str) -> str:
    """Curves over common axes, each with its name as a tooltip; empty without a point.

    Args:
        curves: Points of every curve by its name.
        colors: Color of every curve by its name.
        x: What the axis from left to right is.
        y: What the axis upwards is.
    """
    points = [point for curve in curves.values() for point in curve]
    if not points:
        return ""
    right = max(1.0, *(a for a, _ in points))
    low, high = min(b for _, b in points), max(b for _, b in points)
    low, high = (low, high) if high > low else (low - 1, high + 1)

    def place(a: float, b: float) -> str:
        across = _LEFT + (WIDTH - _LEFT - 8) * a / right
        return f"{across:.1f},{_TOP + (HEIGHT - _TOP - _BOTTOM) * (high - b) / (high - low):.1f}"

    drawn = []
    for value in (low, (low + high) / 2, high):
        at = place(0, value).split(",")[1]
        drawn.append(f'<path d="M{_LEFT} {at}H{WIDTH}" stroke="{_INK}" stroke-opacity="0.25"/>')
        drawn.append(f'<text x="{_LEFT - 6}" y="{at}" dy="0.35em" text-anchor="end">{value:.1f}</text>')
    for name, curve in curves.items():
        path = " ".join(place(a, b) for a, b in curve)
        look = f'fill="none" stroke="{escape(colors[name])}" stroke-width="2"'
        drawn.append(f'<polyline points="{path}" {look}><title>{escape(name)}</title></polyline>')
        if len(curve) == 1:
            across, up = path.split(",")
            drawn.append(f'<circle cx="{across}" cy="{up}" r="3" fill="{escape(colors[name])}"/>')
    extent = escape(f"{x}, to {right:.0f}")
    drawn.append(f'<text x="{WIDTH}" y="{HEIGHT - 6}" text-anchor="end">{extent}</text>')
    drawn.append(f'<text x="{_LEFT}" y="{HEIGHT - 6}">{escape(y)}</text>')
    frame = f'viewBox="0 0 {WIDTH} {HEIGHT}" class="drawing" fill="{_INK}" font-size="12" role="img"'
    return f'<svg {frame} aria-label="{escape(y)} against {escape(x)}">{"".join(drawn)}</svg>'


def bar(share: float, color: str) -> str:
    """How much of something is used up, 0..1."""
    full = f'<rect width="{120 * min(1.0, max(0.0, share)):.1f}" height="8" rx="3" fill="{escape(color)}"/>'
    back = f'<rect width="120" height="8" rx="3" fill="{_INK}" fill-opacity="0.2"/>'
    return f'<svg class="bar" viewBox="0 0 120 8" width="120" height="8" aria-hidden="true">{back}{full}</svg>'
