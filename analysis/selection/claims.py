"""What a comparison claims about configs: each study's best finalist against the baseline's, over fresh seeds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from scipy import special

from analysis.stats.seed_contrasts import Effects, effects

Row = Mapping[str, Any]

NOTHING: dict[str, Any] = {
    **dict.fromkeys(("low", "high", "p_holm", "mde", "gap_low", "gap_high"), float("nan")),
    "word": None,
    "unstable": False,
}


def config_claim(rows: Sequence[Row], smallest: float) -> Effects | None:
    """The one model of all studies: their best finalists on fresh seeds, the baseline's as the reference.

    Args:
        rows: One per study with ``study, is_baseline, confirmed, seeds, scores``.
        smallest: The practical threshold (fraction).

    Returns:
        None if the baseline or all others have no fresh seeds: the score that found a config is no evidence for it.
    """
    confirmed = [row for row in rows if row["confirmed"]]
    reference = next((row["study"] for row in confirmed if row["is_baseline"]), None)
    if reference is None or len(confirmed) < 2:
        return None
    scores = [
        (row["study"], seed, score)
        for row in confirmed
        for seed, score in zip(row["seeds"], row["scores"], strict=True)
    ]
    return effects(pd.DataFrame(scores, columns=["config", "seed", "score"]), reference, smallest)


def claim_columns(found: Effects | None, row: Row, gap: float) -> dict[str, Any]:
    """The claim for one study: ``low, high, p_holm, word, mde, unstable, gap_low, gap_high``, see ``compare``.

    Args:
        found: From ``config_claim``.
        row: Of the study, with ``study, seeds, differences``.
        gap: From the baseline's mean to the teacher's mIoU (fraction); NaN where it is not known or too small.
    """
    if found is None or not row["differences"]:
        return NOTHING
    mine = found.frame.set_index("config").loc[row["study"]].to_dict()
    low, high = share_of_gap(mine["difference"], gap, mine["se"], mine["df"], found.sd / math.sqrt(len(row["seeds"])))
    columns = {name: float(mine[name]) for name in ("difference", "low", "high", "p_holm", "mde")}
    return {
        **columns,
        "word": str(mine["word"]),
        "unstable": bool(mine["unstable"]),
        "gap_low": low,
        "gap_high": high,
    }


def share_of_gap(difference: float, gap: float, se: float, df: float, se_baseline: float) -> tuple[float, float]:
    """Fieller's 95 % interval (1954) for the share of the way from baseline to teacher that a config covers.

    The baseline's noise is in numerator and denominator; the teacher is one given checkpoint, without noise. By
    itself, without Holm. The covariance of the two is half the variance of the difference: equal spread of the
    configs is assumed, as in the model behind ``se``.

    Returns:
        Both ends; NaN where the gap itself cannot be told from 0 or anything is unknown.
    """
    unknown = float("nan"), float("nan")
    if not all(map(math.isfinite, (difference, gap, se, df, se_baseline))):
        return unknown
    t2 = float(special.stdtrit(df, 0.975)) ** 2
    a = gap**2 - t2 * se_baseline**2
    b = difference * gap - t2 * se**2 / 2
    c = difference**2 - t2 * se**2
    if a <= 0:
        return unknown
    root = math.sqrt(max(b**2 - a * c, 0.0))
    return (b - root) / a, (b + root) / a
