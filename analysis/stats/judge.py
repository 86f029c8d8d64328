"""From estimated differences to words, the same way for whatever was compared: one family, one error rate."""

import numpy as np
import pandas as pd
from scipy import special

from analysis.stats.holm import holm

WORDS = ("separated", "not separated", "equivalent")
POWER = 0.8
NO_NOISE = 1e-9
"""A standard error below this is none."""


def judged(
    difference: np.ndarray, se: np.ndarray, df: np.ndarray, smallest: float, alpha: float = 0.05, planned: int = 0
) -> pd.DataFrame:
    """What the differences of one family say.

    *separated* if ``p_holm`` is below ``alpha`` and the difference beyond ``smallest``; *equivalent* if the whole
    interval lies within ``smallest`` of 0; else *not separated*, as where no standard error is known.

    Args:
        difference: Estimates (m,), fractions.
        se: Their standard errors (m,), NaN where unknown; 0 gives an interval of width 0.
        df: Degrees of freedom of those (m,).
        smallest: The practical threshold, declared before the runs (fraction).
        alpha: Familywise error rate.
        planned: Comparisons that were declared for the family, where that is more than came to a result.

    Returns:
        One row per difference: ``low, high`` (interval that agrees with ``p_holm``, see ``analysis.stats.holm``), ``p,
        p_holm, word`` and ``mde``, the smallest true difference detected in 80 of 100 repetitions.
    """
    exact = se < NO_NOISE
    t = np.divide(np.abs(difference), se, out=np.zeros(len(se)), where=~exact)
    p = np.where(exact, np.abs(difference) < NO_NOISE, 2 * special.stdtr(df, -t))
    family = max(planned, len(p))
    p_holm, levels = (column[: len(p)] for column in holm(np.append(p, np.full(family - len(p), np.nan)), alpha))
    half = special.stdtrit(df, 1 - levels / 2) * se
    low, high = difference - half, difference + half
    words = [_word(*row, smallest, alpha) for row in zip(difference, low, high, p_holm, strict=True)]
    mde = detectable(se, df, family, POWER, alpha)
    return pd.DataFrame({"low": low, "high": high, "p": p, "p_holm": p_holm, "word": words, "mde": mde})


def detectable(se: np.ndarray, df: np.ndarray, comparisons: int, power: float, alpha: float) -> np.ndarray:
    """Smallest true differences detected with the given power by the first step of Holm's procedure.

    The other tail of the noncentral t distribution is left out: it adds nothing at a power that is of use.
    """
    critical = special.stdtrit(df, 1 - alpha / max(comparisons, 1) / 2)
    return se * special.nctdtrinc(df, 1 - power, critical)


def _word(difference: float, low: float, high: float, p_holm: float, smallest: float, alpha: float) -> str:
    separated, not_separated, equivalent = WORDS
    if p_holm < alpha and abs(difference) > smallest:
        return separated
    return equivalent if low >= -smallest and high <= smallest else not_separated
