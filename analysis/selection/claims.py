"""What a comparison claims about configs: each study's best finalist against the baseline's, over fresh seeds."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import special

from analysis.selection.study_row import NAN, StudyRow
from analysis.stats.looks import NO_LOOKS, Looks
from analysis.stats.seed_contrasts import Effects, effects


@dataclass(frozen=True)
class Claim:
    """What is claimed of a study; by default nothing. Differences are fractions 0..1.

    Attributes:
        difference: To the baseline, estimated from the seeds that both have.
        low: Lower end of its interval, which agrees with ``p_holm``.
        high: Upper end.
        p_holm: Adjusted p-value.
        mde: Smallest difference that would be detected in 80 of 100 repetitions.
        word: One of ``analysis.stats.judge.WORDS``.
        gap_low: Lower end of the interval of the share of the way from baseline to teacher.
        gap_high: Upper end.
        withheld: Why there is no word, or a weaker one than that of the seeds alone; empty where nothing is.
    """

    difference: float = NAN
    low: float = NAN
    high: float = NAN
    p_holm: float = NAN
    mde: float = NAN
    word: str | None = None
    gap_low: float = NAN
    gap_high: float = NAN
    withheld: str = ""


def config_claims(
    rows: Sequence[StudyRow],
    smallest: float,
    looks: Looks = NO_LOOKS,
    burdens: Mapping[str, float] | None = None,
    controls: Collection[str] = (),
) -> Effects | None:
    """All methods in one family: their best finalists on fresh seeds, the baseline's as the reference.

    Args:
        rows: All studies of the sweep.
        smallest: The practical threshold (fraction).
        looks: The earlier looks at the sweep.
        burdens: By study, what is taken from its scores (fraction), see ``analysis.selection.withheld``.
        controls: The studies that are controls: a family of their own.

    Returns:
        None if the baseline or all others have no fresh seeds: the score by which a config was chosen is no evidence
        for it.
    """
    confirmed = [row for row in rows if row.best.confirmed]
    reference = next((row.study for row in confirmed if row.facts.is_baseline), None)
    if reference is None or len(confirmed) < 2:
        return None
    scores = [
        (row.study, seed, score - (burdens or {}).get(row.study, 0.0))
        for row in confirmed
        for seed, score in zip(row.best.seeds, row.best.scores, strict=True)
    ]
    frame = pd.DataFrame(scores, columns=["config", "seed", "score"])
    of_controls, of_reference = frame["config"].isin(list(controls)), frame["config"] == reference
    made = [  # the reference may be a control itself
        effects(family, reference, smallest, looks=looks)
        for family in (frame[~of_controls | of_reference], frame[of_controls | of_reference])
        if family["config"].nunique() > 1
    ]
    return replace(made[0], frame=pd.concat([each.frame for each in made], ignore_index=True))


def claim_of(claims: Effects, row: StudyRow, baseline: StudyRow, teacher: float) -> Claim:
    """The claim for one study.

    Args:
        claims: From ``config_claims``.
        row: The study, with seeds that the baseline has too.
        baseline: The baseline's.
        teacher: The teacher's mIoU (fraction); NaN where it is unknown or too little above the baseline.
    """
    effect = next(effect for effect in claims.frame.to_dict("records") if effect["config"] == row.study)
    low, high = NAN, NAN
    if math.isfinite(effect["se"]):
        mine = dict(zip(row.best.seeds, row.best.scores, strict=True))
        its = dict(zip(baseline.best.seeds, baseline.best.scores, strict=True))
        shared = [seed for seed in mine if seed in its]
        critical = (effect["high"] - effect["low"]) / 2 / effect["se"]
        low, high = share_of_gap([mine[seed] for seed in shared], [its[seed] for seed in shared], teacher, critical)
    return Claim(
        difference=float(effect["difference"]),
        low=float(effect["low"]),
        high=float(effect["high"]),
        p_holm=float(effect["p_holm"]),
        mde=float(effect["mde"]),
        word=str(effect["word"]),
        withheld=f"the scores are no evidence: {effect['no_evidence']}" if effect["no_evidence"] else "",
        gap_low=low,
        gap_high=high,
    )


def share_of_gap(
    scores: Sequence[float], baseline: Sequence[float], teacher: float, critical: float | None = None
) -> tuple[float, float]:
    """Fieller's interval (1954) for the share of the way from baseline to teacher that a config covers.

    All shares that a paired t test on ``score - baseline - share * (teacher - baseline)`` does not exclude. So it
    holds for any spreads of the two and any correlation by seed. The teacher is one given checkpoint, without noise.
    With the critical value of the difference's own interval, the two intervals hold 0 or exclude 0 together.

    Args:
        scores: Of the config, seed by seed.
        baseline: Of the baseline on the same seeds.
        teacher: The teacher's.
        critical: Of the t test; that of 95 % by default, without allowance for other comparisons and looks.

    Returns:
        Both ends; NaN where the gap itself cannot be distinguished from 0 or anything is unknown.
    """
    n, unknown = len(scores), (NAN, NAN)
    if n < 2 or not math.isfinite(teacher):
        return unknown
    difference, gap = np.subtract(scores, baseline), teacher - np.asarray(baseline)
    t2 = float(special.stdtrit(n - 1, 0.975) if critical is None else critical) ** 2 / n
    covariance = np.cov(difference, gap)
    a = gap.mean() ** 2 - t2 * covariance[1, 1]
    b = difference.mean() * gap.mean() - t2 * covariance[0, 1]
    c = difference.mean() ** 2 - t2 * covariance[0, 0]
    if a <= 0:
        return unknown
    root = math.sqrt(max(b**2 - a * c, 0.0))
    return float((b - root) / a), float((b + root) / a)
