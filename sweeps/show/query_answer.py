"""The answer to a query, as a table on a terminal or as CSV."""

from collections.abc import Iterable, Iterator
from decimal import Decimal

from rich.console import Group
from rich.table import Table
from rich.text import Text

from analysis.formats import spreadsheet_text
from analysis.tables.query import Answer
from kdtrain.printable import printable

SHOWN = 100
_NUMBERS = ("tinyint", "smallint", "integer", "bigint", "hugeint", "float", "double", "decimal")
"""Types of DuckDB that are shown to the right; those without a sign begin with a ``u``."""


def as_table(answer: Answer) -> Group:
    """The first rows, and a line on how many are left out."""
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for name, kind in zip(answer.columns, answer.types, strict=True):
        right = kind.removeprefix("u") in _NUMBERS
        grid.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    rows, total = answer.first(SHOWN)
    for row in rows:
        grid.add_row(*(Text(printable(_cell_text(value))) for value in row))
    if total == len(rows):
        return Group(grid)
    return Group(grid, Text(f"{SHOWN} of {total:,} rows; all of them with --csv", "dim"))


def as_csv(answer: Answer) -> Iterator[str]:
    """All rows after their header, in pieces; a text that a spreadsheet takes for a formula gets a quote before it."""
    yield _csv_line(answer.columns)
    for rows in answer.batches():
        yield "".join(map(_csv_line, rows))


def _csv_line(values: Iterable[object]) -> str:
    return ",".join(map(_csv_cell, values)) + "\n"


def _csv_cell(value: object) -> str:
    """A value as CSV: numbers as they are, nothing for null, all else in quotes."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | Decimal):
        return str(value)
    text = spreadsheet_text(value) if isinstance(value, str) else str(value)
    return '"{}"'.format(text.replace('"', '""'))


def _cell_text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
