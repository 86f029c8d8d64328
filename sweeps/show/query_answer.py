"""The answer to a query, as a table on a terminal or as CSV."""

import io

import pyarrow as pa
import pyarrow.csv
from rich.console import Group
from rich.table import Table
from rich.text import Text

from analysis.formats import spreadsheet_text
from kdtrain.printable import printable

SHOWN = 100


def as_table(answer: pa.Table) -> Group:
    """The first rows, and a line on how many are left out."""
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for field in answer.schema:
        right = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        grid.add_column(Text(field.name), justify="right" if right else "left", overflow="fold")
    for row in answer.slice(0, SHOWN).to_pylist():
        grid.add_row(*(Text(printable(_cell_text(value))) for value in row.values()))
    left = len(answer) - SHOWN
    return (
        Group(grid, Text(f"{SHOWN} of {len(answer):,} rows; all of them with --csv", "dim"))
        if left > 0
        else Group(grid)
    )


def as_csv(answer: pa.Table) -> str:
    """All rows; a list becomes text, and a text that a spreadsheet takes for a formula gets a quote before it."""
    nested = [i for i, field in enumerate(answer.schema) if pa.types.is_nested(field.type)]
    for i in nested:
        text = pa.array([None if value is None else str(value) for value in answer.column(i).to_pylist()], pa.string())
        answer = answer.set_column(i, answer.schema.field(i).name, text)
    for i, field in enumerate(answer.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            cells = [None if value is None else spreadsheet_text(value) for value in answer.column(i).to_pylist()]
            answer = answer.set_column(i, field.name, pa.array(cells, pa.string()))
    answer = answer.rename_columns([spreadsheet_text(name) for name in answer.column_names])
    file = io.BytesIO()
    pyarrow.csv.write_csv(answer, file)
    return file.getvalue().decode()


def _cell_text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
