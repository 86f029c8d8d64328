"""The tables of a sweep: one Parquet file each, explicit schema, units in the metadata of the fields.

Fractions are 0..1, durations end in ``_s`` (or are called ``seconds``), sizes in ``_bytes``. A missing value
is null, never 0 or -1. A required field (not nullable) is always there.
"""

import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.errors import InputError

FOLDER = "tables"

Rows = Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]] | pd.DataFrame
"""Rows of one table: a list of dicts, or a dict of columns (for the long tables), or a frame."""

_TEXT, _INT, _REAL, _FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_TIME = pa.timestamp("us", tz="UTC")
_TEXTS, _INTS, _REALS = pa.list_(_TEXT), pa.list_(_INT), pa.list_(_REAL)


def _schema(**fields: Any) -> pa.Schema:
    """A schema from ``name=type`` or ``name=(type, unit)``; a name that ends in ``_or_null`` may be null."""
    built = []
    for key, value in fields.items():
        kind, unit = value if isinstance(value, tuple) else (value, None)
        name = key.removesuffix("_or_null")
        built.append(pa.field(name, kind, nullable=name != key, metadata={"unit": unit} if unit else None))
    return pa.schema(built)


SCHEMAS: dict[str, pa.Schema] = {
    "sweeps": _schema(
        sweep_id=_TEXT,
        name=_TEXT,
        created_at=(_TIME, "UTC"),
        kdsweep_version=_TEXT,
        objective=_TEXT,
        direction=_TEXT,
        seed=_INT,
        sampler=_TEXT,
        scheduler=_TEXT,
        budget_trials_or_null=(_INT, "trials per study"),
        budget_epochs_or_null=(_INT, "epochs per study"),
        confirm_top=(_INT, "configs per study"),
        confirm_seeds=(_INT, "seeds per config"),
        baseline_or_null=_TEXT,
        purpose=_TEXT,
        design_or_null=_TEXT,
        spec_json=_TEXT,
        data_name=_TEXT,
        num_classes=(_INT, "classes"),
        classes=_TEXTS,
        palette=(_TEXTS, "#rrggbb"),
        finished=_FLAG,
    ),
    "studies": _schema(
        sweep_id=_TEXT,
        study=_TEXT,
        method=_TEXT,
        scientific_json=_TEXT,
        space_json=_TEXT,
        citation_or_null=_TEXT,
        searched_parameters=(_INT, "parameters"),
        budget_trials_or_null=(_INT, "trials"),
        budget_epochs_or_null=(_INT, "epochs"),
        spent_trials=(_INT, "trials"),
        spent_epochs=(_INT, "epochs"),
        spent_s=(_REAL, "s"),
        is_baseline=_FLAG,
    ),
    "trials": _schema(
        sweep_id=_TEXT,
        trial_id=_TEXT,
        study=_TEXT,
        number=_INT,
        phase=_TEXT,
        candidate_of_or_null=_TEXT,
        config_id=_TEXT,
        seed=_INT,
        state=_TEXT,
        reason_or_null=_TEXT,
        attempts=(_INT, "attempts"),
        epochs_planned=(_INT, "epochs"),
        epochs_run=(_INT, "epochs"),
        started_at_or_null=(_TIME, "UTC"),
        ended_at_or_null=(_TIME, "UTC"),
        seconds_or_null=(_REAL, "s, all attempts"),
        teacher_s_or_null=(_REAL, "s"),
        score_or_null=(_REAL, "fraction 0..1"),
        params_or_null=(_INT, "parameters"),
        macs_or_null=(_INT, "multiply-accumulates"),
        latency_ms_or_null=(_REAL, "ms"),
        latency_device_or_null=_TEXT,
        environment_id_or_null=_TEXT,
        config_json=_TEXT,
    ),
    "params": _schema(
        sweep_id=_TEXT,
        trial_id=_TEXT,
        name=_TEXT,
        value_json=_TEXT,
        value_or_null=(_REAL, "as the parameter"),
        role=_TEXT,
    ),
    "metrics": _schema(
        sweep_id=_TEXT,
        trial_id=_TEXT,
        epoch=(_INT, "finished epochs"),
        name=_TEXT,
        value_or_null=(_REAL, "miou, pixel_accuracy: fraction 0..1; seconds/*: s; *_bytes: bytes"),
    ),
    "evaluations": _schema(
        sweep_id=_TEXT,
        eval_id=_TEXT,
        trial_id=_TEXT,
        epoch=(_INT, "finished epochs"),
        role=_TEXT,
        data_digest=_TEXT,
        n_images=(_INT, "images"),
        miou_or_null=(_REAL, "fraction 0..1"),
        pixel_accuracy_or_null=(_REAL, "fraction 0..1"),
        iou=(_REALS, "fraction 0..1 per class, null where the class is absent"),
        precision=(_REALS, "fraction 0..1 per class, null where undefined"),
        recall=(_REALS, "fraction 0..1 per class, null where undefined"),
        f1=(_REALS, "fraction 0..1 per class, null where undefined"),
    ),
    "confusion": _schema(
        eval_id=_TEXT,
        image_id=_TEXT,
        group_id=_TEXT,
        gt=(pa.int16(), "class id"),
        pred=(pa.int16(), "class id"),
        n=(_INT, "pixels"),
    ),
    "teachers": _schema(
        sweep_id=_TEXT,
        digest=_TEXT,
        name=_TEXT,
        arch=_TEXT,
        encoder_or_null=_TEXT,
        params_or_null=(_INT, "parameters"),
        macs_or_null=(_INT, "multiply-accumulates"),
        trained_on_or_null=_TEXT,
        miou_or_null=(_REAL, "fraction 0..1"),
        role_or_null=_TEXT,
        seconds_or_null=(_REAL, "s"),
        source=_TEXT,
        iou_or_null=(_REALS, "fraction 0..1 per class, null where the class is absent"),
        config_json_or_null=_TEXT,
    ),
    "environments": _schema(
        environment_id=_TEXT,
        python=_TEXT,
        torch=_TEXT,
        ray_or_null=_TEXT,
        optuna_or_null=_TEXT,
        platform=_TEXT,
        device=_TEXT,
        device_name_or_null=_TEXT,
        num_threads=(_INT, "threads"),
        git_commit_or_null=_TEXT,
        git_dirty_or_null=_FLAG,
        versions_json=_TEXT,
        kdsweep_version=_TEXT,
    ),
    "decisions": _schema(
        sweep_id=_TEXT,
        n=(_INT, "ledger record"),
        at=(_TIME, "UTC"),
        kind=_TEXT,
        trial_id_or_null=_TEXT,
        study_or_null=_TEXT,
        epoch_or_null=(_INT, "finished epochs"),
        rung_or_null=(_INT, "finished epochs"),
        value_or_null=(_REAL, "fraction 0..1"),
        detail=_TEXT,
    ),
    "cells": _schema(
        sweep_id=_TEXT,
        design=_TEXT,
        cell=_TEXT,
        role=_TEXT,
        factor_or_null=_TEXT,
        level_or_null=_TEXT,
        family=_TEXT,
    ),
    "selections": _schema(
        sweep_id=_TEXT,
        study=_TEXT,
        trial_id_or_null=_TEXT,
        config_id=_TEXT,
        screen_score_or_null=(_REAL, "fraction 0..1"),
        seeds=_INTS,
        scores=(_REALS, "fraction 0..1, in the order of seeds"),
        mean_or_null=(_REAL, "fraction 0..1"),
        sd_or_null=(_REAL, "fraction 0..1"),
        n=(_INT, "seeds"),
        rank=_INT,
        chosen=_FLAG,
        optimism_or_null=(_REAL, "fraction 0..1"),
        config_json=_TEXT,
    ),
}


