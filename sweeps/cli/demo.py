"""The command `kdsweep demo`."""

from pathlib import Path
from typing import Annotated

import typer

from sweeps.cli.options import NewDir, console
from sweeps.cli.run import run_and_print

_SPEC = Path(__file__).parents[1] / "specs" / "demo.yaml"


def demo(
    sweep: NewDir = Path("kdsweep-demo"),
    inline: Annotated[bool, typer.Option(help="Run without Ray, in this process.")] = False,
) -> None:
    """Run a small sweep without any input: generated street scenes, a teacher, five studies, report and best config.

    Example: [bold]kdsweep demo --dir runs/demo[/]
    """
    from kdtrain.config import Machine
    from sweeps.spec.spec import load_spec

    console.print(
        "Generated street scenes, one teacher, five studies with the same budget each. This takes a few minutes."
    )
    run_and_print(load_spec(_SPEC), str(sweep), Machine(cache=sweep / "cache"), None, inline)
