"""What a trial is worth: the one definition, used by scheduler, sampler, selection and report alike.

The score of a trial is its mIoU on the data role ``select``, as the mean of its last evaluations, of which there is one
unless the spec says otherwise (``score.last``). Never the best epoch: taking the best of many noisy epochs favors the
noisier config, and a method is not allowed to choose its stopping point on the data that it is judged by.
"""

import math
from collections.abc import Iterable, Mapping

from analysis.tables.metric_names import MIOU

OBJECTIVE = "select/miou"
DIRECTION = "maximize"
METRIC = MIOU
"""The metric of the objective; what a training reports after an epoch is on role ``select``."""

EpochMetrics = tuple[int, Mapping[str, float]]
"""An epoch and its metrics."""


def curve(evaluated: Mapping[int, float], last: int = 1) -> dict[int, float]:
    """What a trial would be worth if an evaluated epoch were its last one, by epoch.

    Args:
        evaluated: The mIoU (0..1) at every evaluated epoch, in any order.
        last: The evaluations whose mean it is; of earlier epochs, with fewer evaluations up to them, all.

    Returns:
        Means in ascending order of epochs; NaN where an evaluation in the mean is NaN.
    """
    epochs = sorted(evaluated)
    windows = {epoch: epochs[max(0, place + 1 - last) : place + 1] for place, epoch in enumerate(epochs)}
    return {epoch: sum(float(evaluated[each]) for each in window) / len(window) for epoch, window in windows.items()}


def evaluations(epochs: Iterable[EpochMetrics]) -> dict[int, float]:
    """The mIoU (0..1) at every evaluated epoch of one trial.

    Args:
        epochs: The epochs, in any order; an epoch that was not evaluated has no ``miou``. Of two entries for the same
            epoch the later one counts.
    """
    return {epoch: float(metrics[METRIC]) for epoch, metrics in epochs if metrics.get(METRIC) is not None}


def score(epochs: Iterable[EpochMetrics], last: int = 1) -> float | None:
    """The mIoU (0..1) of one trial, as the mean of its last evaluations.

    Args:
        epochs: As for `evaluations`.
        last: The evaluations whose mean is the score.

    Returns:
        The score, or None if the trial was never evaluated or one of these evaluations is not a finite number.
    """
    return _end(curve(evaluations(epochs), last))


def reached(epochs: Iterable[EpochMetrics], last: int = 1) -> float | None:
    """The same of the last evaluations that are finite numbers: what a training reached before it broke.

    Returns:
        The mIoU, or None if no evaluation gave a finite number.
    """
    finite = {epoch: miou for epoch, miou in evaluations(epochs).items() if math.isfinite(miou)}
    return _end(curve(finite, last))


def in_words(last: int = 1) -> str:
    """What a score is, in the words of reports and files."""
    if last == 1:
        return "mIoU on role select at the last evaluated epoch"
    return f"mIoU on role select, mean of the last {last} evaluated epochs"


def _end(values: Mapping[int, float]) -> float | None:
    """The value at the last epoch, if it is a finite number."""
    value = values[max(values)] if values else math.nan
    return value if math.isfinite(value) else None
