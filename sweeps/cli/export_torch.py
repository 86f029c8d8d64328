"""The command `kdsweep export torch`."""

from pathlib import Path
from typing import Annotated

import typer

from sweeps.cli.exported_file import Compared, Dynamic, Normalize, Output, Size, check_out, inside_from, write_exported
from sweeps.cli.options import Student, Trust, path
from sweeps.cli.output import Force


def export_to_torch(
    student: Student,
    size: Size,
    out: Annotated[Path, typer.Option(help="The file to write; a card lies beside it.", parser=path)] = Path(
        "student.pt2"
    ),
    output: Output = "classes",
    normalize: Normalize = True,
    dynamic: Dynamic = False,
    images: Compared = None,
    force: Force = False,
    trust: Trust = False,
) -> None:
    """Write a student as a program of torch.export, after comparing the file with torch.

    Example: [bold]kdsweep export torch runs/student --size 360 480 --images photos --out student.pt2[/]
    """
    from kdtrain.deploy.torch_file import export_torch, run_torch

    inside = inside_from(size, output, normalize, dynamic)
    check_out(out, ".pt2", force)
    write_exported(student, inside, out, images, export_torch, run_torch)
