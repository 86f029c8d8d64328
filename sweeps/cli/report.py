"""The command `kdsweep report`."""

from pathlib import Path
from typing import Annotated

import typer

from kdtrain import InputError
from sweeps.cli.options import console, folder_or_uri, path, say_if_stale
from sweeps.cli.output import Force, write_output


def report(
    sweeps: Annotated[
        list[str],
        typer.Argument(
            metavar="D...", help="The sweep: a folder or a URI; several with --compare.", parser=folder_or_uri
        ),
    ],
    compare: Annotated[bool, typer.Option("--compare", help="Compare several sweeps in one page.")] = False,
    out: Annotated[Path, typer.Option(help="The page of --compare.", parser=path)] = Path("compared.html"),
    force: Force = False,
) -> None:
    """Write the report, one HTML file that works offline, and the tables for a paper.

    Example: [bold]kdsweep report runs/camvid[/]

    Example: [bold]kdsweep report --compare runs/camvid-1 runs/camvid-2 runs/camvid-3 --out compared.html[/]
    """
    from analysis.report.comparison_report import comparison
    from analysis.report.sweep_report import write_report
    from sweeps.outcome.results import local_folder
    from sweeps.outcome.tabulate import write_tables
    from sweeps.store.generations import LEDGER
    from sweeps.store.store import Store, check_address

    for sweep in sweeps:
        check_address(sweep)
    if compare:
        for sweep in sweeps:
            say_if_stale(sweep)
        write_output(out, comparison(sweeps), force)
        console.print(str(out))
        return
    if len(sweeps) > 1:
        raise InputError(f"one sweep is allowed without --compare, got {len(sweeps)}; give --compare to compare them")
    store = Store(sweeps[0])
    with local_folder(store) as folder:
        has_ledger = bool(store.names(LEDGER))
        if has_ledger or not (folder / "tables" / "trials.parquet").is_file():
            write_tables(folder)
        written = write_report(folder).relative_to(folder)
    console.print(f"{store}/{written}")
