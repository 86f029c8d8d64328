"""The command `kdsweep run`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.cli.options import (
    Data,
    Device,
    NewSweep,
    Rehearsal,
    Set,
    SpecFile,
    Threads,
    Trust,
    Weights,
    Workers,
    console,
    machine_of,
    read_spec,
    stoppable,
)
from sweeps.show.commands import next_command, this_command

if TYPE_CHECKING:
    from kdtrain.config import Machine
    from sweeps.outcome.results import Results
    from sweeps.spec.spec import SweepSpec


def run(
    spec_file: SpecFile,
    sweep: NewSweep,
    address: Annotated[
        str | None,
        typer.Option(
            help="A running Ray cluster, such as auto or host:port; by default a cluster is started on this machine."
        ),
    ] = None,
    inline: Annotated[bool, typer.Option(help="Run without Ray, one trial after the other in this process.")] = False,
    data: Data = None,
    weights: Weights = None,
    device: Device = "auto",
    threads: Threads = None,
    workers: Workers = 0,
    changes: Set = None,
    rehearsal: Rehearsal = True,
    trust: Trust = False,
) -> None:
    """Run a sweep; the same command resumes it.

    Example: [bold]kdsweep run sweeps/specs/camvid.yaml --dir runs/camvid --data data[/]
    """
    spec = read_spec(spec_file, changes, "loading torch", sweep)
    machine = machine_of(data, weights, device=device, threads=threads, workers=workers)
    run_and_print(spec, sweep, machine, address, inline, rehearsal)


def run_and_print(
    spec: "SweepSpec", sweep: str, machine: "Machine", address: str | None, inline: bool, rehearsal: bool = True
) -> None:
    """Run a sweep and print where the results are.

    The exit code is 1 if no trial completed, or if trials failed for a cause that can be mended.
    """
    from sweeps.run import run_sweep
    from sweeps.show.next_step import last_lines

    with stoppable() as stop:
        results = run_sweep(
            spec,
            sweep,
            machine,
            address=address,
            inline=inline,
            rehearsal=rehearsal,
            console=console,
            stop=stop,
            command=this_command(),
        )
        console.print()
        if results.report is not None:
            console.print(f"report: {results.report}")
        else:
            console.print(f"no report was written: {results.no_report}, then {next_command('report', sweep)}")
        for failed in results.failed:
            console.print(f"failed: {failed}")
        if results.best is None:
            console.print("no config was chosen: no trial completed")
        else:
            _print_best(results, sweep)
            console.print(last_lines(results.best["evidence"]["verdict"]["headline"], results.next_step))
        if any(failed.runs_again for failed in results.failed):
            console.print(f"once the cause is mended, this runs the failed trials again:\n  {this_command()}")
        if results.best is None or any(failed.runs_again for failed in results.failed):
            sys.exit(1)


def _print_best(results: "Results", sweep: str) -> None:
    from sweeps.outcome.int8_scores import in_words

    console.print(f"best:   {results.best_file}")
    if results.best is not None and (line := in_words(results.best["evidence"])):
        console.print(line)
    if "://" not in sweep:
        command = next_command("train", str(results.best_file), dir=f"{sweep.rstrip('/')}-student")
        console.print(f"train it: {command}")
