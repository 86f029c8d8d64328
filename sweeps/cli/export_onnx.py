"""The command `kdsweep export onnx`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from analysis.extras import require
from kdtrain.errors import InputError
from sweeps.cli.exported_file import (
    Compared,
    Dynamic,
    Normalize,
    Output,
    Size,
    check_out,
    inside_from,
    some_images,
    write_exported,
)
from sweeps.cli.options import Data, Student, Trust, console, machine_of, path
from sweeps.cli.output import Force

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kdtrain.data import Images
    from kdtrain.deploy.deployed import Inside


def export_to_onnx(
    student: Student,
    size: Size,
    out: Annotated[Path, typer.Option(help="The file to write; a card lies beside it.", parser=path)] = Path(
        "student.onnx"
    ),
    output: Output = "classes",
    normalize: Normalize = True,
    dynamic: Dynamic = False,
    images: Compared = None,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Compute in 8-bit integers, calibrated on --images: take images that training had."
        ),
    ] = False,
    spec_file: Annotated[
        Path | None,
        typer.Option("--spec", help="YAML with `data`: also measures the file on its select role.", parser=path),
    ] = None,
    data: Data = None,
    force: Force = False,
    trust: Trust = False,
) -> None:
    """Write a student as an ONNX file, after comparing the file with torch.

    Example: [bold]kdsweep export onnx runs/student --size 360 480 --images photos --out student.onnx[/]
    """
    require("export", "export onnx")
    from kdtrain.deploy.int8 import miou
    from kdtrain.deploy.onnx_file import export_onnx, run_onnx

    inside = inside_from(size, output, normalize, dynamic)
    if int8 and (not images or not normalize):
        raise InputError("--int8: needs --images to calibrate on, and normalization inside (without --no-normalize)")
    select = None if spec_file is None else _select(spec_file, data, inside)
    check_out(out, ".onnx", force)
    measured: dict[str, Any] = {}

    def finish(file: Path) -> "Mapping[str, object]":
        if select is not None:
            measured["measured"] = {"miou": miou(file, select, "select")}
        if int8:
            measured["int8"] = _in_int8(file, images or [], inside, select)
        return measured

    write_exported(student, inside, out, images, export_onnx, run_onnx, finish)
    for line in _lines(measured.get("measured", {}), measured.get("int8", {})):
        console.print(line)


def _lines(scores: "Mapping[str, float]", quantized: "Mapping[str, Any]") -> "Iterator[str]":
    """What was measured, in words."""
    if scores:
        yield f"mIoU of the file in floats on select: {100 * scores['miou']:.2f}"
    if quantized:
        same = 100 * quantized["same_class_as_floats"]
        yield f"int8, calibrated on {quantized['calibrated_on']} images: {same:.2f} % of their pixels keep their class"
    if "miou" in quantized:
        loss = 100 * (scores["miou"] - quantized["miou"])
        yield f"mIoU of int8 on select: {100 * quantized['miou']:.2f}, which is {loss:.2f} points less"


def _in_int8(file: Path, places: list[Path], inside: "Inside", select: "Images | None") -> dict[str, object]:
    """Put a file in int8 in the place of one in floats; what was measured of it."""
    from kdtrain.deploy.int8 import CALIBRATED, agreement, miou, quantize

    batches = some_images(places, inside, CALIBRATED)
    integers = file.with_name("int8.onnx")
    quantize(file, integers, batches)
    measured: dict[str, object] = {
        "calibrated_on": len(batches),
        "same_class_as_floats": agreement(file, integers, batches),
    }
    if select is not None:
        measured["miou"] = miou(integers, select, "select")
    integers.replace(file)
    file.with_name(f"{file.name}.data").unlink(missing_ok=True)  # the float weights
    return measured


def _select(spec: Path, data: Path | None, inside: "Inside") -> "Images":
    """The images of role select of the data that a file names, which must have the size of the export."""
    from kdtrain.data import open_role
    from sweeps.attempt.made_teachers import measured_on

    machine = machine_of(data, None)
    images = open_role(measured_on(spec), "select", machine.data_root, machine.cache)
    size = images.get(0)[0].shape[:2]
    if tuple(size) != inside.size:
        raise InputError(
            f"--spec: its images are {size[0]} x {size[1]}, so a file of --size {inside.height} {inside.width} cannot "
            f"be measured on them; give --size {size[0]} {size[1]}"
        )
    return images
