"""The command `kdsweep export optuna`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from sweeps.cli.options import SweepDir, console, path, say_if_stale
from sweeps.cli.output import Force


def export_to_optuna(
    sweep: SweepDir,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file: a journal (.journal, fast) or SQLite (.db); by default ./<sweep>.journal.", parser=path
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Write the search as Optuna studies, one per study, that optuna-dashboard opens.

    Example: [bold]kdsweep export optuna runs/camvid --out camvid.journal && optuna-dashboard camvid.journal[/]
    """
    from analysis import read_tables
    from analysis.search.optuna_export import JOURNALS, export_optuna
    from analysis.tables.scores import METRIC

    needed = ("sweeps", "studies", "trials", "params", "metrics")
    say_if_stale(sweep)
    tables = read_tables(sweep, needed, {"metrics": ("name", [METRIC])})
    target = out or Path(f"{tables['sweeps']['name'].iloc[0]}.journal")
    if force:
        target.unlink(missing_ok=True)
    for study, count in export_optuna(tables, target).items():
        console.print(f"{study}: {count} trials")
    address = str(target) if target.suffix in JOURNALS else f"sqlite:///{target}"
    console.print(f"look at it with: {shlex.join(['optuna-dashboard', address])}")