def empty_tables() -> dict[str, pd.DataFrame]:
    """Every table without a row, with the columns and types of its schema."""
    return {name: schema.empty_table().to_pandas() for name, schema in SCHEMAS.items()}


def write_table(folder: str | Path, name: str, rows: Rows) -> Path:
    """Write ``folder/<name>.parquet`` (zstd): whole or not at all, same rows give the same bytes.

    Args:
        folder: The folder of the tables themselves (``D/tables`` of a sweep ``D``); made if missing.
        name: One of ``SCHEMAS``.
        rows: The rows, in the order in which they are stored. A field that may be null may be left out.

    Raises:
        InputError: An unknown table or column, a missing required value, a value of the wrong type.
    """
    if name not in SCHEMAS:
        raise InputError(f"table: one of {', '.join(SCHEMAS)} is allowed, got '{name}'")
    table = _to_arrow(name, rows)
    target = Path(folder) / f"{name}.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=target.parent, prefix=f".{name}-", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).replace(target)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
    return target


def read_tables(sweep: str | Path, names: Collection[str] = tuple(SCHEMAS)) -> dict[str, pd.DataFrame]:
    """The tables of a sweep folder ``D`` (files ``D/tables/<name>.parquet``).

    Args:
        sweep: The folder ``D``.
        names: Which tables to read; the others come empty (``confusion`` and ``metrics`` may be long).

    Returns:
        One frame per name in ``SCHEMAS``; a table whose file is not there is empty. Nullable integers come as
        floats with NaN where a value is missing, lists as numpy arrays.

    Raises:
        InputError: There is no table at all, or one does not read or lacks a column.
    """
    folder = Path(sweep) / FOLDER
    if not (folder / "trials.parquet").is_file():
        raise InputError(
            f"no tables in {folder} (looked for trials.parquet): run `kdsweep tables {sweep}` "
            "or give the folder of a sweep"
        )
    tables = empty_tables()
    for name in names:
        path = folder / f"{name}.parquet"
        if path.is_file():
            tables[name] = _read(path, SCHEMAS[name])
    return tables


def _to_arrow(name: str, rows: Rows) -> pa.Table:
    schema = SCHEMAS[name]
    given = set(rows.keys()) if isinstance(rows, pd.DataFrame | Mapping) else set().union(*rows)
    if unknown := sorted(given - set(schema.names)):
        raise InputError(f"table {name}: unknown column '{unknown[0]}'; known: {', '.join(schema.names)}")
    try:
        if isinstance(rows, pd.DataFrame):
            table = pa.Table.from_pandas(rows.reindex(columns=schema.names), schema, preserve_index=False)
            table = table.replace_schema_metadata(None)
        elif isinstance(rows, Mapping):
            length = len(next(iter(rows.values()), []))
            columns = {column: rows.get(column, [None] * length) for column in schema.names}
            table = pa.Table.from_pydict(columns, schema)
        else:
            table = pa.Table.from_pylist(list(rows), schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
        raise InputError(f"table {name}: a value does not fit its column: {error}") from error
    for field, column in zip(schema, table.columns, strict=True):
        if not field.nullable and column.null_count:
            raise InputError(f"table {name}: '{field.name}' is required, {column.null_count} rows lack it")
    return table


def _read(path: Path, schema: pa.Schema) -> pd.DataFrame:
    try:
        return pq.read_table(path, columns=schema.names, partitioning=None).cast(schema).to_pandas()
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"table {path} does not read ({reason}): rebuild it with `kdsweep tables {path.parent.parent}`"
        ) from error
