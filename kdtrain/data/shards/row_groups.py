"""The row groups of Parquet files: whole, or a few rows at a time where they are read from the first to the last.

What is in memory at least is a page of the file. Pages of pyarrow end after 1 MiB, but not before 1024 rows by default.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_OPEN = 4
"""Row groups of one column that stay in memory: the two at a border between them, of images and of label maps."""
_BATCH_BYTES = 4 * 2**20
"""Of the values that are read at a time, about."""
_LEAST_ROWS = 8
"""That are read at a time."""
_KEPT_ROWS = 64
"""Rows that stay in memory behind the last one: as far as one of several threads that read in order may lag behind."""
_BUFFER = 2**20
"""Bytes of a file that are read at a time; without a buffer it is a whole column of a row group."""
_ONE_AT_A_TIME = Lock()
"""Threads want the same row group at the same time, and the first of them reads it for all."""


def value_of(file: Path, state: str, group: int, column: str, row: int, in_order: bool) -> pa.Scalar:
    """The value in a row of a row group.

    Args:
        file: The Parquet file.
        state: Differs once the file is changed.
        group: The number of the row group.
        column: The column.
        row: Of the row group.
        in_order: Whether rows are read from the first to the last. Then only some of them are in memory at a time;
            otherwise the row group is, since every step back would read it from its beginning.
    """
    with _ONE_AT_A_TIME:
        if in_order:
            return _stream(file, state, group, column).value(row)
        return _whole(file, state, group, column)[row]


@lru_cache(_OPEN)
def _whole(file: Path, state: str, group: int, column: str) -> pa.ChunkedArray:
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as opened:
        return opened.read_row_group(group, columns=[column]).column(column)


@lru_cache(_OPEN)
def _stream(file: Path, state: str, group: int, column: str) -> _Stream:
    return _Stream(file, group, column)


class _Stream:
    """A column of a row group that is read in batches; a row before those in memory begins anew.

    Args:
        file: The Parquet file.
        group: The number of the row group.
        column: The column.
    """

    def __init__(self, file: Path, group: int, column: str) -> None:
        self._file, self._group, self._column = file, group, column
        self._begin()

    def value(self, row: int) -> pa.Scalar:
        """The value in a row."""
        if self._kept and row < self._kept[0][0]:
            self._begin()
        while row >= self._end:
            self._read()
        start, values = next(batch for batch in reversed(self._kept) if batch[0] <= row)
        return values[row - start]

    def _begin(self) -> None:
        self._kept: deque[tuple[int, pa.Array]] = deque()
        self._end = 0
        self._batches = _batches(self._file, self._group, self._column)

    def _read(self) -> None:
        """Read the next batch, and drop what no thread is as far behind as to need."""
        values = next(self._batches, None)
        if values is None:
            raise EOFError(f"row group {self._group} ends after {self._end} rows")
        self._kept.append((self._end, values))
        while len(self._kept) > 1 and self._kept[1][0] <= self._end - _KEPT_ROWS:
            self._kept.popleft()
        self._end += len(values)


def _batches(file: Path, group: int, column: str) -> Iterator[pa.Array]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False) as opened:
        rows = _rows_at_a_time(opened.metadata.row_group(group), column)
        for batch in opened.iter_batches(rows, row_groups=[group], columns=[column]):
            yield batch.column(column)


def _rows_at_a_time(group: pq.RowGroupMetaData, column: str) -> int:
    parts = [group.column(number) for number in range(group.num_columns)]
    size = sum(
        part.total_uncompressed_size for part in parts if f"{part.path_in_schema}.".startswith(f"{column}.")
    )  # a column of structs is stored in several parts
    rows: int = _BATCH_BYTES * group.num_rows // max(1, size)
    return max(_LEAST_ROWS, rows)
