"""From the ledger to the tables: a pure function, so that the tables can be rebuilt at any time."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from analysis.selection.select import select
from analysis.tables import metric_names, parquet, scores
from analysis.tables.files import Rows, arrow_table
from analysis.tables.fixed import FixedTables
from analysis.tables.folder import FOLDER
from analysis.tables.schemas import SCHEMAS
from kdtrain.errors import InputError
from kdtrain.loop.reports import EpochReport
from kdtrain.methods import get_method
from kdtrain.space import Scalar
from sweeps.ledger.decisions import Decision
from sweeps.ledger.grow_command import grow_command
from sweeps.ledger.looks import before
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_record import TrialRecord
from sweeps.ledger.trial_state import Phase
from sweeps.outcome.audit_rows import audit_rows
from sweeps.outcome.code_columns import code_columns
from sweeps.outcome.cost_rows import cost_rows
from sweeps.outcome.evaluation_rows import confusion_columns, confusion_parts, evaluation_rows
from sweeps.outcome.loaded import load_with_extent
from sweeps.outcome.pull_rows import pull_rows, ratios_of, weights_of_pulls
from sweeps.spec.controls import control_kinds
from sweeps.spec.pulls import Ratio
from sweeps.spec.spec import SweepSpec
from sweeps.spec.study import Study
from sweeps.store.store import Store, open_store

Row = dict[str, object]
"""A row of a table, by column."""
Columns = dict[str, list[Any]]
"""The columns of a table, each with its values."""
_LONG = ("metrics", "confusion")
"""Tables that `select` does not read."""


def write_tables(sweep: Store | Path | str, place: str | None = None) -> dict[str, str]:
    """Write `D/tables/*.parquet`, which name the records that they are made from: the same ledger gives the same bytes.

    Args:
        sweep: The folder or URI.
        place: The `Store.place` of the sweep, where this is a copy of its ledger.

    Returns:
        The key of every table in the sweep's store, by the table's name.

    Raises:
        InputError: If there is no sweep, or its ledger is damaged.
        StorageError: If the store cannot be written.
    """
    store = open_store(sweep)
    spec, state, extent = load_with_extent(store)
    tables = _tables(state, spec, place or store.place, SCHEMAS.keys() - {"selections", "confusion"})
    tables["selections"] = arrow_table("selections", select(_short_frames(tables)))
    confusion = confusion_parts(state.sweep.sweep_id, tabulated(state))
    keys = {name: f"{FOLDER}/{name}.parquet" for name in SCHEMAS}
    for name, key in keys.items():
        parts = confusion if name == "confusion" else [tables[name]]
        store.write(key, parquet.parts_to_bytes(SCHEMAS[name], parts, extent.text()))
    return keys


def short_frames(state: SweepState, spec: SweepSpec, place: str | None = None) -> FixedTables:
    """The tables that `select` reads, as frames; nothing is written."""
    return FixedTables(frames(state, spec, place, SCHEMAS.keys() - {*_LONG, "selections"}))


def short_tables(state: SweepState, spec: SweepSpec, place: str | None = None) -> FixedTables:
    """The tables with a few rows for each trial, `selections` among them, as frames; nothing is written."""
    tables = short_frames(state, spec, place)
    tables.add("selections", arrow_table("selections", select(tables)).to_pandas())
    return tables


def frames(
    state: SweepState,
    spec: SweepSpec,
    place: str | None,
    names: Collection[str],
    trials: Sequence[TrialRecord] | None = None,
) -> dict[str, pd.DataFrame]:
    """Some tables as frames, with the rows of some trials, or of all; nothing is written."""
    return {name: table.to_pandas() for name, table in _tables(state, spec, place, names, trials).items()}


def metrics_of(state: SweepState, trial_ids: Collection[str]) -> pd.DataFrame:
    """The rows of the table `metrics` that belong to some trials."""
    columns = _metrics(state.sweep.sweep_id, [state.trials[trial_id] for trial_id in trial_ids])
    frame: pd.DataFrame = arrow_table("metrics", columns).to_pandas()
    return frame


def _tables(
    state: SweepState,
    spec: SweepSpec,
    place: str | None,
    names: Collection[str] = (),
    trials: Sequence[TrialRecord] | None = None,
) -> dict[str, pa.Table]:
    return {name: arrow_table(name, table_rows) for name, table_rows in rows(state, spec, place, names, trials).items()}


def tabulated(state: SweepState) -> list[TrialRecord]:
    """The trials that have rows in the tables: all but audits."""
    return [trial for trial in state.trials.values() if trial.phase is not Phase.AUDIT]


def _short_frames(tables: Mapping[str, pa.Table]) -> dict[str, pd.DataFrame]:
    return {name: table.to_pandas() for name, table in tables.items() if name not in _LONG}


def rows(
    state: SweepState,
    spec: SweepSpec,
    place: str | None = None,
    names: Collection[str] = (),
    trials: Sequence[TrialRecord] | None = None,
) -> dict[str, Rows]:
    """The tables except `selections`, which is computed from the others.

    Args:
        state: The sweep.
        spec: Its spec.
        place: The `Store.place` of the sweep, for the command that goes on; none to take it for where it was begun.
        names: Of the tables; all without one.
        trials: The trials of which there are rows, some of ``tabulated``; all of them without.
    """
    sweep_id = state.sweep.sweep_id
    trials = tabulated(state) if trials is None else trials
    code = cache(lambda: code_columns(state))

    def of_sweep(items: Iterable[Row]) -> list[Row]:
        return [{"sweep_id": sweep_id, **item} for item in items]

    make: dict[str, Callable[[], Rows]] = {
        "sweeps": lambda: of_sweep([{**_sweep(state, spec, place), "code_json": code().code_json}]),
        "studies": lambda: of_sweep(_studies(state, spec)),
        "trials": lambda: of_sweep(
            [{**_trial(each, spec), "code_digest": code().code_digest[each.id]} for each in trials]
        ),
        "params": lambda: of_sweep([row for trial in trials for row in _params(trial, spec)]),
        "metrics": lambda: _metrics(sweep_id, trials),
        "evaluations": lambda: of_sweep(evaluation_rows(sweep_id, trials)),
        "confusion": lambda: confusion_columns(sweep_id, trials),
        "teachers": lambda: of_sweep([state.teacher.to_json()] if state.teacher else []),
        "environments": lambda: [_environment(environment) for environment in state.environments.values()],
        "decisions": lambda: of_sweep([_decision(decision) for decision in state.decisions]),
        "cells": lambda: of_sweep(
            [
                {
                    **cell.model_dump(exclude={"study", "levels"}),
                    "cell": cell.study,
                    "design": cell.design or spec.design or spec.purpose,
                    "levels_json": None if cell.levels is None else _json(cell.levels),
                }
                for cell in spec.cells
            ]
        ),
        "pulls": lambda: of_sweep(pull_rows(state, spec)),
        "audits": lambda: of_sweep(audit_rows(state)),
        "costs": lambda: of_sweep(cost_rows(state, spec)),
    }
    return {name: make[name]() for name in names or make}


def _sweep(state: SweepState, spec: SweepSpec, place: str | None) -> Row:
    data = state.sweep.data
    baseline, looks = spec.baseline, before(state.looks, state.look_now())
    return {
        "name": spec.name,
        "created_at": _time(state.begun_at),
        "kdsweep_version": state.sweep.kdsweep_version,
        "objective": scores.OBJECTIVE,
        "direction": scores.DIRECTION,
        "seed": spec.seed,
        "sampler": spec.sampler.name,
        "scheduler": spec.scheduler.name,
        "budget_trials": spec.budget.trials,
        "budget_epochs": spec.budget.epochs,
        "confirm_top": spec.confirm.top,
        "confirm_seeds": spec.confirm.first,
        "confirm_most": spec.confirm.most or None,
        "failures": spec.confirm.failures,
        "baseline": baseline.name if baseline else None,
        "purpose": spec.purpose,
        "design": spec.design,
        "spec_json": _json(state.sweep.spec),
        "data_name": data["name"],
        "num_classes": len(data["classes"]),
        "classes": data["classes"],
        "palette": data["palette"],
        "finished": state.finished,
        "looks": list(looks.seeds),
        "looks_spent": looks.spent,
        "looks_most": looks.most or None,
        "frozen_json": _frozen(state),
        "grow_command": grow_command(state.command, place),
    }


def _frozen(state: SweepState) -> str | None:
    if state.frozen is None or state.frozen_by is None:
        return None
    return _json({**state.frozen.to_json(), "at": state.frozen_by.at, "record": state.frozen_by.n})


def _decision(decision: Decision) -> Row:
    return {**decision._asdict(), "at": _time(decision.at)}


def _studies(state: SweepState, spec: SweepSpec) -> list[Row]:
    studies: list[Row] = []
    baseline, controls, ratio = spec.baseline, control_kinds(spec), ratios_of(state, spec)
    for study in spec.studies:
        space = spec.space_of(study)
        searched, defaults = state.of_study(study.name, Phase.SEARCH), _defaults(spec, study, ratio)
        studies.append(
            {
                "study": study.name,
                "method": study.method or "custom",
                "scientific_json": _json(study.set),
                "space_json": _json({path: domain.model_dump(mode="json") for path, domain in space.items()}),
                "defaults_json": None if defaults is None else _json(defaults),
                "citation": get_method(study.method).citation if study.method else None,
                "searched_parameters": len(space),
                "budget_trials": spec.budget.trials,
                "budget_epochs": spec.budget.epochs,
                "spent_trials": len(searched),
                "spent_epochs": sum(trial.epochs_run for trial in searched),
                "spent_s": sum(trial.seconds for trial in searched),
                "is_baseline": study == baseline,
                "control": controls.get(study.name),
                "repeats": spec.repeats_of(study),
            }
        )
    return studies


def _trial(trial: TrialRecord, spec: SweepSpec) -> Row:
    student = trial.result.student or {}
    return {
        "trial_id": trial.id,
        "study": trial.study,
        "number": trial.number,
        "phase": trial.phase,
        "search": trial.search,
        "candidate_of": trial.candidate_of,
        "config_id": trial.config_id,
        "seed": trial.seed,
        "state": trial.state,
        "reason": trial.reason.partition("\n")[0] if trial.reason else None,
        "traceback": (trial.reason or "").partition("\n")[2] or None,
        "failure": trial.failure,
        "attempts": trial.attempts,
        "retries": trial.retries,
        "epochs_planned": trial.epochs,
        "epochs_run": trial.epochs_run,
        "started_at": _time(trial.started_at),
        "ended_at": _time(trial.ended_at),
        "seconds": trial.seconds if trial.reports or trial.result.seconds is not None else None,
        "teacher_s": trial.result.teacher_s,
        "parts_json": _parts(trial),
        "asked": _sum(report.asked for report in _counted(trial)),
        "recorded": _sum(report.recorded for report in _counted(trial)),
        "replayed": _sum(report.replayed for report in _counted(trial)),
        "score": trial.score,
        "reached": trial.reached,
        "params": student.get("params"),
        "macs": student.get("macs"),
        "latency_ms": student.get("latency_ms"),
        "latency_device": student.get("latency_device"),
        "target_cost": spec.target.figure_of(trial.cost) if spec.target and trial.cost else None,
        "environment_id": trial.environment_id,
        "node": trial.node,
        "peak_memory_bytes": _peak_memory(trial),
        "reused_from": trial.reused_from,
        "config_json": _json(trial.config),
    }


def _environment(environment: Mapping[str, object]) -> Row:
    """An environment without its node: many nodes share an environment, and each trial names its node."""
    return {name: value for name, value in environment.items() if name != "node"}


def _peak_memory(trial: TrialRecord) -> int | None:
    peaks = (report.peak_memory_bytes for report in trial.reports.values())
    return max((peak for peak in peaks if peak is not None), default=None)


def _counted(trial: TrialRecord) -> list[EpochReport]:
    """The reports of the first `epochs_run` epochs: a pruned trial may have reported later epochs."""
    return [report for epoch, report in sorted(trial.reports.items()) if epoch <= trial.epochs_run]


def _parts(trial: TrialRecord) -> str | None:
    """Seconds by part, over all epochs."""
    parts: Counter[str] = Counter()
    for report in _counted(trial):
        parts.update(report.seconds)
    return _json(parts) if parts else None


def _sum(counts: Iterable[int | None]) -> int | None:
    """The sum of a count over all epochs; None if no report has the count."""
    counted = [count for count in counts if count is not None]
    return sum(counted) if counted else None


def _defaults(spec: SweepSpec, study: Study, ratio: Ratio) -> dict[str, Scalar] | None:
    """The published values of what a study searches; none where a pull is not measured yet."""
    try:
        return spec.defaults(study, ratio)
    except InputError:
        return None


def _params(trial: TrialRecord, spec: SweepSpec) -> Iterator[Row]:
    derived = weights_of_pulls(trial.config)
    for role, values in (
        ("nuisance", trial.params),
        ("scientific", spec.study(trial.study).set),
        ("derived", derived),
    ):
        for name, value in values.items():
            number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
            yield {
                "trial_id": trial.id,
                "name": name,
                "value_json": _json(value),
                "value": number,
                "role": role,
            }


def _metrics(sweep_id: str, trials: Sequence[TrialRecord]) -> Columns:
    """The table of metrics in columns, because it is the longest table."""
    columns: Columns = {"sweep_id": [], "trial_id": [], "epoch": [], "name": [], "value": []}
    for trial in trials:
        for epoch, report in sorted(trial.reports.items()):
            values = report_values(report)
            columns["sweep_id"] += [sweep_id] * len(values)
            columns["trial_id"] += [trial.id] * len(values)
            columns["epoch"] += [epoch] * len(values)
            columns["name"] += list(values)
            columns["value"] += list(values.values())
    return columns


def report_values(report: EpochReport) -> dict[str, float | None]:
    """The metrics of one epoch by name."""
    values: dict[str, float | None] = {**report.metrics, metric_names.LEARNING_RATE: report.lr}
    for term, parts in report.losses.items():
        values |= {metric_names.term_metric(term, part): value for part, value in parts.items()}
    values |= {metric_names.seconds_metric(part): value for part, value in report.seconds.items()}
    if report.peak_memory_bytes is not None:
        values[metric_names.PEAK_MEMORY] = float(report.peak_memory_bytes)
    if report.asked:
        values[metric_names.TEACHER_IMAGES] = float(report.asked)
    return values


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)
