"""Tables of encoded images in Parquet and Arrow files, read cell by cell: nothing in them is ever executed."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from kdtrain.data.shards.row_groups import value_of
from kdtrain.data.stored import FilePart, state_of
from kdtrain.errors import InputError, unreadable

if TYPE_CHECKING:
    import pyarrow as pa

_STREAM = "ARROW1"
"""What a file of the random access format of Arrow begins with; others are streams, as `save_to_disk` writes them."""


class TableFile:
    """A Parquet or Arrow file with the number of its rows and its columns."""

    def __init__(self, file: Path) -> None:
        """Read what the file says of itself, not the images.

        Raises:
            InputError: If it cannot be read, is damaged or of another kind, or has two columns of one name.
        """
        self.file = file
        with _readable(file):
            self._state = state_of(file)
            self._table: pa.Table | None = None if _is_parquet(file) else _mapped(file)
            if self._table is None:
                schema, sizes = _of_parquet(file)
            else:
                schema, sizes = self._table.schema, [self._table.num_rows]
        if twice := next((name for name, count in Counter(schema.names).items() if count > 1), None):
            raise InputError(f"{file} has two columns {twice!r}; give each column a name of its own")
        self.columns: dict[str, str] = {column.name: str(column.type) for column in schema}
        """The type of each column, as Arrow calls it."""
        self.of_bytes = tuple(column.name for column in schema if _holds_bytes(column.type))
        """The columns whose cells may hold images."""
        self.of_texts = tuple(column.name for column in schema if _holds_texts(column.type))
        """The columns whose cells may name images: texts and whole numbers."""
        self.in_order = False
        """Whether cells are read from the first row to the last, so that not all of a row group must be in memory."""
        self._starts = [0, *accumulate(sizes)]

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self._starts[-1]

    def texts(self, column: str) -> list[str]:
        """All cells of a column as texts.

        Raises:
            InputError: If a cell is empty, or the file cannot be read.
        """
        with _readable(self.file):
            if self._table is None:
                import pyarrow.parquet as pq

                cells = pq.read_table(self.file, columns=[column], partitioning=None).column(column).to_pylist()
            else:
                cells = self._table.column(column).to_pylist()
        if (empty := next((row for row, cell in enumerate(cells) if cell is None), None)) is not None:
            raise InputError(f"{self.file}: the column {column!r} has no value in row {empty}; every image needs one")
        return [str(cell) for cell in cells]

    def cell(self, row: int, column: str) -> bytes:
        """The encoded image in a cell.

        Raises:
            InputError: If there is none, or the file cannot be read.
        """
        with _readable(self.file):
            value = self._value(row, column).as_py()
        if isinstance(value, dict):
            if value.get("bytes") is None and value.get("path"):
                raise InputError(
                    f"{self.file} (row {row}, column {column}) holds the path {value['path']!r} and no image; embed "
                    "the images when you save the data set"
                )
            value = value.get("bytes")
        if value is None:
            raise InputError(f"{self.file} (row {row}, column {column}) is empty; give every row an image and labels")
        return bytes(value)

    def _value(self, row: int, column: str) -> pa.Scalar:
        if self._table is not None:
            return self._table.column(column)[row]
        group = bisect_right(self._starts, row) - 1
        return value_of(self.file, self._state, group, column, row - self._starts[group], self.in_order)


@dataclass(frozen=True)
class Cell(FilePart):
    """The encoded image in a cell of a table."""

    table: TableFile = field(compare=False, repr=False)
    row: int = 0
    column: str = ""

    def read_bytes(self) -> bytes:
        """The bytes in the cell."""
        return self.table.cell(self.row, self.column)


def cell_of(table: TableFile, row: int, column: str) -> Cell:
    """The cell of a row and a column."""
    return Cell(table.file, f"row {row}, column {column}", table, row, column)


def _holds_bytes(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    if types.is_struct(kind):
        return any(kind.field(i).name == "bytes" and _holds_bytes(kind.field(i).type) for i in range(kind.num_fields))
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def _holds_texts(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return any(
        check(kind) for check in (types.is_string, types.is_large_string, types.is_string_view, types.is_integer)
    )


def _of_parquet(file: Path) -> tuple[pa.Schema, list[int]]:
    """The schema, and the rows of each row group."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as opened:
        metadata = opened.metadata
        return opened.schema_arrow, [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]


def _mapped(file: Path) -> pa.Table:
    """The table of an Arrow file, whose bytes stay on the disk until they are read."""
    import pyarrow as pa

    with file.open("rb") as opened:
        is_stream = opened.read(len(_STREAM)) != _STREAM.encode()
    source = pa.memory_map(str(file))
    reader = pa.ipc.open_stream(source) if is_stream else pa.ipc.open_file(source)
    table = reader.read_all()
    table.validate(full=True)  # the places of cells, which lead outside of the file where it is damaged
    return table


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Errors of pyarrow as those of a user's file."""
    import pyarrow as pa

    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise unreadable(file, error) from error
        reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise InputError(f"{file} is not a whole {_kind(file)} file ({reason}); copy or write it again") from None


def _kind(file: Path) -> str:
    return "Parquet" if _is_parquet(file) else "Arrow"


def _is_parquet(file: Path) -> bool:
    return file.suffix.lower() == ".parquet"
