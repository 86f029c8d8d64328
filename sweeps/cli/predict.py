"""The command `kdsweep predict`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdtrain.errors import InputError, refused
from sweeps.cli.options import Device, Student, Trust, console, machine_of, number, path
from sweeps.cli.output import Force

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def predict(
    student: Student,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES...", help="Images, or folders of images.", parser=path)
    ],
    out: Annotated[Path, typer.Option(help="The folder to write to.", parser=path)],
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also write each image with the colors of the classes over it.")
    ] = False,
    window: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="H W", help="Slide a window of this size over each image and average the logits."),
    ] = None,
    overlap: Annotated[
        float, typer.Option(help="The part of a window that the next one covers again.", callback=number(0, 0.9))
    ] = 0.5,
    scale: Annotated[
        float, typer.Option(help="Factor on the images before the network.", callback=number(0.01, 100))
    ] = 1.0,
    device: Device = "auto",
    force: Force = False,
    trust: Trust = False,
) -> None:
    """Write what a network predicts for images: label maps of class ids, in the size of the images.

    Each label map is a PNG of 8-bit class ids with a palette; classes.json lists the classes and their colors.

    Example: [bold]kdsweep predict runs/student photos --out predicted --overlay[/]
    """
    from kdtrain.data.palette import color_text, distinct_colors
    from kdtrain.deploy import label_maps
    from kdtrain.deploy.students import load_student
    from kdtrain.deploy.windows import Window, windowed
    from kdtrain.loop.device import find_device
    from sweeps.show.counter import counter

    if window is not None and min(window) < 1:
        raise InputError(f"--window: height and width must be at least 1, got {window[0]} {window[1]}")
    files = label_maps.images_at(images)
    targets = {name: out / f"{name}.png" for name in files}
    if not force and (there := [file for file in targets.values() if file.exists()]):
        raise InputError(f"--out: {there[0]} exists; give another folder, or --force to replace it")
    folder, card, network = load_student(student)
    if len(card.classes) > label_maps.MOST_CLASSES:
        raise InputError(f"{folder} has {len(card.classes)} classes, and a label map holds ids up to 255")
    where = find_device(machine_of(None, None, device=device))
    network.place(where)
    logits_of: Callable[[Tensor], Tensor] = network.logits
    if window is not None:
        logits_of = windowed(logits_of, Window(height=window[0], width=window[1], overlap=overlap))
    palette = distinct_colors(len(card.classes))
    try:
        with counter(console, "predicting") as done:
            results = label_maps.label_maps(logits_of, files, scale, where)
            for number_done, (name, image, labels) in enumerate(results, start=1):
                targets[name].parent.mkdir(parents=True, exist_ok=True)
                label_maps.picture(labels, palette).save(targets[name])
                if overlay:
                    label_maps.overlay(image, labels, palette).save(targets[name].with_suffix(".overlay.png"))
                done(number_done, len(files))
        classes = [
            {"id": i, "class": name, "color": color_text(color)}
            for i, (name, color) in enumerate(zip(card.classes, palette, strict=True))
        ]
        (out / "classes.json").write_text(json.dumps(classes, indent=1) + "\n")
    except OSError as error:
        raise refused(out, error) from error
    console.print(f"{len(files)} label maps in {out}, their classes in {out / 'classes.json'}")
