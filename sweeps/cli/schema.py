"""The command `kdsweep schema`."""

from pathlib import Path
from typing import Annotated

import typer

from sweeps.cli.options import console, path
from sweeps.cli.output import Force, write_output


def schema(
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file to write; by default it is printed.", parser=path)
    ] = None,
    force: Force = False,
) -> None:
    """Print the JSON schema of a spec, with which editors check a spec while it is typed.

    Example: [bold]kdsweep schema --out kdsweep.schema.json[/]
    """
    from sweeps.spec.reference import SCHEMA, files

    text = files()[SCHEMA]
    if out is None:
        console.write(text)
        return
    write_output(out, text, force)
    console.print(f"wrote {out}; the first line of a spec that uses it:\n# yaml-language-server: $schema={out}")
