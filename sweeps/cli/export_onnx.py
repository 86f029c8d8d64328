"""The command `kdsweep export onnx`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.extras import require
from kdtrain.errors import InputError, refused
from sweeps.cli.options import Student, Trust, console, from_options, path
from sweeps.cli.output import Force, write_output

if TYPE_CHECKING:
    from torch import Tensor

    from kdtrain.deploy.deployed import Inside
_COMPARED = 8
"""Images that the file is compared with torch on, at most."""


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
    force: Force = False,
    trust: Trust = False,
) -> None:
    """Write a student as an ONNX file, after comparing the file with torch.

    Example: [bold]kdsweep export onnx runs/student --size 360 480 --images photos --out student.onnx[/]
    """
    require("export", "export onnx")
    from kdtrain.deploy.deployed import Inside, multiple_of
    from kdtrain.deploy.onnx_file import IMAGES, compare, export_onnx
    from kdtrain.deploy.students import load_student
    from kdtrain.runtime.scratch import scratch_folder

    height, width = size
    content = {"height": height, "width": width, "dynamic": dynamic, "normalize": normalize, "output": output}
    inside = from_options(Inside, content)
    if out.suffix != ".onnx":
        raise InputError(f"--out: must be a file that ends with .onnx, got {out}")
    if out.exists() and not force:
        raise InputError(f"--out: {out} exists; give another file, or --force to replace it")
    batches, on = _images(images, inside)
    folder, card, network = load_student(student)
    console.print(f"exporting {card.network.title} of {folder}, which takes a minute")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(out.parent) as scratch:
            module = export_onnx(network, inside, scratch / out.name, card.digest)
            agreement = compare(scratch / out.name, module, batches)
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
    }
    write_output(out.with_suffix(".json"), json.dumps(facts, indent=1) + "\n", force=True)
    console.print(
        f"{out}: {100 * agreement.classes:.3f} % of the pixels of {agreement.images} {on} have torch's class; "
        f"its card is {out.with_suffix('.json')}"
    )


def _images(places: list[Path] | None, inside: "Inside") -> "tuple[list[Tensor], str]":
    """What the file is compared on: batches of one image in the size of the export, and what they are."""
    from kdtrain.deploy.deployed import noise
    from kdtrain.deploy.label_maps import images_at, resized

    if not places:
        return [noise(inside)], "images of noise (--images compares on yours)"
    files = list(images_at(places).values())
    chosen = files[:: max(1, len(files) // _COMPARED)][:_COMPARED]
    return [resized(file, inside.size) for file in chosen], "given images"
