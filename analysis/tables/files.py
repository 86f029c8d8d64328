"""The tables of a sweep: one Parquet file each, written whole or not at all, read from a disk or an object store."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from analysis.errors import AnalysisError
from analysis.tables import parquet
from analysis.tables.atomic_write import write_atomically
from analysis.tables.located import locate, unreadable
from analysis.tables.schemas import ASSUMED, LATER, SCHEMAS
from analysis.tables.states import ALLOWED, EARLIER

Tables = dict[str, pd.DataFrame]
"""The tables of a sweep, by name."""
Rows = Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]] | pd.DataFrame
"""Rows of one table: a list of dicts, or a dict of columns (for the long tables), or a frame."""


def empty_tables() -> dict[str, pd.DataFrame]:
    """Every table without a row, with the columns and types of its schema."""
    return {name: schema.empty_table().to_pandas() for name, schema in SCHEMAS.items()}


def arrow_table(name: str, rows: Rows) -> pa.Table:
    """Rows as a table with its declared schema.

    Args:
        name: One of ``SCHEMAS``.
        rows: The rows, in the order in which they are stored. A field that may be null may be left out, as may a column
            of ``ASSUMED``.

    Raises:
        AnalysisError: An unknown table or column, a missing required value, a value of the wrong type, a state, phase
            or role that does not exist.
    """
    if name not in SCHEMAS:
        raise AnalysisError(f"table: must be one of {', '.join(SCHEMAS)}, got '{name}'")
    schema = SCHEMAS[name]
    given = set(rows.keys()) if isinstance(rows, pd.DataFrame | Mapping) else set().union(*rows)
    if unknown := sorted(given - set(schema.names)):
        raise AnalysisError(f"table {name}: unknown column '{unknown[0]}'; allowed: {', '.join(schema.names)}")
    try:
        if isinstance(rows, pd.DataFrame):
            table = pa.Table.from_pandas(rows.reindex(columns=schema.names), schema, preserve_index=False)
            table = table.replace_schema_metadata(None)
        elif isinstance(rows, Mapping):
            length = len(next(iter(rows.values()), []))
            columns = {column: rows.get(column, [None] * length) for column in schema.names}
            table = pa.Table.from_pydict(columns, schema)
        else:
            table = pa.Table.from_pylist(list(rows), schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
        raise AnalysisError(f"table {name}: a value does not fit its column: {error}") from error
    table = with_assumed(name, table)
    for field, column in zip(schema, table.columns, strict=True):
        if not field.nullable and column.null_count:
            raise AnalysisError(f"table {name}: '{field.name}' is required, {column.null_count} rows lack it")
    table = _in_current_words(name, table)
    for (of, column), words in ALLOWED.items():
        if of == name and (unknown := sorted(set(table[column].unique().to_pylist()) - {None, *words})):
            raise AnalysisError(f"table {name}: {column} must be one of {', '.join(words)}, got '{unknown[0]}'")
    return table


def write_table(folder: str | Path, name: str, rows: Rows) -> Path:
    """Write ``folder/<name>.parquet`` on a disk: whole or not at all.

    Args:
        folder: The folder of the tables themselves (``D/tables`` of a sweep ``D``); made if missing.
        name: See ``arrow_table``.
        rows: See ``arrow_table``.

    Raises:
        AnalysisError: See ``arrow_table``.
    """
    return write_atomically(Path(folder) / f"{name}.parquet", parquet.to_bytes(arrow_table(name, rows)))


def read_tables(
    sweep: str | Path,
    names: Collection[str] = tuple(SCHEMAS),
    only: Mapping[str, tuple[str, Collection[str]]] | None = None,
) -> dict[str, pd.DataFrame]:
    """The tables of a sweep ``D`` (files ``D/tables/<name>.parquet``).

    Args:
        sweep: The folder ``D``, or a URI that pyarrow knows, such as ``s3://bucket/folder?region=eu-west-1``.
        names: Which tables to read; the others come empty (``confusion`` and ``metrics`` may be long).
        only: Per table a column of text and the values whose rows are read, so that a long table need not
            fit into memory: ``{"metrics": ("name", ["miou"])}``.

    Returns:
        One frame per name in ``SCHEMAS``; a table whose file is not there is empty. Nullable integers come as
        floats with NaN where a value is missing, lists as numpy arrays.

    Raises:
        AnalysisError: There is no table at all, one does not read or lacks a column, or the store does not answer.
    """
    system, files = locate(sweep)
    tables = empty_tables()
    for name in names:
        if name in files:
            try:
                tables[name] = _read(system, files[name], name, (only or {}).get(name))
            except (pa.ArrowException, OSError, ValueError, KeyError) as error:
                raise unreadable(sweep, name, error) from error
    return tables


def _read(system: fs.FileSystem, path: str, name: str, only: tuple[str, Collection[str]] | None = None) -> pd.DataFrame:
    schema = SCHEMAS[name]
    with system.open_input_file(path) as file:
        stored = parquet.open_file(file)
        stored_columns = set(stored.schema_arrow.names)
        later = (*LATER.get(name, ()), *ASSUMED.get(name, ()))
        missing = [column for column in later if column not in stored_columns]
        columns = [column for column in schema.names if column not in missing]
        table = (
            _in_current_words(name, stored.read(columns)) if only is None else _matching(name, stored, columns, *only)
        )
    for column in missing:
        table = table.append_column(column, pa.nulls(len(table), schema.field(column).type))
    return with_assumed(name, table.select(schema.names)).cast(schema).to_pandas()


def _matching(name: str, stored: pq.ParquetFile, columns: list[str], column: str, values: Collection[str]) -> pa.Table:
    """The rows of a file in which a column has one of some values, read piece by piece."""
    allowed = pa.array(list(values), pa.string())
    pieces = (
        _in_current_words(name, pa.Table.from_batches([batch]))
        for batch in stored.iter_batches(batch_size=1 << 17, columns=columns)
    )
    matching = (piece.filter(pc.is_in(piece[column], allowed)) for piece in pieces)
    return pa.concat_tables([stored.schema_arrow.empty_table().select(columns), *matching])


def with_assumed(name: str, table: pa.Table) -> pa.Table:
    """A table in which the values of ``ASSUMED`` stand where its rows have none."""
    for column, value in ASSUMED.get(name, {}).items():
        filled = pc.fill_null(table[column], value)
        table = table.set_column(table.column_names.index(column), table.schema.field(column), filled)
    return table


def _in_current_words(name: str, table: pa.Table) -> pa.Table:
    """A table with the words of earlier versions replaced by those of today."""
    for (of, column), words in EARLIER.items():
        if of == name and column in table.column_names:
            for earlier, word in words.items():
                replaced = pc.if_else(pc.equal(table[column], earlier), str(word), table[column])
                table = table.set_column(table.column_names.index(column), table.field(column), replaced)
    return table
