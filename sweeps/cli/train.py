"""The commands `kdsweep methods` and `kdsweep train`: one method, one training."""

from pathlib import Path
from typing import Annotated

import typer

from kdtrain import InputError
from sweeps.attempt.signals import Interrupted
from sweeps.cli.options import (
    Data,
    Device,
    NewDir,
    Threads,
    Weights,
    Workers,
    console,
    leaving,
    machine_of,
    print_epoch,
)


def methods(
    name: Annotated[str | None, typer.Argument(help="A method, or a term; by default all methods.")] = None,
) -> None:
    """List the distillation methods, or say all about one: formula, source, status, defaults, what to search.

    Example: [bold]kdsweep methods cwd[/]
    """
    from rich.markdown import Markdown
    from rich.table import Table

    from kdtrain.methods.describe import describe, offers, overview

    if name is not None:
        console.print(Markdown(describe(name)), soft_wrap=False)
        return
    table = Table("method", "what it is", "terms with their published weights", box=None, header_style="bold")
    for row in overview():
        table.add_row(*row)
    console.print(table, soft_wrap=False)
    for name, reference in offers():
        console.print(f"installed: {name} ({reference})", markup=False)
    console.print("\nMore about one, or about a term: [bold]kdsweep methods NAME[/]")


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="A config, for instance best.yaml.")],
    folder: NewDir,
    teacher: Annotated[
        Path | None, typer.Option(help="The teacher folder; by default the one named in the file.")
    ] = None,
    data: Data = None,
    weights: Weights = None,
    device: Device = "auto",
    threads: Threads = None,
    workers: Workers = 0,
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed.")] = None,
) -> None:
    """Train one config to its end and save the student, in the form of a teacher folder.

    Example: [bold]kdsweep train runs/camvid/best.yaml --dir runs/student[/]
    """
    from kdtrain import train as train_student
    from sweeps.attempt.attempt import staged
    from sweeps.outcome.best_file import read_config

    found, named_teacher = read_config(config)
    if seed is not None:
        found = found.model_copy(update={"seed": seed})
    machine = machine_of(data, weights, device=device, threads=threads, workers=workers, teacher=teacher)
    if teacher is None and named_teacher is not None:
        local = named_teacher.local or staged(named_teacher, found.teacher or "none", machine.cache)
        machine = machine.model_copy(update={"teacher": local})
    with leaving() as asked:
        result = train_student(found, machine, print_epoch, folder, lambda: bool(asked))
        if result.state == "interrupted":
            raise Interrupted(f"the training is saved after {result.epochs_run} of {found.epochs} epochs")
    if result.evaluation is None:
        raise InputError(f"the training {result.state}: {result.reason}")
    miou = result.evaluation.miou
    score = "no mIoU (no pixel has a label)" if miou is None else f"mIoU {100 * miou:.1f}"
    console.print(f"{score} on select after {result.epochs_run} epochs; student in {folder / 'student'}")
