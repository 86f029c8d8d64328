"""The results of a sweep, from its ledger and trials: tables, best config, pictures and report."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis import read_tables
from analysis.extras import MissingExtraError
from analysis.report.best_evidence import best_evidence
from analysis.tables.json_columns import read_limits
from kdtrain.config import Machine
from kdtrain.errors import refused, unreadable
from kdtrain.runtime.atomic_files import write_atomically
from kdtrain.runtime.scratch import scratch_folder
from sweeps.ledger.ledger import copy_ledger
from sweeps.outcome.best_file import best_document
from sweeps.outcome.failures import Failed
from sweeps.outcome.int8_scores import measure_scores, read_scores, with_int8
from sweeps.outcome.student import chosen_students, local_copy, students_of
from sweeps.outcome.tabulate import write_tables
from sweeps.spec.spec import SweepSpec
from sweeps.store.generations import LEDGER
from sweeps.store.store import Store

if TYPE_CHECKING:
    from sweeps.attempt.teachers import Teacher


@dataclass(frozen=True)
class Results:
    """The paths of the report and `best.yaml`, the chosen config with its evidence, and the trials that failed.

    `report` is none where the packages that draw it are not installed, which `no_report` then says. `best_file` and
    `best` are none where no trial completed; `best` is from `analysis.report.best_evidence`.
    `next_step` is what to do next, with its command.
    """

    report: str | None
    best_file: str | None
    best: Mapping[str, Any] | None
    failed: tuple[Failed, ...] = ()
    next_step: str = ""
    no_report: str = ""


@contextlib.contextmanager
def local_folder(sweep: Store) -> Iterator[Path]:
    """A local folder with the sweep's ledger, in which results are made; leaving the block writes them to the sweep.

    On a disk it is the sweep's folder itself.

    Raises:
        StorageError: If a disk refuses.
    """
    if sweep.local is not None:
        sweep.check_there()
        with _refusals_named(sweep.local):
            yield sweep.local
        return
    with scratch_folder() as folder:
        copy_ledger(sweep, folder)
        sweep.pull("predictions", folder / "predictions")
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
        with _refusals_named(folder):
            yield folder
        for path in sorted(folder.rglob("*")):
            if path.is_file() and before.get(path) != path.stat().st_mtime_ns:
                sweep.write(path.relative_to(folder).as_posix(), path.read_bytes())


@contextlib.contextmanager
def scratch_results(sweep: Store) -> Iterator[Path]:
    """A scratch folder with the ledger, the tables and the pictures of a sweep, in which nothing of it is changed."""
    with scratch_folder() as folder:
        sweep.pull("predictions", folder / "predictions")
        if sweep.names(LEDGER):
            copy_ledger(sweep, folder)
            write_tables(folder, sweep.place)
        else:
            sweep.pull("tables", folder / "tables")
        yield folder


@contextlib.contextmanager
def _refusals_named(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        file = Path(error.filename or folder)
        raise (refused if folder in (file, *file.parents) else unreadable)(file, error) from error


def conclude(spec: SweepSpec, sweep: Store, machine: Machine, teacher: "Teacher | None") -> Results:
    """Write the results, from the ledger and the folders of the trials."""
    from sweeps.attempt.attempt import staged
    from sweeps.outcome.predictions import draw_predictions

    with local_folder(sweep) as folder:
        store = teacher.store if teacher else None
        tables, chosen = _write_tables_and_best(folder, sweep, store)
        if chosen is not None and spec.target is not None and spec.target.int8:
            chosen = _measure_int8(folder, sweep, spec, machine, tables, chosen, store)
        eval_scale = spec.config_for(spec.studies[0]).eval_scale
        with scratch_folder() as scratch:
            models = {name: local_copy(store, scratch / name) for name, store in _students(spec, sweep, tables)}
            if teacher is not None:
                local = teacher.store.local or staged(teacher.store, teacher.card.digest, machine.cache)
                models = {"teacher": local, **models}
            draw_predictions(folder / "predictions", spec.data, machine, models, eval_scale)
        report, no_report = _write_report(folder)
    place = _location(sweep, report) if report else None
    best_file = _location(sweep, "best.yaml") if chosen else None
    return Results(place, best_file, chosen, no_report=no_report)


def write_again(sweep: Store, teacher: Store | None) -> str | None:
    """Write tables, best config and report of a sweep whose trials are as they were, but not what its ledger says.

    Returns:
        The place of the report; none where the packages that draw it are not installed.
    """
    with local_folder(sweep) as folder:
        _write_tables_and_best(folder, sweep, teacher)
        report, _ = _write_report(folder)
    return _location(sweep, report) if report else None


def tables_now(sweep: Store) -> dict[str, pd.DataFrame]:
    """The tables of a sweep, made from its ledger; nothing is written to it, since others' sweeps may be read only."""
    with scratch_folder() as folder:
        copy_ledger(sweep, folder)
        write_tables(folder, sweep.place)
        return read_tables(folder)


