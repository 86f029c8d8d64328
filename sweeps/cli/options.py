"""What the commands share: options, the console, an orderly stop."""

import contextlib
import math
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from kdtrain import foreign
from kdtrain.errors import InputError, MissingError
from kdtrain.local_path import given_path, is_remote
from sweeps.attempt.signals import Interrupted, StopRequest, stop_on_signals
from sweeps.cli.collection import collecting_as_usual
from sweeps.show.commands import this_command
from sweeps.show.printer import Printer, outlasting_output
from sweeps.spec.strict_yaml import parse_value

if TYPE_CHECKING:
    from kdtrain.config import Machine
    from kdtrain.config_base import Strict
    from kdtrain.loop.reports import EpochReport
    from sweeps.spec.spec import SweepSpec

Settings = TypeVar("Settings", bound="Strict")

console = Printer()


def path(text: str) -> Path:
    """A path of the command line; `--dir=~/runs` has a `~` that the shell leaves as it is."""
    try:
        return given_path(text)
    except InputError as error:
        raise typer.BadParameter(str(error)) from None


def without_secret(address: str) -> str:
    """A callback of an option that takes the address of a sweep."""
    from sweeps.store.store import check_address

    check_address(address)
    return address


def from_options(model: type[Settings], content: Mapping[str, object]) -> Settings:
    """The settings that options of a command give, each with the name of its field.

    Raises:
        InputError: If a value does not fit; it names the option.
    """
    from pydantic import ValidationError

    from kdtrain.explain import sentence

    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InputError(f"--{sentence(error, model)}") from None


def folder_or_uri(text: str) -> str:
    """A folder, or the URI of an object store."""
    return text if is_remote(text) else str(path(text))


