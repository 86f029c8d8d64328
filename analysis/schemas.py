"""The columns of every table, explicit, with units in the metadata of the fields.

Fractions are 0..1, durations end in ``_s`` (or are called ``seconds``), sizes in ``_bytes``. A missing value
is null, never 0 or -1. A required field (not nullable) is always there.
"""

from typing import Any

import pyarrow as pa

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
        traceback_or_null=_TEXT,
        failure_or_null=_TEXT,
        attempts=(_INT, "attempts"),
        retries_or_null=(_INT, "attempts after an error"),
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
        node_or_null=_TEXT,
        peak_memory_bytes_or_null=(_INT, "bytes of one GPU, held at most"),
        reused_from_or_null=_TEXT,
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
        gpu_count_or_null=(_INT, "GPUs that the process sees"),
        gpu_memory_bytes_or_null=(_INT, "bytes of one GPU"),
        gpu_driver_or_null=_TEXT,
        cuda_or_null=_TEXT,
        cudnn_or_null=_TEXT,
        cpu_name_or_null=_TEXT,
        cpu_count_or_null=(_INT, "logical CPUs"),
        num_threads=(_INT, "threads"),
        processes_or_null=(_INT, "processes that share a batch"),
        deterministic_algorithms_or_null=_FLAG,
        cudnn_deterministic_or_null=_FLAG,
        cudnn_benchmark_or_null=_FLAG,
        tf32_or_null=_TEXT,
        amp_or_null=_TEXT,
        code_digest_or_null=_TEXT,
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


LATER: dict[str, tuple[str, ...]] = {
    "trials": ("traceback", "failure", "retries", "node", "peak_memory_bytes", "reused_from"),
    "environments": (
        *("gpu_count", "gpu_memory_bytes", "gpu_driver", "cuda", "cudnn", "cpu_name", "cpu_count", "processes"),
        *("deterministic_algorithms", "cudnn_deterministic", "cudnn_benchmark", "tf32", "amp", "code_digest"),
    ),
}
"""Columns that were added later: tables written before lack them, and read with nulls in their place."""
