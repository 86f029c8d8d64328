"""Where configs stand among each other: intervals of their ranks, and the chance that each is the best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 4000
_JOINT = 3
"""From so many seeds on the seeds say how the scores of the configs move together."""


@dataclass(frozen=True)
class Standing:
    """Where a config stands: its rank lies between `low` and `high` in 95 % of resamples; `best` is P(rank 1)."""

    low: int
    high: int
    best: float


def standings(scores: Sequence[Mapping[int, float]]) -> list[Standing] | None:
    """Rank intervals and chances from redrawn means.

    Args:
        scores: By seed, of every config.

    Returns:
        One per config; None where a config has one seed.
    """
    if min(map(len, scores), default=0) < 2:
        return None
    order = np.argsort(-redrawn_means(scores, _RESAMPLES), axis=1, kind="stable")
    ranks = np.argsort(order, axis=1) + 1
    low, high = np.quantile(ranks, [0.025, 0.975], axis=0, method="inverted_cdf")
    best = (ranks == 1).mean(axis=0)
    return [Standing(int(a), int(b), float(p)) for a, b, p in zip(low, high, best, strict=True)]


def redrawn_means(scores: Sequence[Mapping[int, float]], count: int, seed: int = 0) -> np.ndarray:
    """The means of configs as other seeds might have given them, each from the t distribution of its own spread.

    From three seeds on that all configs share, the means are drawn together, so that every difference of two configs
    has the t distribution of their paired test, whatever their spreads and the correlation by seed. Else every config
    is drawn by itself, one with a single seed from the spread pooled over the others.

    Args:
        scores: By seed, of every config.
        count: Redraws.
        seed: Of the redraws.

    Returns:
        ``(count, configs)``; without rows where no config has two seeds.
    """
    rng = np.random.default_rng(seed)
    values = [np.array(list(by_seed.values())) for by_seed in scores]
    means, df = np.array([each.mean() for each in values]), np.array([len(each) - 1 for each in values])
    if not df.any():
        return np.empty((0, len(values)))
    if df.min() >= _JOINT - 1 and len({frozenset(by_seed) for by_seed in scores}) == 1:
        rest = np.array([[by_seed[each] for each in scores[0]] for by_seed in scores]) - means[:, None]
        stretch = np.sqrt(df[0] / rng.chisquare(df[0], (count, 1)))
        return means + rng.standard_normal((count, df[0] + 1)) @ rest.T / math.sqrt(df[0] * (df[0] + 1)) * stretch
    squares = np.array([((each - each.mean()) ** 2).sum() for each in values])
    variances = np.where(df > 0, squares / np.maximum(df, 1), squares.sum() / df.sum())
    noise = rng.standard_t(np.where(df > 0, df, df.sum()), (count, len(df)))
    return means + noise * np.sqrt(variances / (df + 1))
