"""SQL over the tables of a sweep, on a disk or in an object store; nothing is written."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from analysis.errors import AnalysisError
from analysis.tables.files import locate
from analysis.tables.schemas import SCHEMAS
from analysis.tables.states import EARLIER


def query(sweep: str | Path, sql: str) -> pa.Table:
    """Answer a question to the tables of sweep ``D``, each a view of its own name, in the dialect of DuckDB.

    Only the columns and rows that the question needs are read. A table that the sweep does not have is empty, a
    column that it was written without is null. DuckDB can reach neither files nor the network by itself.

    Args:
        sweep: The folder ``D``, or a URI such as ``s3://bucket/folder``.
        sql: One statement, for instance ``select study, max(score) from trials group by study``.

    Raises:
        AnalysisError: There are no tables, or DuckDB refuses the statement.
    """
    system, files = locate(sweep)
    with duckdb.connect(config={"enable_external_access": "false"}) as connection:
        connection.execute("set python_enable_replacements = false; set timezone = 'UTC'")
        for name, schema in SCHEMAS.items():
            plain = pa.schema([field.with_nullable(True) for field in schema])
            stored = ds.dataset(files[name], plain, "parquet", system) if name in files else plain.empty_table()
            if columns := _in_current_words(name):
                connection.register(f"stored_{name}", stored)
                connection.execute(f"create view {name} as select * replace ({columns}) from stored_{name}")
            else:
                connection.register(name, stored)
        connection.execute("set lock_configuration = true")
        try:
            answer = connection.sql(sql)
            if answer is None:
                raise AnalysisError("the query gives no table: write a select")
            return answer.to_arrow_table()
        except duckdb.Error as error:
            raise AnalysisError(f"the query was refused: {_first_lines(error)}") from error
        except (pa.ArrowException, OSError) as error:
            raise AnalysisError(f"a table of {sweep} does not read: rebuild them with `kdsweep tables`") from error


def _in_current_words(name: str) -> str:
    """The columns of a table in which earlier versions wrote other words, as expressions that give those of today."""
    replaced = []
    for (of, column), words in EARLIER.items():
        if of == name:
            cases = " ".join(f"when '{earlier}' then '{word}'" for earlier, word in words.items())
            replaced.append(f"case {column} {cases} else {column} end as {column}")
    return ", ".join(replaced)


def _first_lines(error: Exception) -> str:
    """What went wrong and what may have been meant, without the echo of the statement."""
    lines = [line.strip() for line in str(error).splitlines()]
    return "; ".join(line for line in lines if line and not line.startswith(("LINE ", "^")))
