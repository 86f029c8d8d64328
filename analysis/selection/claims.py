"""What a comparison claims about configs: each study's best finalist against the baseline's, over fresh seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from scipy import special

from analysis.selection.study_row import NAN, StudyRow
from analysis.stats.seed_contrasts import Effects, effects


@dataclass(frozen=True)
class Claim:
    """What is claimed of a study; by default nothing. Differences are fractions 0..1.

    Attributes:
        difference: To the baseline, estimated from the model of all configs.
        low: Lower end of its interval, which agrees with ``p_holm``.
        high: Upper end.
        p_holm: Adjusted p-value.
        mde: Smallest difference that would be detected in 80 of 100 repetitions.
        word: One of ``analysis.stats.judge.WORDS``.
        unstable: Whether its seeds, or the baseline's, spread further than chance explains.
        gap_low: Lower end of the interval of the share of the way from baseline to teacher.
        gap_high: Upper end.
    """

    difference: float = NAN
    low: float = NAN
    high: float = NAN
    p_holm: float = NAN
    mde: float = NAN
    word: str | None = None
    unstable: bool = False
    gap_low: float = NAN
    gap_high: float = NAN


def config_claims(rows: Sequence[StudyRow], smallest: float) -> Effects | None:
    """The one model of all studies: their best finalists on fresh seeds, the baseline's as the reference.

    Args:
        rows: All studies of the sweep.
        smallest: The practical threshold (fraction).

    Returns:
        None if the baseline or all others have no fresh seeds: the score by which a config was chosen is no evidence
        for it.
    """
    confirmed = [row for row in rows if row.best.confirmed]
    reference = next((row.study for row in confirmed if row.facts.is_baseline), None)
    if reference is None or len(confirmed) < 2:
        return None
    scores = [
        (row.study, seed, score)
        for row in confirmed
        for seed, score in zip(row.best.seeds, row.best.scores, strict=True)
    ]
    return effects(pd.DataFrame(scores, columns=["config", "seed", "score"]), reference, smallest)


def claim_of(claims: Effects, row: StudyRow, gap: float) -> Claim:
    """The claim for one study.

    Args:
        claims: From ``config_claims``.
        row: The study, with seeds that the baseline has too.
        gap: From the baseline's mean to the teacher's mIoU (fraction); NaN where it is unknown or too small.
    """
    effect = next(effect for effect in claims.frame.to_dict("records") if effect["config"] == row.study)
    difference, se, df = (float(effect[name]) for name in ("difference", "se", "df"))
    low, high = share_of_gap(difference, gap, se, df, claims.sd / math.sqrt(len(row.best.seeds)))
    return Claim(
        difference=difference,
        low=float(effect["low"]),
        high=float(effect["high"]),
        p_holm=float(effect["p_holm"]),
        mde=float(effect["mde"]),
        word=str(effect["word"]),
        unstable=bool(effect["unstable"]),
        gap_low=low,
        gap_high=high,
    )


def share_of_gap(difference: float, gap: float, se: float, df: float, se_baseline: float) -> tuple[float, float]:
    """Fieller's 95 % interval (1954) for the share of the way from baseline to teacher that a config covers.

    The baseline's noise is in numerator and denominator; the teacher is one given checkpoint, without noise. By
    itself, without Holm. The covariance of the two is half the variance of the difference: equal spread of the
    configs is assumed, as in the model behind ``se``.

    Returns:
        Both ends; NaN where the gap itself cannot be distinguished from 0 or anything is unknown.
    """
    unknown = NAN, NAN
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
