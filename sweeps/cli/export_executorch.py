"""The command `kdsweep export executorch`."""

from pathlib import Path
from typing import Annotated

import typer

from analysis.extras import require
from sweeps.cli.exported_file import Compared, Normalize, Output, Size, check_out, inside_from, write_exported
from sweeps.cli.options import Student, Trust, path
from sweeps.cli.output import Force


def export_to_executorch(
    student: Student,
    size: Size,
    out: Annotated[Path, typer.Option(help="The file to write; a card lies beside it.", parser=path)] = Path(
        "student.pte"
    ),
    output: Output = "classes",
    normalize: Normalize = True,
    images: Compared = None,
    force: Force = False,
    trust: Trust = False,
) -> None:
    """Write a student as an ExecuTorch program, which takes one image a call, after comparing it with torch.

    Example: [bold]kdsweep export executorch runs/student --size 360 480 --images photos --out student.pte[/]
    """
    require("executorch", "export executorch")
    from kdtrain.deploy.executorch_file import backend, export_executorch, run_executorch

    inside = inside_from(size, output, normalize, dynamic=False)
    check_out(out, ".pte", force)
    write_exported(
        student, inside, out, images, export_executorch, run_executorch, lambda _: {"backend": backend()}, batch=1
    )
