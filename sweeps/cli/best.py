"""The command `kdsweep best`."""

from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Annotated

import typer

from kdtrain.errors import InputError
from sweeps.cli.options import Data, SweepDir, console, machine_of, path
from sweeps.cli.output import Force, teacher_output, write_output

if TYPE_CHECKING:
    from kdtrain.data import Images
    from sweeps.outcome.student import TrainedStudent
    from sweeps.spec.spec import SweepSpec
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
    soup: Annotated[
        bool,
        typer.Option(
            "--soup",
            help="With --student: take the mean of the weights of all its fresh seeds if that scores better on select.",
        ),
    ] = False,
    data: Data = None,
    limit: Annotated[
        float | None,
        typer.Option(help="Of a sweep with several limits in its target: the best config below this one of them."),
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

    Example: [bold]kdsweep best runs/camvid --limit 8 --out best-8ms.yaml --student out-8ms[/]
    """
    from analysis.report.best_evidence import best_evidence
    from sweeps.attempt.teacher_place import teacher_store
    from sweeps.outcome.best_file import best_document
    from sweeps.outcome.int8_scores import in_words, read_scores, with_int8
    from sweeps.outcome.limit import require_limit
    from sweeps.outcome.loaded import load_state
    from sweeps.outcome.results import write_again
    from sweeps.outcome.student import chosen_students
    from sweeps.outcome.tabulate import short_tables
    from sweeps.show.next_step import last_lines, next_step
    from sweeps.store.store import Store

    if freeze and limit is not None:
        raise InputError("--freeze: makes the selection of the largest limit final; leave --limit out")
    if soup and student is None:
        raise InputError("--soup: give the folder to write to, as in --student out --soup")
    store = Store(sweep)
    spec, state = load_state(store)
    teacher = teacher_store(spec, store)
    if freeze:
        _freeze(store)
        write_again(store, teacher)
        spec, state = load_state(store)
    tables = short_tables(state, spec, store.place)
    if limit is not None:
        require_limit(limit, tables, store, "--limit")
    students = chosen_students(store, tables, limit)
    chosen = with_int8(best_evidence(tables, limit), store, students, read_scores(store))
    beside = Store(out.parent) if out is not None else store
    text = best_document(chosen, teacher, students[0].folder if students else None, beside)
    said = chosen["evidence"]["verdict"]
    if student is not None:
        _write_student(store, students, student, force, _select(spec, data) if soup else None)
        if line := in_words(chosen["evidence"]):
            console.print(line)
    step = "" if freeze else next_step(store, spec, state, said.get("decide", ""))  # said at the freeze
    last = last_lines(said["headline"], step)
    if out is not None:
        write_output(out, text, force)
        console.print(str(out))
    elif not freeze and student is None:
        console.write(text)
        last = "\n".join(f"# {line}" for line in last.splitlines())  # what is printed is YAML
    console.print(last)


def _select(spec: "SweepSpec", data: Path | None) -> "tuple[Images, float]":
    """The images that a soup is measured on, and the factor on them."""
    from kdtrain.data import open_role

    machine = machine_of(data, None)
    images = open_role(spec.data, "select", machine.data_root, machine.cache)
    return images, spec.config_for(spec.studies[0]).eval_scale


def _write_student(
    store: "Store",
    students: "list[TrainedStudent]",
    folder: Path,
    force: bool,
    measured_on: "tuple[Images, float] | None",
) -> None:
    """Write the best of the trained students of the chosen config to a folder, or a soup of them if that is better."""
    if not students:
        raise InputError(
            f"--student: {store} holds no trained student of the chosen config; write the config with --out and train "
            "it with `kdsweep train`"
        )
    best, of_soup = students[0], None
    with teacher_output(folder, force) as scratch:
        if measured_on is not None and len(students) > 1:
            from sweeps.outcome.soup import make_soup

            of_soup = make_soup(students, *measured_on, scratch).miou or 0.0
        if of_soup is None or of_soup <= best.score:
            for file in scratch.iterdir():
                file.unlink()
            best.folder.pull("", scratch)
    score = f"mIoU {100 * best.score:.1f} on select"
    if len(students) > 1:
        average = mean(student.score for student in students)
        score += f", the highest of {len(students)} seeds; their mean is {100 * average:.1f}"
    if of_soup is not None and of_soup > best.score:
        console.print(f"soup of {len(students)} seeds in {folder}: mIoU {100 * of_soup:.1f} on select")
        console.print(f"the best student, of seed {best.seed}: {score}")
        return
    console.print(f"student of seed {best.seed} in {folder}: {score}")
    if of_soup is not None:
        console.print(f"the mean of their weights is not better: mIoU {100 * of_soup:.1f} on select")
    elif measured_on is not None:
        console.print("there is one trained student, so no soup")


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
