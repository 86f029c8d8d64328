"""The command `kdsweep status`."""

from pathlib import Path
from typing import Annotated

import typer

from sweeps.cli.options import SweepDir, console, number, path
from sweeps.cli.output import require_writable


def status(
    sweep: SweepDir,
    watch: Annotated[bool, typer.Option("--watch", help="Repeat until the sweep has finished.")] = False,
    page: Annotated[
        bool, typer.Option("--html", help="Write a small page that reloads itself, instead of the terminal.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="The file of the page; by default D/report/live.html, for a URI ./live.html.", parser=path),
    ] = None,
    every: Annotated[float, typer.Option(help="Seconds between two updates.", callback=number(0.1))] = 10.0,
) -> None:
    """Show how far a sweep is, from its files, while it runs or after.

    Example: [bold]kdsweep status runs/camvid --watch --html[/]
    """
    from sweeps.store.store import Store

    store = Store(sweep)
    if page or out is not None:
        from sweeps.show.live_page import watch_page

        if out is None:
            require_writable(store, "live.html")
        target = out or (store.local / "report" / "live.html" if store.local is not None else Path("live.html"))
        watch_page(store, target, every if watch else None, console.print)
    else:
        from sweeps.show.status import watch_terminal

        watch_terminal(store, every if watch else None, console)
