"""Several comparisons at once: Holm's step-down procedure, and intervals that agree with it."""

import numpy as np
from statsmodels.stats.multitest import multipletests


def holm(p: np.ndarray, alpha: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Adjusted p-values of one family, and the level at which each comparison's interval has to be drawn.

    With the p-values sorted, Holm (1979) rejects the j-th of m as long as ``p_(j) <= alpha / (m - j + 1)``. The
    interval of a rejected comparison is drawn at that level, those of all others at the level at which the
    procedure stopped. So an interval excludes 0 exactly where the adjusted p-value is below ``alpha``; each covers
    at least ``1 - alpha`` by itself, those that are not rejected also together.

    Args:
        p: Unadjusted p-values (m,); NaN where a comparison could not be made. It belongs to the family all the
            same, or else what failed would make the others look better.
        alpha: Familywise error rate.

    Returns:
        Adjusted p-values and levels, both (m,); NaN where ``p`` is NaN.
    """
    unknown = np.isnan(p)
    if not len(p) or unknown.all():
        return np.full(len(p), np.nan), np.full(len(p), np.nan)
    filled = np.where(unknown, 1.0, p)
    rejected, adjusted, *_ = multipletests(filled, alpha, method="holm")
    rank = np.argsort(np.argsort(filled, kind="stable"), kind="stable")
    step = alpha / (len(p) - rank)
    stopped = alpha / (len(p) - rejected.sum()) if not rejected.all() else alpha
    levels = np.where(rejected, step, stopped)
    return np.where(unknown, np.nan, adjusted), np.where(unknown, np.nan, levels)
