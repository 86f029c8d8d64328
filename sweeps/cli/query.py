"""The command `kdsweep query`."""

from pathlib import Path
from typing import Annotated

import typer

from sweeps.cli.options import SweepDir, console, say_if_stale


def query(
    sweep: SweepDir,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="A select; every table is a view of its name.")],
    csv: Annotated[bool, typer.Option("--csv", help="All rows as CSV, instead of a table of the first rows.")] = False,
) -> None:
    """Query the tables of a sweep in SQL; nothing is written.

    Example: [bold]kdsweep query runs/camvid "select study, max(score) from trials group by study"[/]
    """
    from sweeps.store.generations import LEDGER
    from sweeps.store.store import Store

    store = Store(sweep)
    if store.exists("tables/trials.parquet") or not store.names(LEDGER):
        _answer(sweep, sql, csv)
        say_if_stale(sweep)
    else:
        from sweeps.outcome.results import scratch_results

        with scratch_results(store) as folder:
            _answer(folder, sql, csv)


def _answer(tables: str | Path, sql: str, csv: bool) -> None:
    """Print what the tables below a folder answer."""
    from analysis.tables.query import query as ask
    from sweeps.show.query_answer import as_csv, as_table

    with ask(tables, sql) as answer:
        if csv:
            for piece in as_csv(answer):
                console.write(piece)
        else:
            console.print(as_table(answer))
