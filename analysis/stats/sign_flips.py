"""The joint distribution of several paired t tests if nothing differed, from the data: random signs of whole seeds.

If two configs are alike, their difference on a seed is as likely positive as negative. So every choice of signs, one
per seed for all comparisons at once, gives a data set that is as likely as the one that was seen. Nothing is assumed
about spreads, tails or correlations; but with few seeds there are few choices.
"""

import numpy as np
from scipy import special

_ALL = 12
_DRAWS = 4095
_STEPS = 5
"""The error rate has to be at least this many steps of the distribution, or its steps would cost the power: at 5 % from
8 seeds on, which have 128 different choices."""


def enough(n: np.ndarray, alpha: float) -> np.ndarray:
    """Which numbers of paired seeds give a distribution that is fine enough for a test at ``alpha``."""
    return alpha * 2.0 ** (np.asarray(n) - 1) >= _STEPS


def usable(n: float, alpha: float) -> float:
    """The part of ``alpha`` that a test on ``n`` paired seeds can spend: whole steps of the distribution."""
    if n > _ALL or not enough(np.array(n), alpha):
        return alpha
    steps = 2.0 ** (int(n) - 1)
    return float(np.floor(alpha * steps) / steps)


def flipped_p(differences: np.ndarray) -> np.ndarray:
    """The p-values of the paired t tests under joint sign flips.

    Args:
        differences: Of every comparison on every seed (m, seeds), NaN where a comparison lacks a seed.

    Returns:
        ``(m, choices)``, the signs as they are first; all choices up to 12 seeds, else 4096 of them.
    """
    present = np.isfinite(differences)
    d, n = np.where(present, differences, 0.0), present.sum(1)[:, None]
    mean = d @ _signs(d.shape[1]).T / n
    variance = np.maximum((d**2).sum(1)[:, None] - n * mean**2, 0.0) / (n - 1)
    t = np.divide(np.abs(mean), np.sqrt(variance / n), out=np.full(mean.shape, np.inf), where=variance > 0)
    return 2 * special.stdtr(n - 1, -t)


def _signs(seeds: int) -> np.ndarray:
    """Signs (choices, seeds). Turning all signs changes no two-sided test, so that the first seed keeps its own."""
    if seeds <= _ALL:
        bits = np.arange(2 ** (seeds - 1))[:, None] >> np.arange(seeds - 1) & 1
        return np.hstack([np.ones((len(bits), 1)), 1.0 - 2.0 * bits])
    drawn = np.random.default_rng(0).integers(0, 2, (_DRAWS, seeds)) * 2.0 - 1.0
    return np.vstack([np.ones(seeds), drawn])
