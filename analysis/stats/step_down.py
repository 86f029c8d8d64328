"""Several comparisons at once: step-down procedures, and intervals that agree with them.

All sort the p-values and reject one after the other, each as if only it and the larger ones had been compared, until
one is not rejected. The interval of a rejected comparison is drawn at the level of its step, those of all others at
the level at which the procedure stopped. So an interval excludes 0 exactly where the adjusted p-value is below
``alpha``; each covers at least ``1 - alpha`` by itself, those that are not rejected also together.
"""

from collections.abc import Callable

import numpy as np

Adjust = Callable[[int, float], float]
"""From the step (0, 1, ...) and a p-value to the chance of one as small among the comparisons that are left."""


def holm(p: np.ndarray, alpha: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Holm (1979): the j-th of m is rejected as long as ``p_(j) < alpha / (m - j + 1)``. Holds for any dependence.

    Args:
        p: Unadjusted p-values (m,); NaN where a comparison could not be made. It belongs to the family all the
            same, or else what failed would make the others look better.
        alpha: Familywise error rate.

    Returns:
        Adjusted p-values and levels, both (m,); NaN where ``p`` is NaN.
    """
    m = len(p)
    return _step_down(p, alpha, lambda step, x: (m - step) * x, lambda step: alpha / (m - step))


def sidak(
    p: np.ndarray, alpha: float = 0.05, planned: int = 0, flipped: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Step-down Sidak, sharper where the joint distribution under the null hypothesis is known.

    Two-sided tests of normal means keep to it whatever their correlation (Sidak 1967). Comparisons with one reference
    are correlated, so that it errs on the safe side; ``flipped`` measures how much, and how heavy the tails are
    (Westfall & Young 1993, step-down min p).

    Args:
        p: Unadjusted p-values (m,); NaN where a comparison could not be made.
        alpha: Familywise error rate.
        planned: Comparisons that were declared for the family, where that is more than ``m``.
        flipped: p-values under joint draws of the null hypothesis (m, draws), the data themselves first; rows of NaN
            for comparisons of which no draws are known.

    Returns:
        Adjusted p-values and levels, both (m,); NaN where ``p`` is NaN.
    """
    family, order = max(planned, len(p)), _order(p)
    drawn = np.zeros(len(p), dtype=bool) if flipped is None else ~np.isnan(flipped).any(1)
    if flipped is None or not drawn.any():
        return _step_down(
            p,
            alpha,
            lambda step, x: -np.expm1((family - step) * np.log1p(-min(x, 1.0))) if x < 1 else 1.0,
            lambda step: -np.expm1(np.log1p(-alpha) / (family - step)),
        )
    left = np.where(drawn[:, None], flipped, 1.0)[order]
    smallest = np.sort(np.minimum.accumulate(left[::-1])[::-1], axis=1)
    others = family - np.arange(len(p)) - np.cumsum(drawn[order][::-1])[::-1]

    def adjust(step: int, x: float) -> float:
        as_small = np.searchsorted(smallest[step], x * (1 + 1e-9), side="right") / smallest.shape[1]
        return float(1 - (1 - as_small) * (1 - min(x, 1.0)) ** others[step])

    def level(step: int) -> float:
        low, high = -700.0, 0.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if adjust(step, np.exp(middle)) < alpha else (low, middle)
        return float(np.exp(low))

    return _step_down(p, alpha, adjust, level)


def _order(p: np.ndarray) -> np.ndarray:
    return np.argsort(np.where(np.isnan(p), np.inf, p), kind="stable")


def _step_down(
    p: np.ndarray, alpha: float, adjust: Adjust, level: Callable[[int], float]
) -> tuple[np.ndarray, np.ndarray]:
    adjusted, levels = np.full((2, len(p)), np.nan)
    largest, stopped = 0.0, float("nan")
    for step, place in enumerate(_order(p)):
        if np.isnan(p[place]):
            break
        largest = max(largest, min(adjust(step, float(p[place])), 1.0))
        if np.isnan(stopped):
            levels[place] = level(step)
            if largest >= alpha:
                stopped = levels[place]
        else:
            levels[place] = stopped
        adjusted[place] = largest
    return adjusted, levels
