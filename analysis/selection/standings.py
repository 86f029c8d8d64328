"""Where configs stand among each other: intervals of their ranks, and the chance that each is the best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

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
    """Rank intervals by resampling every mean from the t distribution of its own spread over seeds.

    From three seeds on that all configs share, the means are drawn together, so that every difference of two configs
    has the t distribution of their paired test, whatever their spreads and the correlation by seed. Else every config
    is drawn by itself.

    Args:
        scores: By seed, of every config.

    Returns:
        One per config; None where a config has one seed.
    """
    n = np.array([len(by_seed) for by_seed in scores])
    if not len(n) or n.min() < 2:
        return None
    rng = np.random.default_rng(0)
    means = np.array([np.mean(list(by_seed.values())) for by_seed in scores])
    if n.min() >= _JOINT and len({frozenset(by_seed) for by_seed in scores}) == 1:
        rest = np.array([[by_seed[seed] for seed in scores[0]] for by_seed in scores]) - means[:, None]
        df = int(n[0]) - 1
        stretch = np.sqrt(df / rng.chisquare(df, (_RESAMPLES, 1)))
        noise = rng.standard_normal((_RESAMPLES, df + 1)) @ rest.T / math.sqrt(df * (df + 1)) * stretch
    else:
        errors = np.array([stats.sem(list(by_seed.values())) for by_seed in scores])
        noise = rng.standard_t(n - 1, (_RESAMPLES, len(n))) * errors
    ranks = stats.rankdata(-(means + noise), axis=1, method="ordinal")
    low, high = np.quantile(ranks, [0.025, 0.975], axis=0, method="inverted_cdf")
    best = (ranks == 1).mean(axis=0)
    return [Standing(int(a), int(b), float(p)) for a, b, p in zip(low, high, best, strict=True)]
