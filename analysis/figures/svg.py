"""Small drawings within a cell of a table."""

from html import escape

_INK = "#7b818b"


def bar(share: float, color: str) -> str:
    """How much of something is used up, 0..1."""
    full = f'<rect width="{120 * min(1.0, max(0.0, share)):.1f}" height="8" rx="3" fill="{escape(color)}"/>'
    back = f'<rect width="120" height="8" rx="3" fill="{_INK}" fill-opacity="0.2"/>'
    return f'<svg class="bar" viewBox="0 0 120 8" width="120" height="8" aria-hidden="true">{back}{full}</svg>'
