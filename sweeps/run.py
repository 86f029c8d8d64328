"""A whole sweep: teacher, search, confirmation, tables, pictures, report and best config."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from analysis import read_tables
from analysis.report import write_report
from analysis.select import best
from kdtrain import EpochReport, Machine, train
from kdtrain.checkpoint import check_writable, write_atomically
from sweeps.best import best_document
from sweeps.context import TrainContext, describe_data, describe_environment, describe_teacher
from sweeps.driver import Driver, check_folder
from sweeps.inline import run_inline
from sweeps.plan import check
from sweeps.predictions import draw_predictions
from sweeps.progress import Display, points
from sweeps.spec import SweepSpec
from sweeps.tabulate import write_tables
from sweeps.teachers import Fit, fit_here, prepare_teacher, teacher_folder

RunTrials = Callable[[Driver, Machine, Callable[[], None]], None]


@dataclass(frozen=True)
class Outcome:
    """What a sweep leaves behind. `best` is none where no trial completed; see `analysis.select.best`."""

    finished: bool
    report: Path
    best_file: Path | None
    best: dict[str, Any] | None


def run_sweep(
    spec: SweepSpec,
    sweep: Path,
    machine: Machine,
    console: Console,
    address: str | None = None,
    inline: bool = False,
) -> Outcome:
    """Run a sweep to its end, or take it up where it was left.

    Args:
        spec: What to do.
        sweep: The folder `D`.
        machine: Where and with what.
        console: Where progress is shown.
        address: A running Ray cluster; one of our own on this machine where none is given.
        inline: One trial after the other in this process, without Ray.

    Raises:
        InputError: If anything that was handed in is wrong; before any training where it can be known.
        SweepAborted: If all trials fail in the same way.
    """
    check_folder(spec, sweep)
    check(spec, machine)
    check_writable(sweep)
    threads = machine.threads or max(1, int(spec.resources.cpu))
    machine = machine.model_copy(update={"threads": threads})
    with _place(inline, address, spec, console) as (fit, run_trials):
        found = prepare_teacher(spec, sweep, machine, fit)
        teacher = None
        if found is not None:
            folder, card = found
            machine = machine.model_copy(update={"teacher": folder.absolute()})
            config = spec.teacher_config
            teacher = describe_teacher(card, "fitted" if config else "given", config)
            console.print(f"teacher {card.digest}: {_said(card.miou)} on {card.role or 'nothing measured'}")
        context = TrainContext(describe_data(spec.data, machine), describe_environment(machine), teacher)
        with Driver(spec, sweep.absolute(), context, notice=console.print) as driver:
            with Display(spec, driver, console.print, console) as display:
                run_trials(driver, machine, display.update)
            finished = driver.state.finished
    return conclude(spec, sweep, machine, finished)


def conclude(spec: SweepSpec, sweep: Path, machine: Machine, finished: bool) -> Outcome:
    """Tables, best config, pictures and report, from the ledger and the trials' folders."""
    write_tables(sweep)
    tables = read_tables(sweep)
    chosen, file = None, sweep / "best.yaml"
    if len(tables["selections"]):
        chosen = best(tables)
        write_atomically(file, best_document(chosen, teacher_folder(spec, sweep), sweep).encode())
    models = _models(spec, sweep, tables["selections"], tables["trials"])
    eval_scale = spec.config_for(spec.studies[0]).eval_scale
    draw_predictions(sweep / "predictions", spec.data, machine, models, eval_scale)
    return Outcome(finished, write_report(sweep), file if chosen else None, chosen)


@contextmanager
def _place(inline: bool, address: str | None, spec: SweepSpec, console: Console) -> Iterator[tuple[Fit, RunTrials]]:
    """Where teacher and trials are trained: this process, or a Ray cluster."""

    def tell(report: EpochReport) -> None:
        console.print(f"teacher: epoch {report.epoch}/{report.epochs}  {_said(report.metrics.get('miou'))}")

    if inline:
        yield fit_here(tell), lambda driver, machine, on_step: run_inline(driver, train, machine, on_step)
        return
    from sweeps.launch.tune import cluster, fit_on_ray, run_on_ray

    with cluster(address):
        fit = fit_here(tell) if address is None else fit_on_ray(spec.resources, tell)
        yield fit, lambda driver, machine, on_step: run_on_ray(driver, machine, spec.resources, on_step)


def _models(spec: SweepSpec, sweep: Path, selections: pd.DataFrame, trials: pd.DataFrame) -> dict[str, Path]:
    """Model folders to show predictions of: the teacher, and the first fresh seed of the baseline and of the best."""
    models: dict[str, Path] = {}
    teacher = teacher_folder(spec, sweep)
    if teacher is not None:
        models["teacher"] = teacher
    trials = trials[trials["state"] == "complete"]

    def first_student(of: pd.DataFrame) -> Path | None:
        if of.empty:
            return None
        row = of.sort_values("rank").iloc[0]
        runs = trials[(trials["study"] == row["study"]) & (trials["config_id"] == row["config_id"])]
        runs = runs.sort_values(["phase", "seed"])  # confirm comes before search
        return sweep / "trials" / runs.iloc[0]["trial_id"] / "student" if len(runs) else None

    baseline = spec.baseline.name if spec.baseline else None
    wanted = {
        "baseline": selections[selections["study"] == baseline],
        "best": selections[selections["chosen"]],
    }
    for column, rows in wanted.items():
        folder = first_student(rows)
        if folder is not None and folder.is_dir():
            models[column] = folder
    return models


def _said(miou: float | None) -> str:
    return "not evaluated" if miou is None else f"mIoU {points(miou)}"
