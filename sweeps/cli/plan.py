"""The command `kdsweep plan`."""

from sweeps.cli.options import Data, Rehearsal, Set, SpecFile, Trust, Weights, changes_of, console, machine_of
from sweeps.show.counter import class_counter
from sweeps.spec.spec import load_spec


def plan(
    spec_file: SpecFile,
    data: Data = None,
    weights: Weights = None,
    changes: Set = None,
    rehearsal: Rehearsal = True,
    trust: Trust = False,
) -> None:
    """Show what would run, and find every mistake that can be found before a GPU is used for long.

    One training step and one evaluation of every distinct network and method are rehearsed on this machine.

    Example: [bold]kdsweep plan sweeps/specs/camvid.yaml --data data[/]
    """
    from sweeps.plan import plan as make_plan
    from sweeps.rehearsals import rehearse_plan

    spec, machine = load_spec(spec_file, changes_of(changes)), machine_of(data, weights)
    with class_counter(console) as seen:
        made = make_plan(spec, machine, seen)
    console.print(made.render())
    if rehearsal:
        rehearse_plan(spec, machine, lambda line: console.print(line, markup=False), made.checked.config)
