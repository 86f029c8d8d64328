"""SQL over the tables of a sweep, on a disk or in an object store; nothing is written."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs

from analysis.errors import AnalysisError
from analysis.extras import require
from analysis.tables import parquet
from analysis.tables.files import locate, unreadable
from analysis.tables.schemas import ASSUMED, SCHEMAS
from analysis.tables.states import EARLIER

_CHECKED = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)
"""Tables as a dataset whose pages are verified."""


def query(sweep: str | Path, sql: str) -> pa.Table:
    """Answer a question to the tables of sweep ``D``, each a view of its own name, in the dialect of DuckDB.

    Only the columns and rows that the question needs are read. A table that the sweep does not have is empty, a
    column that it was written without is null, or has the value of ``ASSUMED``. DuckDB can reach neither files nor
    the network by itself.

    Args:
        sweep: The folder ``D``, or a URI such as ``s3://bucket/folder``.
        sql: One statement, for instance ``select study, max(score) from trials group by study``.

    Raises:
        AnalysisError: There are no tables, one that the statement names is damaged, or DuckDB refuses the statement.
        MissingExtraError: DuckDB is not installed.
    """
    require("query", "a query")
    import duckdb

    system, files = locate(sweep)
    with duckdb.connect(config={"enable_external_access": "false"}) as connection:
        connection.execute("set python_enable_replacements = false; set timezone = 'UTC'")
        for name, schema in SCHEMAS.items():
            plain = pa.schema([field.with_nullable(True) for field in schema])
            stored = ds.dataset(files[name], plain, _CHECKED, system) if name in files else plain.empty_table()
            if columns := _as_of_today(name):
                connection.register(f"stored_{name}", stored)
                connection.execute(f"create view {name} as select * replace ({columns}) from stored_{name}")
            else:
                connection.register(name, stored)
        connection.execute("set lock_configuration = true")
        used = {name: path for name, path in files.items() if name in sql.lower()}
        _check(sweep, system, used, parquet.check_footer)
        try:
            answer = connection.sql(sql)
            if answer is None:
                raise AnalysisError("the query gives no table: write a select")
            return answer.to_arrow_table()
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            _check(sweep, system, used, lambda file: parquet.open_file(file).read())
            raise AnalysisError(f"the query was refused: {_first_lines(error)}") from error


def _check(
    sweep: str | Path, system: fs.FileSystem, files: Mapping[str, str], look: Callable[[pa.NativeFile], object]
) -> None:
    """Look at the files of some tables.

    Raises:
        AnalysisError: If one of them is damaged.
    """
    for name, path in files.items():
        try:
            with system.open_input_file(path) as file:
                look(file)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise unreadable(sweep, name, error) from error


def _as_of_today(name: str) -> str:
    """The columns of a table that earlier versions lack or wrote in other words, as expressions in today's terms."""
    replaced = [f"coalesce({column}, {value}) as {column}" for column, value in ASSUMED.get(name, {}).items()]
    for (of, column), words in EARLIER.items():
        if of == name:
            cases = " ".join(f"when '{earlier}' then '{word}'" for earlier, word in words.items())
            replaced.append(f"case {column} {cases} else {column} end as {column}")
    return ", ".join(replaced)


def _first_lines(error: Exception) -> str:
    """What went wrong and what may have been meant, without the echo of the statement."""
    lines = [line.strip() for line in str(error).splitlines()]
    return "; ".join(line for line in lines if line and not line.startswith(("LINE ", "^")))
