"""Names with their colors, above a figure or in a cell of a table."""

from collections.abc import Mapping
from html import escape


def key(label: str, color: str, square: bool = False) -> str:
    """A name with its color."""
    shape = "key square" if square else "key"
    return f'<span class="keyed"><i class="{shape}" style="--c:{escape(color)}"></i>{escape(label)}</span>'


def keys(entries: Mapping[str, str], square: bool = False) -> str:
    """A line of names with their colors."""
    return f'<div class="keys">{"".join(key(*entry, square=square) for entry in entries.items())}</div>'
