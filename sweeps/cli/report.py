"""The command `kdsweep report`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdtrain.errors import InputError
from sweeps.cli.options import console, folder_or_uri, path, say_if_stale
from sweeps.cli.output import Force, require_writable, write_output

if TYPE_CHECKING:
    from analysis.report.verdict import Verdict
    from sweeps.store.store import Store


def report(
    sweeps: Annotated[
        list[str],
        typer.Argument(
            metavar="D...", help="The sweep: a folder or a URI; several with --compare.", parser=folder_or_uri
        ),
    ],
    compare: Annotated[bool, typer.Option("--compare", help="Compare several sweeps in one page.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The page; by default D/report/index.html, with --compare ./compared.html. Given, nothing is written "
            "into the sweep.",
            parser=path,
        ),
    ] = None,
    text: Annotated[
        bool, typer.Option("--text", help="Print the verdict as one paragraph of plain text; write nothing.")
    ] = False,
    force: Force = False,
) -> None:
    """Write the report, one HTML file that works offline, and the tables for a paper.

    Example: [bold]kdsweep report runs/camvid[/]

    Example: [bold]kdsweep report /shared/runs/camvid --out report.html[/]

    Example: [bold]kdsweep report --text runs/camvid[/]

    Example: [bold]kdsweep report --compare runs/camvid-1 runs/camvid-2 runs/camvid-3 --out compared.html[/]
    """
    if text:
        if compare or out is not None or len(sweeps) > 1:
            raise InputError("--text: is for one sweep, without --compare and --out; leave these out")
        _print_paragraph(sweeps[0])
        return
    from analysis.report.comparison_report import comparison
    from analysis.report.findings import read_findings
    from analysis.report.sweep_report import report_page, write_findings
    from sweeps.outcome.results import local_folder, scratch_results
    from sweeps.outcome.tabulate import write_tables
    from sweeps.store.generations import LEDGER
    from sweeps.store.store import Store, check_address

    for sweep in sweeps:
        check_address(sweep)
    if compare:
        out = out or Path("compared.html")
        for sweep in sweeps:
            say_if_stale(sweep)
        write_output(out, comparison(sweeps), force)
        console.print(str(out))
        return
    if len(sweeps) > 1:
        raise InputError(f"one sweep is allowed without --compare, got {len(sweeps)}; give --compare to compare them")
    store = Store(sweeps[0])
    if out is not None:
        with scratch_results(store) as folder:
            findings = read_findings(folder)
            write_output(out, report_page(findings), force)
        console.print(str(out))
        console.print(_last_lines(store, findings.verdict))
        return
    require_writable(store, "report.html")
    with local_folder(store) as folder:
        has_ledger = bool(store.names(LEDGER))
        if has_ledger or not (folder / "tables" / "trials.parquet").is_file():
            write_tables(folder, store.place)
        findings = read_findings(folder)
        written = write_findings(findings).relative_to(folder)
    console.print(f"{store}/{written}")
    console.print(_last_lines(store, findings.verdict))


def _print_paragraph(sweep: str) -> None:
    from analysis import read_tables
    from analysis.report.verdict import paragraph, verdict_of
    from sweeps.outcome.results import scratch_results
    from sweeps.store.store import Store, check_address

    check_address(sweep)
    say_if_stale(sweep)
    with scratch_results(Store(sweep)) as folder:
        console.write(paragraph(verdict_of(read_tables(folder))) + "\n")


def _last_lines(sweep: "Store", found: "Verdict") -> str:
    """What to do next, which the ledger says, and the headline."""
    from sweeps.outcome.loaded import load_state
    from sweeps.show.next_step import last_lines, next_step
    from sweeps.store.generations import LEDGER

    step = next_step(sweep, *load_state(sweep), found.decide) if sweep.names(LEDGER) else ""
    return last_lines(found.headline, step)
