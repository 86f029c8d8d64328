"""All commands in one list. A new command is a file in this folder and an entry in `COMMANDS`."""

import contextlib
import functools
import io
import re
import sys
from collections.abc import Callable, Mapping
from typing import Annotated

import typer
from rich.text import Text

from analysis.errors import AnalysisError
from kdtrain.errors import InputError, remedy
from kdtrain.foreign import Trust, reading, trusting
from kdtrain.printable import printable
from kdtrain.redact import redacted
from kdtrain.version import __version__
from sweeps.cli.ablate import ablate
from sweeps.cli.bench import bench
from sweeps.cli.best import best
from sweeps.cli.collection import seldom_collecting
from sweeps.cli.data import check, get
from sweeps.cli.demo import demo
from sweeps.cli.export import export_to_optuna
from sweeps.cli.export_executorch import export_to_executorch
from sweeps.cli.export_onnx import export_to_onnx
from sweeps.cli.export_torch import export_to_torch
from sweeps.cli.init import init
from sweeps.cli.methods import methods
from sweeps.cli.options import console
from sweeps.cli.plan import plan
from sweeps.cli.predict import predict
from sweeps.cli.query import query
from sweeps.cli.repair import repair
from sweeps.cli.report import report
from sweeps.cli.run import run
from sweeps.cli.schema import schema
from sweeps.cli.serve import serve
from sweeps.cli.status import status
from sweeps.cli.tables import tables
from sweeps.cli.teacher import ensemble_of_teachers, fit, import_weights, probe
from sweeps.cli.train import train
from sweeps.show.printer import BROKEN_PIPE, OutputLostError, Printer, drop_unwritten

COMMANDS: Mapping[str, Callable[..., None]] = {
    "demo": demo,
    "init": init,
    "plan": plan,
    "run": run,
    "status": status,
    "tables": tables,
    "report": report,
    "serve": serve,
    "query": query,
    "best": best,
    "ablate": ablate,
    "repair": repair,
    "methods": methods,
    "schema": schema,
    "train": train,
    "predict": predict,
    "bench": bench,
    "teacher fit": fit,
    "teacher import": import_weights,
    "teacher probe": probe,
    "teacher ensemble": ensemble_of_teachers,
    "data get": get,
    "data check": check,
    "export optuna": export_to_optuna,
    "export onnx": export_to_onnx,
    "export torch": export_to_torch,
    "export executorch": export_to_executorch,
}
"""By the words that call it; the first of two words is a group."""
READING = frozenset({"status", "tables", "report", "serve", "query", "best", "export optuna"})
"""Commands that read sweeps, and import no third-party code."""
GROUPS = {
    "teacher": "Make a teacher folder.",
    "data": "Fetch a public data set, or check all of its images.",
    "export": "Convert a sweep, or a student, for other tools.",
}


_CommandLineError: type[Exception] = next(
    kind for kind in reversed(typer.BadParameter.mro()) if hasattr(kind, "format_message")
)
"""What typer raises for a wrong command line; it has no public name for it."""


def main() -> None:
    """Run the command line; wrong input is one line and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with (
            seldom_collecting(),
            trusting(Trust()),
        ):  # a wrong command line ends before the trust that its options set is taken back
            sys.exit(app(prog_name="kdsweep", standalone_mode=False))
    except _CommandLineError as error:
        if str(error):
            print_error(_usage(error))
        sys.exit(2)
    except OutputLostError as lost:
        if lost.reader_is_gone:
            sys.exit(BROKEN_PIPE)
        print_error(f"the output cannot be written: {lost}")
        sys.exit(1)
    except (InputError, AnalysisError) as error:
        print_error(str(error))
        sys.exit(2)
    except OSError as error:
        if error.filename is None:
            raise
        print_error(f"cannot access {error.filename}: {error.strerror}; {remedy(error)} and run the same command again")
        sys.exit(2)
    except KeyboardInterrupt:
        console.print("interrupted; run the same command again to resume")
        sys.exit(130)
    finally:
        drop_unwritten()


def print_error(text: str) -> None:
    """Print one sentence about an error."""
    with contextlib.suppress(OutputLostError):
        Printer(stderr=True).print(Text.assemble(("error:", "bold red"), f" {printable(redacted(text))}"))


_NO_NUMBER = re.compile(r"Input should be a valid (integer|number), unable to parse string as an? \1")
"""How the library of the command line says it."""


def _usage(error: Exception) -> str:
    """What is wrong with a command line, and which command says more."""
    context = getattr(error, "ctx", None)
    text = error.format_message().rstrip(".")  # type: ignore[attr-defined]
    text = f"{text[:1].lower()}{text[1:]}"
    text = _NO_NUMBER.sub(lambda kind: "must be a whole number" if kind[1] == "integer" else "must be a number", text)
    values = getattr(getattr(error, "param", None), "nargs", 1)
    if values > 1:
        text = f"{text} (the option takes {values} values)"
    return text if context is None else f"{text}; `{context.command_path} --help` lists what is allowed"


def _print_version(value: bool) -> None:
    if value:
        console.print(f"kdsweep {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Hyperparameter and ablation sweeps for knowledge distillation in semantic segmentation."""


def _reading(command: Callable[..., None]) -> Callable[..., None]:
    """The command, in which specs and cards are read without the third-party code that they name."""

    @functools.wraps(command)
    def read(*words: object, **options: object) -> None:
        from sweeps.spec.recorded import Recorded

        with reading(Recorded()):
            command(*words, **options)

    return read


def _app() -> typer.Typer:
    top = typer.Typer(
        name="kdsweep",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    top.callback()(_options)
    groups = {name: typer.Typer(no_args_is_help=True, help=text) for name, text in GROUPS.items()}
    for words, command in COMMANDS.items():
        group, _, name = words.rpartition(" ")
        (groups[group] if group else top).command(name)(_reading(command) if words in READING else command)
    for name, group_app in groups.items():
        top.add_typer(group_app, name=name)
    return top


app = _app()
