"""The command `kdsweep plan`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.cli.options import (
    Data,
    Rehearsal,
    Set,
    SpecFile,
    Trust,
    Weights,
    console,
    folder_or_uri,
    machine_of,
    read_spec,
)

if TYPE_CHECKING:
    from sweeps.spec.spec import SweepSpec


def plan(
    spec_file: SpecFile,
    data: Data = None,
    weights: Weights = None,
    changes: Set = None,
    like: Annotated[
        str | None,
        typer.Option(
            metavar="D",
            help="A sweep whose noise and times tell how many seeds a gain takes: one like this, or this one, begun.",
            parser=folder_or_uri,
        ),
    ] = None,
    folder: Annotated[
        str | None,
        typer.Option(
            "--dir",
            metavar="D",
            help="The sweep, where it is begun: its pulls, and what would change.",
            parser=folder_or_uri,
        ),
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(help="The price of an hour of this machine, for the cost; by default that of KDSWEEP_PRICE."),
    ] = None,
    rehearsal: Rehearsal = True,
    trust: Trust = False,
) -> None:
    """Show what would run, and find every mistake that can be found before a GPU is used for long.

    One training step and one evaluation of every distinct network and method are rehearsed on this machine, and the
    pull of every default is measured, once its teacher is there. A few steps are timed for the hours of the sweep.

    Example: [bold]kdsweep plan sweeps/specs/camvid.yaml --data data[/]

    Example: [bold]kdsweep plan sweeps/specs/camvid.yaml --data data --like runs/camvid[/]
    """
    spec = read_spec(spec_file, changes, "loading torch, to check its data and networks", folder)
    from sweeps.attempt.teachers import present_teacher
    from sweeps.calibrate import lines_for_plan
    from sweeps.designs.detectable import lines_without_noise
    from sweeps.driver.crowding import crowding
    from sweeps.driver.growth import as_begun, check_begun, growth
    from sweeps.hours import hour_lines, price_of, study_hours, trials_at_a_time
    from sweeps.ledger.state import SweepState
    from sweeps.machine_facts import machine_lines
    from sweeps.plan import plan as make_plan
    from sweeps.rehearsals import rehearse_plan
    from sweeps.show.commands import next_command
    from sweeps.show.counter import class_counter
    from sweeps.store.store import Store

    machine, cost = machine_of(data, weights), price_of(price)
    begun = None if folder is None else check_begun(spec, Store(folder))
    spec = as_begun(spec, begun or SweepState())
    seeds = lines_without_noise(spec) if like is None else _seeds(spec, like)
    with class_counter(console) as seen:
        made = make_plan(spec, machine, seen)
    console.print(made.render())

    def say(line: str) -> None:
        console.print(line, markup=False)

    if begun is not None and begun.begun is not None:
        changes_of_sweep = growth(begun.sweep.spec, spec, str(folder))
        say(f"{folder} has begun; what a run would change: {'; '.join(changes_of_sweep) or 'nothing'}")
    side_by_side = trials_at_a_time(spec, machine)
    if crowded := crowding(spec, spec.resources.concurrent or side_by_side):
        say(crowded)
    place = Path.cwd() if folder is None else Store(folder).local
    for line in (*machine_lines(spec, made, machine, place), *seeds):
        say(line)

    run = next_command("run", spec_file, dir=folder or f"runs/{spec.name}", set=changes or ())
    if not rehearsal:
        for line in (*hour_lines((), 1, cost, "--no-rehearsal takes no step"), f"run it with:\n  {run}"):
            say(line)
        return
    rehearsed = rehearse_plan(spec, machine, say, made.checked.config)
    lacking = "this machine has no GPU, which resources.gpu asks for"
    timed = study_hours(spec, made, rehearsed.by_study)
    for line in (*rehearsed.lines, *hour_lines(timed, side_by_side, cost, lacking)):
        say(line)
    teacher = present_teacher(spec, None if folder is None else Store(folder))
    recorded = {} if begun is None else begun.pulls
    for line in lines_for_plan(spec, machine, teacher, made.checked.images["train"], recorded, say):
        say(line)
    say(f"run it with:\n  {run}")


def _seeds(spec: "SweepSpec", like: str) -> list[str]:
    """How many seeds gains take, by the noise of another sweep, or of this one, and the command that goes on."""
    from sweeps.designs.evidence import begun_as, detectable_like, how_to_go_on, lines_like
    from sweeps.outcome.loaded import load_state
    from sweeps.outcome.results import tables_now
    from sweeps.show.next_step import command_below
    from sweeps.store.store import Store

    store = Store(like)
    _, state = load_state(store)
    begun, tables = begun_as(spec, state, like), tables_now(store)
    lines = lines_like(spec, tables, like, begun and state.frozen is None)
    lines += detectable_like(spec, tables, like)
    if begun and (line := how_to_go_on(tables, like)):
        lines.append(command_below(line))
    return lines
