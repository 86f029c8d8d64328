"""From estimated differences to words, the same way for whatever was compared: one family, one error rate."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import special

from analysis.stats.looks import ALPHA
from analysis.stats.power import detectable_ses, first_step, median_unbiased
from analysis.stats.sign_flips import usable
from analysis.stats.step_down import sidak
from analysis.stats.words import WORDS

NO_NOISE = 1e-7
"""Scores that differ by less than this are the same, and a standard error below it is unknown: it is no noise of
training, but a seed that was ignored or a result that was copied."""


def judged(
    difference: np.ndarray,
    se: np.ndarray,
    df: np.ndarray,
    smallest: float,
    alpha: float = ALPHA,
    planned: int = 0,
    now: float | None = None,
    flipped: np.ndarray | None = None,
) -> pd.DataFrame:
    """What the differences of one family say.

    *separated* if ``p_holm`` is below ``alpha`` and the difference beyond ``smallest``; *equivalent* if the whole
    interval lies within ``smallest`` of 0; else *not separated*, as where no standard error is known.

    Args:
        difference: Estimates (m,), fractions.
        se: Their standard errors (m,), NaN where unknown.
        df: Degrees of freedom of those (m,).
        smallest: The practical threshold, declared before the runs (fraction).
        alpha: Familywise error rate, of all looks together.
        planned: Comparisons that were declared for the family, where that is more than came to a result.
        now: The part of ``alpha`` that this look may spend (see ``analysis.stats.looks``); all of it by default.
        flipped: p-values under joint draws of the null hypothesis, see ``analysis.stats.step_down.sidak``.

    Returns:
        One row per difference: ``low, high`` (interval that agrees with ``p_holm``, see ``analysis.stats.step_down``),
        ``p, p_holm`` (adjusted for the family and the looks, to be compared with ``alpha``), ``word`` and ``mde``, the
        smallest true difference that is detected in 80 of 100 repetitions, too large as often as too small.
    """
    now = alpha if now is None else now
    se = np.where(se < NO_NOISE, np.nan, se)
    p = 2 * special.stdtr(df, -np.abs(difference) / se)
    adjusted, levels = sidak(p, now, planned, flipped)
    p_holm = np.minimum(adjusted * alpha / now, 1.0)
    half = -special.stdtrit(df, levels / 2) * se
    low, high = difference - half, difference + half
    words = [word_of(*row, smallest, alpha) for row in zip(difference, low, high, p_holm, strict=True)]
    family = max(planned, len(p))
    ses = [
        detectable_ses(float(freedom), first_step(usable(freedom + 1, now), family)) if freedom > 0 else np.nan
        for freedom in df
    ]
    mde = median_unbiased(se, df) * ses
    return pd.DataFrame({"low": low, "high": high, "p": p, "p_holm": p_holm, "word": words, "mde": mde})


def word_that_holds(words: Sequence[str], differences: Sequence[float]) -> str:
    """The word of a difference that was judged under several assumptions: the first, if it holds under all of them.

    Args:
        words: One per assumption.
        differences: The differences that they are about; *separated* has to be on the same side each time.
    """
    same_side = words[0] != WORDS[0] or len({difference > 0 for difference in differences}) == 1
    return words[0] if same_side and len(set(words)) == 1 else WORDS[1]


def word_of(difference: float, low: float, high: float, p_holm: float, smallest: float, alpha: float) -> str:
    """The word of one difference, by its interval and its adjusted p-value; see `judged`."""
    separated, not_separated, equivalent = WORDS
    if p_holm < alpha and abs(difference) > smallest:
        return separated
    return equivalent if low >= -smallest and high <= smallest else not_separated