def _write_tables_and_best(
    folder: Path, sweep: Store, teacher: Store | None
) -> tuple[dict[str, pd.DataFrame], Mapping[str, Any] | None]:
    """The tables of a sweep, and the chosen config with its evidence, both written to a folder."""
    write_tables(folder, sweep.place)
    tables = read_tables(folder)
    chosen: Mapping[str, Any] | None = best_evidence(tables) if tables["selections"]["chosen"].any() else None
    if chosen is not None:
        chosen = _write_best(folder, sweep, tables, chosen, read_scores(sweep), teacher)
    return tables, chosen


def _write_best(
    folder: Path,
    sweep: Store,
    tables: dict[str, pd.DataFrame],
    chosen: Mapping[str, Any],
    scores: Mapping[str, float | str],
    teacher: Store | None,
) -> Mapping[str, Any]:
    """Write the chosen config with its evidence, in which the scores in int8 are where some are known."""
    students = chosen_students(sweep, tables)
    chosen = with_int8(chosen, sweep, students, scores)
    text = best_document(chosen, teacher, students[0].folder if students else None, sweep)
    write_atomically(folder / "best.yaml", text.encode())
    return chosen


def _measure_int8(
    folder: Path,
    sweep: Store,
    spec: SweepSpec,
    machine: Machine,
    tables: dict[str, pd.DataFrame],
    chosen: Mapping[str, Any],
    teacher: Store | None,
) -> Mapping[str, Any]:
    """Measure the chosen student of each limit in int8, and write the chosen config with that of the largest."""
    limits = read_limits(tables)
    of_limits = (chosen_students(sweep, tables, limit) for limit in (limits.values[:-1] if limits else ()))
    students = [each[0] for each in (*of_limits, chosen_students(sweep, tables)) if each]
    with scratch_folder() as scratch:
        scores = measure_scores(folder, sweep, spec, machine, students, scratch)
    return _write_best(folder, sweep, tables, chosen, scores, teacher)


def _write_report(folder: Path) -> tuple[str | None, str]:
    """The path of the report below the folder; or none where the packages that draw it are missing, and what to do."""
    try:
        from analysis.report.sweep_report import write_report
    except MissingExtraError as missing:
        return None, str(missing)
    return write_report(folder).relative_to(folder).as_posix(), ""


def _students(spec: SweepSpec, sweep: Store, tables: dict[str, pd.DataFrame]) -> Iterator[tuple[str, Store]]:
    """Students to show predictions of: the first fresh seed of the baseline and of the best."""
    trials, selections = tables["trials"], tables["selections"]
    baseline = spec.baseline.name if spec.baseline else None
    for column, of in (("baseline", selections["study"] == baseline), ("best", selections["chosen"])):
        rows = selections[of].sort_values("rank")
        if rows.empty:
            continue
        row = rows.iloc[0]
        if student := next(students_of(sweep, trials, row["study"], row["config_id"]), None):
            yield column, student.folder


def _location(sweep: Store, key: str) -> str:
    return str(sweep.local / key) if sweep.local is not None else f"{sweep}: {key}"
