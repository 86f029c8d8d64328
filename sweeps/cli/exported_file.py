"""What the commands share that write a student as a file for other runtimes."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdtrain.errors import InputError, refused
from sweeps.cli.options import console, from_options, path
from sweeps.cli.output import check_absent, write_output

if TYPE_CHECKING:
    from torch import Tensor

    from kdtrain.deploy.agreement import Run
    from kdtrain.deploy.deployed import Deployed, Inside
    from kdtrain.models import TappedNetwork

Size = Annotated[tuple[int, int], typer.Option(metavar="H W", help="Height and width of the images.")]
Output = Annotated[
    str,
    typer.Option(
        help="classes: ids in the size of the images; logits: logits in this size; raw: logits as the network "
        "gives them."
    ),
]
Normalize = Annotated[
    bool, typer.Option("--normalize/--no-normalize", help="Take RGB in [0, 1] and normalize it inside.")
]
Dynamic = Annotated[
    bool, typer.Option("--dynamic", help="Take images of other sizes, too. The batch always may differ.")
]
Compared = Annotated[
    list[Path] | None,
    typer.Option("--images", help="Images, or folders of images, to compare the file with torch on.", parser=path),
]
_COMPARED = 8
"""Images that the file is compared with torch on, at most."""


def inside_from(size: tuple[int, int], output: str, normalize: bool, dynamic: bool) -> "Inside":
    """What the file computes besides the network, as the options say.

    Raises:
        InputError: If the value of an option is wrong.
    """
    from kdtrain.deploy.deployed import Inside

    content = {"height": size[0], "width": size[1], "dynamic": dynamic, "normalize": normalize, "output": output}
    return from_options(Inside, content)


def check_out(out: Path, suffix: str, force: bool) -> None:
    """Check the file that is to be written, and its card, before a long computation.

    Raises:
        InputError: If its name does not end with the suffix, or one of the two is there already, unless `force`.
    """
    if out.suffix != suffix:
        raise InputError(f"--out: must be a file that ends with {suffix}, got {out}")
    check_absent(out, force)
    check_absent(_card_of(out), force)


def write_exported(
    student: Path,
    inside: "Inside",
    out: Path,
    images: list[Path] | None,
    export: "Callable[[TappedNetwork, Inside, Path, str], Deployed]",
    runner: "Callable[[Path], Run]",
    finish: Callable[[Path], Mapping[str, object]] = lambda file: {},
    batch: int | None = None,
) -> None:
    """Write a student as a file, compare the file with torch, and write a card beside it.

    Args:
        student: The folder of a student, or of its training.
        inside: What the file computes besides the network.
        out: The file.
        images: What it is compared on; without them, noise.
        export: Writes the file and returns the module that it was made from.
        runner: Opens the file.
        finish: Changes the compared file, or measures it; what it returns goes into the card.
        batch: Images that the file takes in a call; None for any number.

    Raises:
        InputError: If the graph cannot be exported, or the file differs from torch.
        StorageError: If a file cannot be written.
    """
    from kdtrain.deploy.agreement import compare
    from kdtrain.deploy.deployed import IMAGES, multiple_of
    from kdtrain.deploy.students import load_student
    from kdtrain.runtime.scratch import scratch_folder

    batches, on = _images(images, inside)
    folder, card, network = load_student(student)
    console.print(f"exporting {card.network.title} of {folder}, which takes a minute")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(out.parent) as scratch:
            module = export(network, inside, scratch / out.name, card.digest)
            agreement = compare(runner(scratch / out.name), module, batches)
            added = finish(scratch / out.name)
            for file in scratch.iterdir():  # large weights of ONNX lie in a file beside
                file.replace(out.parent / file.name)
    except OSError as error:
        raise refused(out, error) from error
    facts = {
        "input": {
            "name": IMAGES,
            "shape": [batch or "batch", 3, *(("height", "width") if inside.dynamic else inside.size)],
            "values": "RGB in [0, 1], float32" if inside.normalize else "normalized RGB, float32",
            **({"multiple_of": multiple_of(network)} if inside.dynamic else {}),
            **({} if inside.normalize else {"mean": card.network.mean, "std": card.network.std}),
        },
        "output": inside.output,
        "classes": card.classes,
        "student": card.digest,
        "network": card.network.title,
        "trained_on": card.trained_on,
        "miou": card.miou,
        "role": card.role,
        "compared_with_torch": {"on": on, **agreement._asdict()},
        **added,
    }
    write_output(_card_of(out), json.dumps(facts, indent=1) + "\n", force=True)
    console.print(
        f"{out}: {100 * agreement.classes:.3f} % of the pixels of {agreement.images} {on} have torch's class; "
        f"its card is {_card_of(out)}"
    )


def _card_of(out: Path) -> Path:
    """The card of an exported file; it differs from that of a file of the same name in another format."""
    return out.with_name(f"{out.name}.json")


def some_images(places: list[Path], inside: "Inside", most: int) -> "list[Tensor]":
    """So many of the given images at most, evenly chosen, each as a batch in the size of the export."""
    from kdtrain.deploy.label_maps import images_at, resized

    files = list(images_at(places).values())
    chosen = files[:: max(1, len(files) // most)][:most]
    return [resized(file, inside.size) for file in chosen]


def _images(places: list[Path] | None, inside: "Inside") -> "tuple[list[Tensor], str]":
    """What the file is compared on: batches of one image in the size of the export, and what they are."""
    from kdtrain.deploy.deployed import noise

    if not places:
        return [noise(inside)], "images of noise (--images compares on yours)"
    return some_images(places, inside, _COMPARED), "given images"
