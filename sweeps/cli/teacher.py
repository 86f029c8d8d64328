"""The commands `kdsweep teacher ...`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kdtrain.errors import InputError
from sweeps.cli.options import (
    Data,
    Device,
    NewDir,
    Set,
    Threads,
    Trust,
    Weights,
    Workers,
    changes_of,
    console,
    machine_of,
    number,
    path,
    print_epoch,
    read_spec,
    stoppable,
)
from sweeps.cli.output import Force, check_teacher, teacher_output
from sweeps.spec.strict_yaml import read_mapping

if TYPE_CHECKING:
    from kdtrain.config import Machine, TrainConfig
    from kdtrain.teacher import ModelCard
    from sweeps.store.store import Store

Interrupt = Callable[[], bool]
"""Whether the training is to stop."""


def fit(
    config: Annotated[
        Path,
        typer.Argument(
            metavar="SPEC-or-CONFIG", help="A sweep with teacher.fit, or one training's config.", parser=path
        ),
    ],
    folder: NewDir,
    data: Data = None,
    weights: Weights = None,
    device: Device = "auto",
    threads: Threads = None,
    workers: Workers = 0,
    changes: Set = None,
    force: Force = False,
    trust: Trust = False,
) -> None:
    """Train a teacher.

    Example: [bold]kdsweep teacher fit sweeps/specs/camvid.yaml --dir runs/teacher --data data[/]
    """
    training = _training_of(config, changes)
    machine = machine_of(data, weights, device=device, threads=threads, workers=workers)

    def work(store: "Store", stop: Interrupt) -> "ModelCard":
        from sweeps.attempt.teachers import fit_here, fit_teacher

        return fit_teacher(training, machine, store, fit_here(print_epoch, stop))

    _fit(training, machine, folder, force, work)


def _fit(
    training: "TrainConfig",
    machine: "Machine",
    folder: Path,
    force: bool,
    work: Callable[["Store", Interrupt], "ModelCard"],
) -> None:
    """Train a teacher in a folder, or resume that, and say how good it is."""
    from sweeps.show.counter import check_classes
    from sweeps.store.folder_kinds import FolderKind, require_kind
    from sweeps.store.store import Store

    require_kind(Store(folder), FolderKind.TEACHER)
    if not (folder / "fit").exists():
        check_teacher(folder, None, force)
    check_classes(training.data, machine, console)
    with stoppable() as stop:
        card = work(Store(folder), lambda: bool(stop))
    console.print(f"teacher {card.digest} in {folder}: mIoU {100 * (card.miou or 0):.1f} on select")


def _training_of(file: Path, changes: list[str] | None) -> "TrainConfig":
    """How a file says that the teacher is trained: a spec's `teacher.fit`, or one training's config."""
    from sweeps.spec.spec import is_spec

    if is_spec(read_mapping(file)):
        training = read_spec(file, changes, "loading torch").teacher_config
        if training is None:
            raise InputError(f"{file}: teacher.fit is missing, so there is nothing to fit")
        return training
    from sweeps.outcome.best_file import read_config

    return read_config(file, changes_of(changes))[0]


def import_weights(
    weights: Annotated[
        str,
        typer.Argument(
            metavar="WEIGHTS",
            help="A file of the whole network's weights: safetensors, or .pth as torch.save writes it; a folder of "
            "transformers, timm or segmentation-models-pytorch; one on the hub, as hf:nvidia/... or smp-hub/...; or an "
            "encoder of timm, as timm:vit_small_patch14_dinov2.lvd142m",
        ),
    ],
    spec_file: Annotated[
        Path,
        typer.Option(
            "--spec",
            help="YAML with `data`, for a file `network` (arch, encoder, ...), and perhaps `classes`, "
            "`network_classes` and `eval_scale`.",
            parser=path,
        ),
    ],
    folder: NewDir,
    data: Data = None,
    force: Force = False,
    trust: Trust = False,
) -> None:
    """Make a teacher folder from a network that was trained elsewhere, and measure it on the select role.

    Every tensor of the file must be one of the network and the other way round. In a .pth file the weights may be
    wrapped (state_dict, model, ema, ...), and prefixes of their names (module., _orig_mod., model., ...) are removed.
    A network of other classes teaches by a map: classes: {sidewalk: pavement}. An encoder that knows no classes
    (DINOv2, DINOv3, SAM, ...) teaches methods that compare its layers.

    Example: [bold]kdsweep teacher import deeplab.safetensors --spec teacher.yaml --dir runs/teacher --data data[/]
    """
    from sweeps.attempt.made_teachers import import_teacher
    from sweeps.store.folder_kinds import FolderKind, require_kind
    from sweeps.store.store import Store

    require_kind(Store(folder), FolderKind.TEACHER)
    with teacher_output(folder, force) as scratch:
        content, machine = read_mapping(spec_file), machine_of(data, None)
        card = import_teacher(weights, content, scratch, machine, _say, str(spec_file))
    score = f": mIoU {100 * card.miou:.1f} on select" if card.miou is not None else ""
    console.print(f"teacher {card.digest} in {folder}{score}")


def _say(text: str) -> None:
    console.print(text, markup=False)


def probe(
    teacher: Annotated[Path, typer.Argument(metavar="TEACHER", help="A teacher folder.", parser=path)],
    spec_file: Annotated[
        Path,
        typer.Option(
            "--spec", help="YAML with `data`, and perhaps `train`: what differs from 20 epochs of AdamW.", parser=path
        ),
    ],
    folder: NewDir,
    layer: Annotated[
        str, typer.Option(help="The layer of the teacher that the head sees, such as block.9.")
    ] = "features",
    head: Annotated[
        Literal["linear", "light"],
        typer.Option(help="linear: a 1 x 1 convolution; light: with a hidden 1 x 1 and 3 x 3 convolution."),
    ] = "linear",
    data: Data = None,
    device: Device = "auto",
    threads: Threads = None,
    workers: Workers = 0,
    force: Force = False,
    trust: Trust = False,
) -> None:
    """Fit a head on a layer of a frozen teacher: a teacher with logits, and the layers that it had.

    The same command resumes after an interruption.

    Example: [bold]kdsweep teacher probe runs/dinov2 --spec data.yaml --layer features --dir runs/probe --data data[/]
    """
    from sweeps.attempt.probes import fit_probe, probe_config

    if folder.resolve() == teacher.resolve():
        raise InputError(f"--dir: {folder} is the teacher itself; give the probe a folder of its own")
    training = probe_config(teacher, read_mapping(spec_file), layer, head, str(spec_file))
    machine = machine_of(data, None, device=device, threads=threads, workers=workers)

    def work(store: "Store", stop: Interrupt) -> "ModelCard":
        from sweeps.attempt.teachers import fit_here

        return fit_probe(training, teacher, machine, store, fit_here(print_epoch, stop))

    _fit(training, machine, folder, force, work)


def ensemble_of_teachers(
    members: Annotated[
        list[Path], typer.Argument(metavar="A B ...", help="Teacher folders of the same classes.", parser=path)
    ],
    folder: NewDir,
    average: Annotated[Literal["probability", "logit"], typer.Option(help="What is averaged.")] = "probability",
    temperature: Annotated[
        float,
        typer.Option(
            help="The temperature of the probabilities; use the temperature of the terms that learn from them.",
            callback=number(1e-3, 1e6),
        ),
    ] = 1.0,
    flip: Annotated[bool, typer.Option("--flip", help="Every member also predicts the mirrored image.")] = False,
    spec_file: Annotated[
        Path | None,
        typer.Option("--spec", help="YAML with `data`: measures the ensemble on its select role.", parser=path),
    ] = None,
    data: Data = None,
    force: Force = False,
    trust: Trust = False,
) -> None:
    """Make a teacher of several teachers: terms see the mean of their predictions, at the layer logits.

    Example: [bold]kdsweep teacher ensemble runs/a runs/b --dir runs/both --flip[/]
    """
    from sweeps.attempt.made_teachers import ensemble_teacher
    from sweeps.store.folder_kinds import FolderKind, require_kind
    from sweeps.store.store import Store

    content = None if spec_file is None else read_mapping(spec_file)
    machine = machine_of(data, None)
    require_kind(Store(folder), FolderKind.TEACHER)
    with teacher_output(folder, force) as scratch:
        card = ensemble_teacher(members, scratch, average, temperature, flip, content, machine, str(spec_file or ""))
    score = "not measured" if card.miou is None else f"mIoU {100 * card.miou:.1f} on select"
    console.print(f"teacher {card.digest} in {folder}, {card.network.title}: {score}")
