"""The command `kdsweep query`."""

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
    from analysis.tables.query import query as ask
    from sweeps.show.query_answer import as_csv, as_table
    from sweeps.store.generations import LEDGER
    from sweeps.store.store import Store

    store = Store(sweep)
    if store.exists("tables/trials.parquet") or not store.names(LEDGER):
        answer = ask(sweep, sql)
        say_if_stale(sweep)
    else:
        from sweeps.outcome.results import scratch_results

        with scratch_results(store) as folder:
            answer = ask(folder, sql)
    if csv:
        console.write(as_csv(answer))
    else:
        console.print(as_table(answer))
