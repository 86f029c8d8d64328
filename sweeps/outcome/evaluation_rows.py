"""The tables of evaluations and of their confusion matrices, of which one at a time is unpacked."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from analysis.tables.files import arrow_table
from analysis.tables.schemas import SCHEMAS
from kdtrain.loop.evaluation import Evaluation
from sweeps.ledger.trial_record import TrialRecord

_TRIALS = 100
"""Trials of a part of the table of confusion matrices."""


def evaluation_rows(sweep_id: str, trials: Iterable[TrialRecord]) -> Iterator[dict[str, object]]:
    """The table of evaluations, without the column of the sweep."""
    for trial, evaluation in _evaluations(trials):
        yield {
            "eval_id": _eval_id(sweep_id, trial, evaluation),
            "trial_id": trial.id,
            "epoch": trial.epochs_run,
            "role": evaluation.role,
            "data_digest": evaluation.digest,
            "n_images": len(evaluation.image_ids),
            "miou": evaluation.miou,
            "pixel_accuracy": evaluation.pixel_accuracy,
            "iou": _list(evaluation.iou),
            "precision": _list(evaluation.precision),
            "recall": _list(evaluation.recall),
            "f1": _list(evaluation.f1),
        }


def confusion_columns(sweep_id: str, trials: Iterable[TrialRecord]) -> dict[str, Any]:
    """The cells of confusion matrices that are not zero, in columns of Arrow, because there may be many millions."""
    schema = SCHEMAS["confusion"]
    chunks: dict[str, list[pa.Array]] = {name: [] for name in schema.names}
    for trial, evaluation in _evaluations(trials):
        image, truth, predicted = np.nonzero(evaluation.confusion)
        values = {
            "eval_id": pa.repeat(_eval_id(sweep_id, trial, evaluation), len(image)),
            "image_id": pa.array(evaluation.image_ids, pa.string()).take(pa.array(image)),
            "group_id": pa.array(evaluation.groups, pa.string()).take(pa.array(image)),
            "gt": pa.array(truth),
            "pred": pa.array(predicted),
            "n": pa.array(evaluation.confusion[image, truth, predicted]),
        }
        for name, value in values.items():
            chunks[name].append(value.cast(schema.field(name).type))
    return {name: pa.chunked_array(chunks[name], schema.field(name).type) for name in schema.names}


def confusion_parts(sweep_id: str, trials: Sequence[TrialRecord]) -> Iterator[pa.Table]:
    """The same table in parts, each of some trials."""
    for first in range(0, len(trials), _TRIALS):
        yield arrow_table("confusion", confusion_columns(sweep_id, trials[first : first + _TRIALS]))


def _evaluations(trials: Iterable[TrialRecord]) -> Iterator[tuple[TrialRecord, Evaluation]]:
    """The evaluation of each trial on role select, and after the freeze that on role test."""
    for trial in trials:
        for content in (trial.result.evaluation, trial.result.held_out):
            if content:
                yield trial, Evaluation.from_dict(dict(content))


def _eval_id(sweep_id: str, trial: TrialRecord, evaluation: Evaluation) -> str:
    return f"{sweep_id}/{trial.id}/{evaluation.role}"


def _list(values: np.ndarray[Any, Any]) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
