"""SQL over the tables of a sweep, on a disk or in an object store; nothing is written to the sweep."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import fs

from analysis.errors import AnalysisError
from analysis.extras import require
from analysis.tables import parquet
from analysis.tables.located import locate, unreadable
from analysis.tables.schemas import ASSUMED, SCHEMAS
from analysis.tables.states import EARLIER

if TYPE_CHECKING:
    import duckdb

Row = tuple[Any, ...]
_SQL_TYPES = {
    pa.string(): "varchar",
    pa.int16(): "smallint",
    pa.int64(): "bigint",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.timestamp("us", tz="UTC"): "timestamptz",
}
_BATCH = 10_000
"""Rows that are read at once."""


@dataclass(frozen=True)
class Answer:
    """The answer to a statement; its rows can be read while the context of `query` is open.

    Attributes:
        columns: Their names, which may repeat.
        types: Their types, in the words of DuckDB: ``varchar``, ``bigint``, ``double``, ``list``, ...
        statement: In SQL.
        connection: To the tables.
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    statement: str
    connection: "duckdb.DuckDBPyConnection"

    def batches(self) -> Iterator[list[Row]]:
        """All rows, a list of some at a time, as values of Python; a time with a zone is a text."""
        cursor = self.connection.execute(self.statement)
        while rows := cursor.fetchmany(_BATCH):
            yield rows

    def first(self, count: int) -> tuple[list[Row], int]:
        """The first rows, at most ``count``, and how many there are in all."""
        relation = self.connection.sql(self.statement)
        rows = relation.limit(count).fetchall()
        return rows, len(rows) if len(rows) < count else len(relation)


@contextlib.contextmanager
def query(sweep: str | Path, sql: str) -> Iterator[Answer]:
    """The answer of the tables of sweep ``D`` to a question, each a view of its own name, in the dialect of DuckDB.

    The tables that the question names are copied into a scratch folder, and their checksums are verified on the way,
    which DuckDB does not do by itself. A table that the sweep does not have is empty, a column that it was written
    without is null, or has the value of ``ASSUMED``. DuckDB can reach neither other files nor the network by itself.

    Args:
        sweep: The folder ``D``, or a URI such as ``s3://bucket/folder``.
        sql: One statement, for instance ``select study, max(score) from trials group by study``.

    Raises:
        AnalysisError: There are no tables, one that the statement names is damaged, the disk of temporary files
            refuses, or DuckDB refuses the statement.
        MissingExtraError: DuckDB is not installed.
    """
    require("query", "a query")
    import duckdb

    system, files = locate(sweep)
    with _scratch_folder() as folder:
        copies = {name: Path(folder, f"{name}.parquet") for name in files if _may_use(sql, name)}
        _copy(sweep, system, {files[name]: copy for name, copy in copies.items()})
        try:
            with duckdb.connect() as connection:
                connection.execute("set python_enable_replacements = false; set timezone = 'UTC'")
                connection.execute(f"set allowed_directories = [{_quoted(folder)}]")
                connection.execute("set enable_external_access = false")
                for name in SCHEMAS:
                    connection.execute(_view(connection, name, copies.get(name)))
                connection.execute("set lock_configuration = true")
                yield _answer(connection, sql)
        except duckdb.Error as error:
            raise AnalysisError(f"the query was refused: {_first_lines(error)}") from error


def _may_use(sql: str, table: str) -> bool:
    """Whether a statement may use a table: it names the table, or a function that composes names."""
    text = sql.lower()
    return table in text or "query" in text


def _copy(sweep: str | Path, system: fs.FileSystem, copies: Mapping[str, Path]) -> None:
    """Copy files of tables.

    Raises:
        AnalysisError: If one of them is damaged, or the disk of a copy refuses.
    """
    for path, copy in copies.items():
        try:
            with system.open_input_file(path) as file, copy.open("wb") as target:
                for piece in parquet.checked_content(file):
                    with _refusal_said(copy):
                        target.write(piece)
                        target.flush()
        except AnalysisError:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            raise unreadable(sweep, copy.stem, error) from error


@contextlib.contextmanager
def _scratch_folder() -> Iterator[str]:
    with _refusal_said("a temporary folder"):
        folder = tempfile.TemporaryDirectory(prefix="kdsweep-query-", ignore_cleanup_errors=True)
    with folder as name:
        yield name


@contextlib.contextmanager
def _refusal_said(place: Path | str) -> Iterator[None]:
    """An error of the operating system as one sentence on a place that cannot be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise AnalysisError(
            f"cannot write {place}: {reason}; make room, or name a folder with room in TMPDIR"
        ) from error


def _view(connection: "duckdb.DuckDBPyConnection", name: str, file: Path | None) -> str:
    """The statement that makes the view of a table."""
    source, stored = "(select 1) where false", set[str]()
    if file is not None:
        source = f"read_parquet({_quoted(file)}, hive_partitioning = false)"
        stored = set(connection.sql(f"from {source}").columns)
    columns = (_column(name, field, field.name in stored) for field in SCHEMAS[name])
    return f"create view {name} as select {', '.join(columns)} from {source}"


def _column(table: str, field: pa.Field, is_stored: bool) -> str:
    """A column, in today's words also where earlier versions lack it or wrote it in other words."""
    value = f'"{field.name}"' if is_stored else "null"
    if (assumed := ASSUMED.get(table, {}).get(field.name)) is not None:
        value = f"coalesce({value}, {assumed})"
    if words := EARLIER.get((table, field.name)):
        cases = " ".join(f"when {_quoted(earlier)} then {_quoted(word)}" for earlier, word in words.items())
        value = f"case {value} {cases} else {value} end"
    return f'{value}::{_sql_type(field.type)} as "{field.name}"'


def _sql_type(kind: pa.DataType) -> str:
    return f"{_sql_type(kind.value_type)}[]" if pa.types.is_list(kind) else _SQL_TYPES[kind]


def _quoted(text: object) -> str:
    return "'{}'".format(str(text).replace("'", "''"))


def _answer(connection: "duckdb.DuckDBPyConnection", sql: str) -> Answer:
    """What DuckDB gives; times with a zone become texts, since some of its versions need another package for them.

    Raises:
        AnalysisError: If it is no table.
    """
    relation = connection.sql(sql)
    if relation is None:
        raise AnalysisError("the query gives no table: write a select")
    columns, types = tuple(relation.columns), tuple(kind.id for kind in relation.types)
    zoned = ["WITH TIME ZONE" in str(kind) for kind in relation.types]
    if any(zoned):
        shown = (f"#{i}::varchar" if is_zoned else f"#{i}" for i, is_zoned in enumerate(zoned, 1))
        sql = f"select {', '.join(shown)} from (\n{sql.rstrip().rstrip(';')}\n)"
    return Answer(columns, types, sql, connection)


def _first_lines(error: Exception) -> str:
    """What went wrong and what may have been meant, without the echo of the statement."""
    lines = [line.strip() for line in str(error).splitlines()]
    return "; ".join(line for line in lines if line and not line.startswith(("LINE ", "^")))
