"""The command `kdsweep best`."""

from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Annotated

import typer

from kdtrain.errors import InputError
from sweeps.cli.options import SweepDir, console, path
from sweeps.cli.output import Force, teacher_output, write_output

if TYPE_CHECKING:
    from sweeps.outcome.student import TrainedStudent
    from sweeps.store.store import Store


def best(
    sweep: SweepDir,
    out: Annotated[
        Path | None, typer.Option(help="Write the config to this YAML file, for `kdsweep train`.", parser=path)
    ] = None,
    force: Force = False,
    student: Annotated[
        Path | None,
        typer.Option(help="Copy the trained weights of the chosen config to this folder.", parser=path),
    ] = None,
    freeze: Annotated[
        bool,
        typer.Option(
            "--freeze",
            help="Make the selection final. Only then does the sweep's run command train the chosen config and the "
            "baseline on final seeds and read the role test. A frozen sweep cannot grow.",
        ),
    ] = False,
) -> None:
    """Show the chosen config with its evidence.

    Example: [bold]kdsweep best runs/camvid --out best.yaml[/]
    """
    from analysis.report.best_evidence import best_evidence
    from sweeps.attempt.teachers import teacher_store
    from sweeps.outcome.best_file import best_document
    from sweeps.outcome.loaded import load_state
    from sweeps.outcome.results import tables_now, write_again
    from sweeps.outcome.student import chosen_students
    from sweeps.show.next_step import last_lines, next_step
    from sweeps.store.store import Store

    store = Store(sweep)
    spec, state = load_state(store)
    teacher = teacher_store(spec, store)
    if freeze:
        _freeze(store)
        write_again(store, teacher)
    tables = tables_now(store)
    chosen, students = best_evidence(tables), chosen_students(store, tables)
    beside = Store(out.parent) if out is not None else store
    text = best_document(chosen, teacher, students[0].folder if students else None, beside)
    said = chosen["evidence"]["verdict"]
    if student is not None:
        _copy_student(store, students, student, force)
    step = "" if freeze else next_step(store, spec, state, said.get("decide", ""))  # said at the freeze
    last = last_lines(said["headline"], step)
    if out is not None:
        write_output(out, text, force)
        console.print(str(out))
    elif not freeze and student is None:
        console.write(text)
        last = "\n".join(f"# {line}" for line in last.splitlines())  # what is printed is YAML
    console.print(last)


def _copy_student(store: "Store", students: "list[TrainedStudent]", folder: Path, force: bool) -> None:
    """Copy the best of the trained students of the chosen config to a folder."""
    if not students:
        raise InputError(
            f"--student: {store} holds no trained student of the chosen config; write the config with --out and train "
            "it with `kdsweep train`"
        )
    with teacher_output(folder, force) as scratch:
        students[0].folder.pull("", scratch)
    text = f"student of seed {students[0].seed} in {folder}: mIoU {100 * students[0].score:.1f} on select"
    if len(students) > 1:
        average = mean(student.score for student in students)
        text += f", the highest of {len(students)} seeds; their mean is {100 * average:.1f}"
    console.print(text)


def _freeze(store: "Store") -> None:
    from sweeps.outcome.freeze import freeze
    from sweeps.outcome.loaded import load_state
    from sweeps.show.next_step import resume_command

    frozen = freeze(store)
    chosen = frozen.chosen
    what = "the baseline, which nothing beat" if chosen == frozen.baseline else f"of study {chosen.study}"
    console.print(f"frozen: config {chosen.config_id} {what} ({frozen.why})")
    if frozen.seeds:
        seeds = ", ".join(map(str, frozen.seeds))
        console.print(f"this trains on the final seeds {seeds}:\n  {resume_command(store, load_state(store)[1])}")
