"""What a trial is worth: the one definition, used by scheduler, sampler, selection and report alike.

The score of a trial is its mIoU on the data role ``select`` at the last epoch that was evaluated. Never the
best epoch: taking the best of many noisy epochs favors the noisier config, and a method is not allowed to
choose its stopping point on the data that it is judged by.
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


def score(epochs: Iterable[EpochMetrics]) -> float | None:
    """The mIoU (0..1) at the last evaluated epoch of one trial.

    Args:
        epochs: The epochs of one trial, in any order; an epoch that was not evaluated has no ``miou``. Of two entries
            for the same epoch the later one counts.

    Returns:
        The score, or None if the trial was never evaluated or its last evaluation is not a finite number.
    """
    evaluated = {epoch: metrics[METRIC] for epoch, metrics in epochs if metrics.get(METRIC) is not None}
    if not evaluated:
        return None
    last = float(evaluated[max(evaluated)])
    return last if math.isfinite(last) else None


def reached(epochs: Iterable[EpochMetrics]) -> float | None:
    """The last mIoU (0..1) of one trial that is a finite number: what a training reached before it broke.

    Args:
        epochs: As for `score`.

    Returns:
        The mIoU, or None if no evaluation gave a finite number.
    """
    evaluated = {epoch: metrics[METRIC] for epoch, metrics in epochs if metrics.get(METRIC) is not None}
    finite = {epoch: float(miou) for epoch, miou in evaluated.items() if math.isfinite(miou)}
    return finite[max(finite)] if finite else None
