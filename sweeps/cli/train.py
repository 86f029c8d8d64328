"""The command `kdsweep train`."""

from pathlib import Path
from typing import Annotated

import typer

from kdtrain.errors import InputError
from sweeps.attempt.signals import Interrupted
from sweeps.cli.options import (
    Data,
    Device,
    NewDir,
    Threads,
    Trust,
    Weights,
    Workers,
    console,
    folder_or_uri,
    machine_of,
    number,
    path,
    print_epoch,
    stoppable,
    without_secret,
)


def train(
    config: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG.yaml",
            help="A config, for instance best.yaml; with --trial, the sweep: a folder or a URI.",
            parser=folder_or_uri,
            callback=without_secret,
        ),
    ],
    folder: NewDir,
    trial: Annotated[
        str | None, typer.Option(metavar="NAME", help="Train the config of this trial of the sweep again.")
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="The teacher folder; by default the one named in the file.", parser=path)
    ] = None,
    data: Data = None,
    weights: Weights = None,
    device: Device = "auto",
    threads: Threads = None,
    workers: Workers = 0,
    seed: Annotated[
        int | None, typer.Option(help="A seed in place of the config's seed.", callback=number(0, 2**53))
    ] = None,
    trust: Trust = False,
) -> None:
    """Train one config to its end and save the student as a teacher folder.

    Example: [bold]kdsweep train runs/camvid/best.yaml --dir runs/student[/]

    Example: [bold]kdsweep train runs/camvid --trial cwd-3 --dir runs/cwd-3[/]
    """
    from kdtrain import train as train_student
    from sweeps.attempt.attempt import staged
    from sweeps.outcome.best_file import read_config, trial_config
    from sweeps.show.counter import check_classes
    from sweeps.store.folder_kinds import FolderKind, require_kind
    from sweeps.store.store import Store

    require_kind(Store(folder), FolderKind.TRAINING)
    student_config, named_teacher = read_config(Path(config)) if trial is None else trial_config(config, trial)
    if seed is not None:
        student_config = student_config.model_copy(update={"seed": seed})
    machine = machine_of(data, weights, device=device, threads=threads, workers=workers, teacher=teacher)
    if teacher is None and named_teacher is not None:
        local = named_teacher.local or staged(named_teacher, student_config.teacher or "none", machine.cache)
        machine = machine.model_copy(update={"teacher": local})
    check_classes(student_config.data, machine, console)
    with stoppable() as stop:
        result = train_student(student_config, machine, print_epoch, folder, lambda: bool(stop))
        if result.state == "interrupted":
            raise Interrupted(f"the training is saved after {result.epochs_run} of {student_config.epochs} epochs")
    if result.evaluation is None:
        raise InputError(f"the training {result.state}: {result.reason}")
    miou = result.evaluation.miou
    score = "no mIoU (no pixel has a label)" if miou is None else f"mIoU {100 * miou:.1f}"
    console.print(f"{score} on select after {result.epochs_run} epochs; student in {folder / 'student'}")