SpecFile = Annotated[Path, typer.Argument(metavar="SPEC", help="A sweep's YAML file.", parser=path)]
SweepDir = Annotated[
    str,
    typer.Argument(
        metavar="D",
        help="The sweep: a folder, or a URI such as s3://bucket/runs/a.",
        callback=without_secret,
        parser=folder_or_uri,
    ),
]
NewSweep = Annotated[
    str,
    typer.Option(
        "--dir",
        metavar="D",
        help="The folder (or s3://... URI) to write to; the folder of an earlier run resumes it.",
        callback=without_secret,
        parser=folder_or_uri,
    ),
]
NewDir = Annotated[
    Path,
    typer.Option(
        "--dir", metavar="D", help="The folder to write to; the folder of an earlier run resumes it.", parser=path
    ),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="The folder that contains the data sets (KDSWEEP_DATA; default: data).", parser=path),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        help="A folder of encoder weights, <encoder>.safetensors, for machines without a hub (KDSWEEP_WEIGHTS).",
        parser=path,
    ),
]
Student = Annotated[
    Path,
    typer.Argument(
        metavar="STUDENT", help="A folder with model.json, or one of `kdsweep train` with student/.", parser=path
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Change a field of the spec by its dotted path, as in budget.trials=4; may be repeated.",
    ),
]
Rehearsal = Annotated[
    bool,
    typer.Option(
        "--rehearsal/--no-rehearsal",
        help="Take one training step and one evaluation of every distinct network and method, unless that was done "
        "before, and stop if one fails.",
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ... or auto.")]


def number(low: float, high: float = math.inf) -> Callable[[typer.CallbackParam, float | None], float | None]:
    """A callback of an option that takes numbers from `low` to `high`; all numeric options are checked by it."""

    def check(option: typer.CallbackParam, value: float | None) -> float | None:
        if value is not None:
            check_number(f"--{(option.name or '').replace('_', '-')}", value, low, high)
        return value

    return check


def check_number(option: str, value: float, low: float, high: float = math.inf) -> None:
    """InputError if the value of an option is not a number from `low` to `high`."""
    if not (low <= value <= high and math.isfinite(value)):
        least = f"of at least {low:g}"
        allowed = least if high == math.inf else f"from {low:g} to {high:.16g}"
        raise InputError(f"{option}: must be a number {allowed}, got {value}")


Threads = Annotated[
    int | None,
    typer.Option(
        help="CPU threads of one training; by default the CPUs of a trial, or the choice of torch.",
        callback=number(1, 1024),
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        help="Processes per training that make samples; 0 makes them in the training's process.",
        callback=number(0, 1024),
    ),
]


def _set_trust(context: typer.Context, everything: bool) -> bool:
    """For the time of the command, import the third-party modules that the user trusts, and say so first."""
    modules = None if everything else foreign.trust_setting()
    context.with_resource(foreign.trusting(foreign.Trust(modules, Printer(stderr=True).print)))
    return everything


Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Import and run the code that the given files name as package.module:name (KDSWEEP_TRUST: 1, or a list "
        "of modules).",
        callback=_set_trust,
        is_eager=True,
    ),
]


def read_spec(spec_file: Path, changes: list[str] | None, first: str, sweep: str | None = None) -> "SweepSpec":
    """The spec of a command that takes long: says at once what it does, and loads torch only for a spec that is right.

    Args:
        spec_file: Its file.
        changes: The values given with `--set`.
        first: What the command does first once the spec is read, as in `checking what would run`.
        sweep: The sweep that may have begun with this spec.

    Raises:
        InputError: As `sweeps.spec.spec.load_spec`.
    """
    console.print(f"reading {spec_file}")
    given = changes_of(changes)
    if sweep is None or not given:
        from sweeps.spec.spec import load_spec

        spec = load_spec(spec_file, given)
    else:
        from sweeps.driver.growth import load_continued
        from sweeps.store.store import open_store

        spec = load_continued(spec_file, given, open_store(sweep))
    studies = "1 study" if len(spec.studies) == 1 else f"{len(spec.studies)} studies"
    console.print(f"{spec.name}: {studies} on {spec.data.name}; {first}")
    return spec


@contextlib.contextmanager
def stoppable() -> Iterator[StopRequest]:
    """Stop a long command in an orderly way when a signal asks for it, and print the command that resumes it."""
    with collecting_as_usual(), outlasting_output(), stop_on_signals() as stop:
        try:
            yield stop
        except Interrupted as interrupted:
            stopped = f"stopped on {stop.signal.name} after {stop.seconds:.0f} s" if stop.signal else "stopped"
            console.print(f"{stopped}: {interrupted}; nothing is lost, to resume:\n  {this_command()}")
            sys.exit(128 + (stop.signal or signal.SIGINT))


def machine_of(data: Path | None, weights: Path | None, **fields: Any) -> "Machine":
    """The machine that the options describe.

    Raises:
        InputError: If there is no such device or no such folder of weights, or a value or variable is wrong.
    """
    from pydantic import ValidationError

    from kdtrain.config import Machine
    from kdtrain.explain import sentence
    from kdtrain.loop.device import check_device

    folders = {"data_root": data, "weights": weights}
    try:
        machine = Machine(**{name: folder for name, folder in folders.items() if folder is not None}, **fields)
    except ValidationError as error:
        raise InputError(sentence(error, Machine)) from None
    check_device(machine.device, is_here=False)
    if machine.weights is not None and not machine.weights.is_dir():
        source = "--weights" if weights is not None else "KDSWEEP_WEIGHTS"
        raise MissingError(f"{source}: must be a folder of <encoder>.safetensors files, got {machine.weights}")
    return machine


def changes_of(changes: list[str] | None) -> dict[str, object]:
    """The values given with `--set`, by field."""
    from sweeps.spec.overrides import check_apart

    result: dict[str, object] = {}
    for change in changes or []:
        field, equals, value = change.partition("=")
        if not equals or not field.strip():
            raise InputError(f"--set: must be FIELD=VALUE, as in --set budget.trials=4, got {change!r}")
        check_apart([*result, field], "--set")
        result[field] = parse_value(value, f"--set {field}")
    return result


def print_epoch(report: "EpochReport") -> None:
    """Print a line about an epoch."""
    score = f"mIoU {100 * report.metrics['miou']:5.1f}" if "miou" in report.metrics else "not evaluated"
    losses = "  ".join(f"{name} {values['weighted']:.3f}" for name, values in report.losses.items())
    console.print(f"epoch {report.epoch}/{report.epochs}  {score}  {losses}  {report.seconds['total']:.1f} s")


def say_if_stale(sweep: str) -> None:
    """Print, beside the output, that the tables of a sweep were not made from all records of its ledger."""
    from sweeps.outcome.stale import stale_tables
    from sweeps.store.store import Store

    if (text := stale_tables(Store(sweep))) is not None:
        Printer(stderr=True).print(f"note: {text}")
