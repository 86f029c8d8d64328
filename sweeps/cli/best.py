"""The command `kdsweep best`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.cli.options import SweepDir, console, path
from sweeps.cli.output import Force, write_output

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
    from analysis.report.best_evidence import best_evidence
    from sweeps.attempt.teachers import teacher_store
    from sweeps.outcome.best_file import best_document
    from sweeps.outcome.loaded import load_state
    from sweeps.outcome.results import tables_now, write_again
    from sweeps.show.next_step import last_lines, next_step
    from sweeps.store.store import Store

    store = Store(sweep)
    spec, state = load_state(store)
    teacher = teacher_store(spec, store)
    if freeze:
        _freeze(store)
        write_again(store, teacher)
    chosen = best_evidence(tables_now(store))
    text = best_document(chosen, teacher, Store(out.parent) if out is not None else store)
    said = chosen["evidence"]["verdict"]
    step = "" if freeze else next_step(store, spec, state, said.get("decide", ""))  # said at the freeze
    last = last_lines(said["headline"], step)
    if out is not None:
        write_output(out, text, force)
        console.print(str(out))
    elif not freeze:
        console.write(text)
        last = "\n".join(f"# {line}" for line in last.splitlines())  # what is printed is YAML
    console.print(last)


def _freeze(store: "Store") -> None:
    from sweeps.outcome.freeze import freeze
    from sweeps.outcome.loaded import load_state
    from sweeps.show.next_step import resume_command

    frozen = freeze(store)
    chosen = frozen.chosen
    what = "the baseline, which nothing beat" if chosen == frozen.baseline else f"of study {chosen.study}"
    console.print(f"frozen: config {chosen.config_id} {what} ({frozen.why})")
    if frozen.seeds:
        seeds = ", ".join(map(str, frozen.seeds))
        console.print(f"this trains on the final seeds {seeds}:\n  {resume_command(store, load_state(store)[1])}")
