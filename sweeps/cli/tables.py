"""The command `kdsweep tables`."""

from sweeps.cli.options import SweepDir, console


def tables(sweep: SweepDir) -> None:
    """Rebuild the tables from the ledger.

    Example: [bold]kdsweep tables runs/camvid[/]
    """
    from sweeps.outcome.tabulate import write_tables
    from sweeps.store.store import Store

    store = Store(sweep)
    for key in sorted(write_tables(store).values()):
        console.print(f"{store}/{key}")
