"""The command `kdsweep export onnx`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from analysis.extras import require
from kdtrain.errors import InputError, refused
from sweeps.cli.options import Data, Student, Trust, console, from_options, machine_of, path
from sweeps.cli.output import Force, check_absent, write_output

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from kdtrain.data import Images
    from kdtrain.deploy.deployed import Inside
_COMPARED = 8
"""Images that the file is compared with torch on, at most."""
_CALIBRATED = 64
"""Images that int8 is calibrated on, at most."""


def export_to_onnx(
    student: Student,
    size: Annotated[tuple[int, int], typer.Option(metavar="H W", help="Height and width of the images.")],
    out: Annotated[Path, typer.Option(help="The file to write; a card lies beside it.", parser=path)] = Path(
        "student.onnx"
    ),
    output: Annotated[
        str,
        typer.Option(
            help="classes: ids in the size of the images; logits: logits in this size; raw: logits as the network "
            "gives them."
        ),
    ] = "classes",
    normalize: Annotated[
        bool, typer.Option("--normalize/--no-normalize", help="Take RGB in [0, 1] and normalize it inside.")
    ] = True,
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="Take images of other sizes, too. The batch always may differ.")
    ] = False,
    images: Annotated[
        list[Path] | None,
        typer.Option(help="Images, or folders of images, to compare the file with torch on.", parser=path),
    ] = None,
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
    from kdtrain.deploy.deployed import Inside, multiple_of
    from kdtrain.deploy.int8 import miou
    from kdtrain.deploy.onnx_file import IMAGES, compare, export_onnx
    from kdtrain.deploy.students import load_student
    from kdtrain.runtime.scratch import scratch_folder

    height, width = size
    content = {"height": height, "width": width, "dynamic": dynamic, "normalize": normalize, "output": output}
    inside = from_options(Inside, content)
    if int8 and (not images or not normalize):
        raise InputError("--int8: needs --images to calibrate on, and normalization inside (without --no-normalize)")
    select = None if spec_file is None else _select(spec_file, data, inside)
    if out.suffix != ".onnx":
        raise InputError(f"--out: must be a file that ends with .onnx, got {out}")
    check_absent(out, force)
    batches, on = _images(images, inside)
    folder, card, network = load_student(student)
    console.print(f"exporting {card.network.title} of {folder}, which takes a minute")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(out.parent) as scratch:
            module = export_onnx(network, inside, scratch / out.name, card.digest)
            agreement = compare(scratch / out.name, module, batches)
            scores = {} if select is None else {"miou": miou(scratch / out.name, select, "select")}
            quantized: dict[str, object] = {}
            if int8:
                quantized = _in_int8(scratch / out.name, images or [], inside, select)
            for file in scratch.iterdir():  # large weights lie in a file beside
                file.replace(out.parent / file.name)
    except OSError as error:
        raise refused(out, error) from error
    facts = {
        "input": {
            "name": IMAGES,
            "shape": ["batch", 3, *(("height", "width") if dynamic else inside.size)],
            "values": "RGB in [0, 1], float32" if normalize else "normalized RGB, float32",
            **({"multiple_of": multiple_of(network)} if dynamic else {}),
            **({} if normalize else {"mean": card.network.mean, "std": card.network.std}),
        },
        "output": output,
        "classes": card.classes,
        "student": card.digest,
        "network": card.network.title,
        "trained_on": card.trained_on,
        "miou": card.miou,
        "role": card.role,
        "compared_with_torch": {"on": on, **agreement._asdict()},
        **({"measured": scores} if scores else {}),
        **({"int8": quantized} if quantized else {}),
    }
    write_output(out.with_suffix(".json"), json.dumps(facts, indent=1) + "\n", force=True)
    console.print(
        f"{out}: {100 * agreement.classes:.3f} % of the pixels of {agreement.images} {on} have torch's class; "
        f"its card is {out.with_suffix('.json')}"
    )
    for line in _lines(scores, quantized):
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
    from kdtrain.deploy.int8 import agreement, miou, quantize

    batches = _some(places, inside, _CALIBRATED)
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


def _images(places: list[Path] | None, inside: "Inside") -> "tuple[list[Tensor], str]":
    """What the file is compared on: batches of one image in the size of the export, and what they are."""
    from kdtrain.deploy.deployed import noise

    if not places:
        return [noise(inside)], "images of noise (--images compares on yours)"
    return _some(places, inside, _COMPARED), "given images"


def _some(places: list[Path], inside: "Inside", most: int) -> "list[Tensor]":
    """So many of the given images at most, evenly chosen, each as a batch in the size of the export."""
    from kdtrain.deploy.label_maps import images_at, resized

    files = list(images_at(places).values())
    chosen = files[:: max(1, len(files) // most)][:most]
    return [resized(file, inside.size) for file in chosen]
