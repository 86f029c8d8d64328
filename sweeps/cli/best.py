"""The command `kdsweep best`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.cli.options import SweepDir, console, path
from sweeps.cli.output import Force, verdict_line, write_output

if TYPE_CHECKING:
    from sweeps.store.store import Store


def best(
    sweep: SweepDir,
    out: Annotated[
        Path | None, typer.Option(help="Write the config to this YAML file, for `kdsweep train`.", parser=path)
    ] = None,
    force: Force = False,
    freeze: Annotated[
        bool,
        typer.Option(
            "--freeze",
            help="Make the selection final. Only then does the sweep's run command train the chosen config and the "
            "baseline on final seeds and read the role test. A frozen sweep cannot grow.",
        ),
    ] = False,
) -> None:
    """Show the chosen config with its evidence.

    Example: [bold]kdsweep best runs/camvid --out best.yaml[/]
    """
    from analysis import read_tables
    from analysis.report.best_evidence import best_evidence
    from kdtrain.runtime.scratch import scratch_folder
    from sweeps.attempt.teachers import teacher_store
    from sweeps.ledger.ledger import copy_ledger
    from sweeps.outcome.best_file import best_document
    from sweeps.outcome.tabulate import load_state, write_tables
    from sweeps.store.store import Store

    store = Store(sweep)
    spec, _ = load_state(store)
    if freeze:
        _freeze(store)
    with scratch_folder() as folder:  # others' sweeps may be read only
        copy_ledger(store, folder)
        write_tables(folder)
        chosen = best_evidence(read_tables(folder))
    beside = Store(out.parent) if out is not None else store
    text = best_document(chosen, teacher_store(spec, store), beside)
    if freeze:
        store.write("best.yaml", best_document(chosen, teacher_store(spec, store), store).encode())
    verdict = verdict_line(chosen)
    if out is not None:
        write_output(out, text, force)
        console.print(str(out))
    elif not freeze:
        console.write(text)
        verdict = "\n".join(f"# {line}" for line in verdict.splitlines())  # what is printed is YAML
    console.print(verdict)


def _freeze(store: "Store") -> None:
    from sweeps.outcome.freeze import freeze
    from sweeps.outcome.tabulate import load_state
    from sweeps.show.progress import resume_command

    frozen = freeze(store)
    chosen = frozen.chosen
    what = "the baseline, which nothing beat" if chosen == frozen.baseline else f"of study {chosen.study}"
    console.print(f"frozen: config {chosen.config_id} {what} ({frozen.why})")
    if frozen.seeds:
        seeds = ", ".join(map(str, frozen.seeds))
        console.print(f"this trains on the final seeds {seeds}:\n  {resume_command(store, load_state(store)[1])}")
