"""The claim about a config: are these settings better if the student is trained again? Only seeds can tell.

Every config is compared with one reference by the differences on the seeds that both were trained on: their mean, and
its standard error from their own spread (the paired t test). So it is valid whatever the configs' spreads are and
however the scores of a seed are related, and one noisy config spoils no other comparison. Says nothing about other
searches of the same method, nor about other images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from analysis.errors import AnalysisError
from analysis.formats import missing
from analysis.stats import sign_flips
from analysis.stats.judge import NO_NOISE, judged
from analysis.stats.looks import NO_LOOKS, Looks, alpha_at
from analysis.stats.power import detected, first_step, median_unbiased
from analysis.stats.spread import Spread, own_spreads, pooled_spread
from analysis.tables.json_columns import read_spec

SMALLEST = 0.003
"""Differences up to this (fraction, 0.3 points) do not matter in practice, where the sweep declares nothing else."""
PAIRED, WELCH = "paired", "welch"


@dataclass(frozen=True)
class Effects:
    """Configs against one reference, in one family of comparisons. Scores and differences are fractions 0..1.

    Attributes:
        frame: One row per config other than the reference, in the order in which they came: ``config, n`` (seeds),
            ``difference, low, high`` (interval that agrees with ``p_holm``), ``p, p_holm`` (adjusted, see
            ``analysis.stats.judge``), ``word`` (one of ``judge.WORDS``), ``df, se`` (of the difference), ``mde`` (see
            below, of this comparison), ``model`` (``paired`` or ``welch``), ``sd`` (of its scores over seeds),
            ``no_evidence`` (why its scores are none, in words; empty where they vary as those of trainings do).
        reference: The config that the others are compared with.
        reference_sd: Standard deviation of the reference's scores over seeds; NaN for one seed.
        spread: Standard deviation of a score over seeds, the root mean square over the configs, with its interval.
        rho: Correlation of the scores of two configs on the same seed, measured; NaN if it cannot be.
        rho_low: Lower end of its interval.
        rho_high: Upper end.
        mde: Smallest true difference that would be detected in 80 of 100 repetitions at this look: the median over the
            comparisons. NaN if nothing can be detected.
        difference_sd: Standard deviation of the paired difference over seeds, too large as often as too small: the
            median over the comparisons. What a plan of further seeds is built on.
        n: Seeds of the config that has fewest.
        comparisons: Size of the family.
        alpha: The familywise error rate that this look may spend.
        estimator: How the differences were estimated, for a caption.
        notes: What a reader has to know besides, one sentence each.
    """

    frame: pd.DataFrame
    reference: str
    reference_sd: float
    spread: Spread
    rho: float
    rho_low: float
    rho_high: float
    mde: float
    difference_sd: float
    n: int
    comparisons: int
    alpha: float
    estimator: str
    notes: tuple[str, ...]

    @property
    def sd(self) -> float:
        """Standard deviation of a score over seeds."""
        return self.spread.sd

    @property
    def words(self) -> dict[str, str]:
        """The word for each config other than the reference."""
        return dict(zip(self.frame["config"], self.frame["word"], strict=True))

    def chance_to_miss(self, gain: float) -> float:
        """How often a true difference of ``gain`` (fraction) would not be separated from 0: the median over configs.

        1 where nothing can be tested.
        """
        tested = self.frame[self.frame["se"].notna()]
        ses = gain / median_unbiased(tested["se"].to_numpy(float), tested["df"].to_numpy(float))
        missed = [
            1 - detected(float(each), float(df), first_step(sign_flips.usable(df + 1, self.alpha), self.comparisons))
            for each, df in zip(ses, tested["df"], strict=True)
        ]
        return float(np.median(missed)) if missed else 1.0


@dataclass(frozen=True)
class _Contrast:
    """One difference to the reference, its standard error and degrees of freedom; NaN where they are unknown."""

    difference: float
    se: float
    df: float
    model: str


def effects(
    scores: pd.DataFrame,
    reference: str,
    smallest: float = SMALLEST,
    confidence: float = 0.95,
    planned: int = 0,
    looks: Looks = NO_LOOKS,
) -> Effects:
    """Difference of every config to a reference, from trainings on several seeds.

    The mean of the differences on the seeds that a config shares with the reference, a paired t test with as many
    degrees of freedom as shared seeds but one. A config that shares fewer than two seeds with it is compared by Welch's
    test. The family is judged by the step-down Sidak procedure, from eight shared seeds on with joint sign flips of
    the differences, at the error rate that is left for this look.

    The words: *separated* if ``p_holm`` is below ``1 - confidence`` and the difference beyond ``smallest``;
    *equivalent* if the whole interval lies within ``smallest`` of 0; else *not separated*. That is also what a config
    or a reference with one seed always is, and one whose scores do not vary over the seeds as trainings do: the same
    score on every seed, the same difference on every seed, or the scores of the reference.

    Args:
        scores: Columns ``config, seed, score``; rows without a score are left out.
        reference: One of the configs.
        smallest: The practical threshold, declared before the runs (fraction).
        confidence: Of the intervals, over all looks; the rest is the familywise error rate.
        planned: Comparisons that were declared for the family, where configs without a score belong to it too: what
            failed must not make the others look better.
        looks: The earlier looks at this family (see ``analysis.stats.looks``).

    Raises:
        AnalysisError: The reference has no score, or a config has two scores for one seed.
    """
    names, values = _by_seed(scores, reference)
    n = np.isfinite(values).sum(1)
    paired = np.isfinite(values[1:] - values[0]).sum(1)
    copied = {name: why for name, row in zip(names[1:], values[1:], strict=True) if (why := _copied(row, values[0]))}
    contrasts = [
        _contrast(row, values[0], evidence=name not in copied) for name, row in zip(names[1:], values[1:], strict=True)
    ]
    difference, se, df = (np.array([getattr(each, name) for each in contrasts]) for name in ("difference", "se", "df"))
    seeds = int(np.where(paired > 1, paired, np.minimum(n[1:], n[0])).max(initial=0))
    alpha = 1 - confidence
    now = alpha_at(seeds, looks, alpha) if seeds > 1 else alpha
    flipped = _flipped(values[1:] - values[0], np.where(np.isfinite(se), paired, 0), now)
    verdict = judged(difference, se, df, smallest, alpha, planned, now, flipped)
    spreads = own_spreads(values, confidence)
    columns = {
        "config": names[1:],
        "n": n[1:],
        "difference": difference,
        **verdict[["low", "high", "p", "p_holm", "word"]],
        "df": df,
        "se": se,
        "mde": verdict["mde"],
        "model": [each.model for each in contrasts],
        "sd": [each.sd for each in spreads[1:]],
        "no_evidence": [copied.get(name, "") for name in names[1:]],
    }
    frame = pd.DataFrame(columns)
    rho, rho_low, rho_high = _correlation(values, confidence)
    family = max(planned, len(contrasts))
    return Effects(
        frame=frame,
        reference=reference,
        reference_sd=spreads[0].sd,
        spread=pooled_spread(values, confidence),
        rho=rho,
        rho_low=rho_low,
        rho_high=rho_high,
        mde=_median(verdict["mde"].to_numpy()),
        difference_sd=_median(median_unbiased(se * np.sqrt(df + 1), df)),
        n=int(n.min()),
        comparisons=family,
        alpha=now,
        estimator=_estimator(frame, family, flipped is not None),
        notes=tuple(_notes(names, contrasts, n, copied)),
    )


def smallest_effect(sweeps: pd.DataFrame) -> float:
    """The practical threshold that the spec of a sweep declares (fraction); ``SMALLEST`` if it declares none."""
    declared = [read_spec(text).smallest_effect for text in sweeps["spec_json"]]
    return max((effect for effect in declared if effect is not None), default=SMALLEST)


def _by_seed(scores: pd.DataFrame, reference: str) -> tuple[list[str], np.ndarray]:
    """Names of the configs, the reference first, and their scores (K, S), NaN where a config lacks a seed."""
    columns = (scores[name].tolist() for name in ("config", "seed", "score"))
    rows = [row for row in zip(*columns, strict=True) if not missing(row[2])]
    names = list(dict.fromkeys([reference, *(config for config, _, _ in rows)]))
    if all(config != reference for config, _, _ in rows):
        scored = ", ".join(map(str, names[1:])) or "none"
        raise AnalysisError(f"reference: must be a config with a score ({scored}), got {reference}")
    place = {name: row for row, name in enumerate(names)}
    column = {seed: number for number, seed in enumerate(sorted({seed for _, seed, _ in rows}))}
    values = np.full((len(names), len(column)), np.nan)
    for config, seed, score in rows:
        if np.isfinite(values[place[config], column[seed]]):
            raise AnalysisError(
                f"scores: one score per config and seed is allowed, got two of {config} for seed {seed}"
            )
        values[place[config], column[seed]] = score
    return names, values


def _contrast(scores: np.ndarray, reference: np.ndarray, evidence: bool) -> _Contrast:
    each = scores - reference
    each = each[np.isfinite(each)]
    unknown = float("nan")
    if len(each) > 1:
        se = float(each.std(ddof=1)) / np.sqrt(len(each)) if evidence else unknown
        return _Contrast(float(each.mean()), se, len(each) - 1.0, PAIRED)
    if min(np.isfinite(scores).sum(), np.isfinite(reference).sum()) < 2:
        difference = float(each.mean()) if len(each) else float(np.nanmean(scores) - np.nanmean(reference))
        return _Contrast(difference, unknown, unknown, PAIRED if len(each) else WELCH)
    difference = float(np.nanmean(scores) - np.nanmean(reference))
    count = np.array([np.isfinite(scores).sum(), np.isfinite(reference).sum()])
    parts = np.array([np.nanvar(scores, ddof=1), np.nanvar(reference, ddof=1)]) / count
    if not evidence or parts.sum() <= 0:
        return _Contrast(difference, unknown, unknown, WELCH)
    df = float(parts.sum() ** 2 / (parts**2 / (count - 1)).sum())
    return _Contrast(difference, float(np.sqrt(parts.sum())), df, WELCH)


def _copied(scores: np.ndarray, reference: np.ndarray) -> str | None:
    """Why scores are no evidence of a difference to the reference; None if they vary as those of trainings do."""
    mine, its = scores[np.isfinite(scores)], reference[np.isfinite(reference)]
    each = scores - reference
    each = each[np.isfinite(each)]
    if len(its) > 1 and np.ptp(its) < NO_NOISE:
        return "the reference has the same score on every seed"
    if len(mine) > 1 and np.ptp(mine) < NO_NOISE:
        return "the same score on every seed"
    if min(len(mine), len(its)) < 2:
        return None
    if len(mine) == len(its) and np.abs(np.sort(mine) - np.sort(its)).max() < NO_NOISE:
        return "the same scores as the reference"
    return "the same difference to the reference on every seed" if len(each) > 1 and np.ptp(each) < NO_NOISE else None


def _flipped(differences: np.ndarray, paired: np.ndarray, alpha: float) -> np.ndarray | None:
    """p-values under joint sign flips, NaN for comparisons with too few seeds; None if all of them have too few."""
    taken = sign_flips.enough(paired, alpha)
    if not taken.any():
        return None
    some = differences[taken]
    drawn = sign_flips.flipped_p(some[:, np.isfinite(some).any(0)])
    flipped = np.full((len(differences), drawn.shape[1]), np.nan)
    flipped[taken] = drawn
    return flipped


def _median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")


def _correlation(values: np.ndarray, confidence: float) -> tuple[float, float, float]:
    """Intraclass correlation over the seeds that all configs have, with its exact interval.

    Two-way layout, consistency (Shrout & Fleiss 1979, ICC(3,1)).
    """
    whole = values[:, np.isfinite(values).all(0)]
    configs, seeds = whole.shape
    if configs < 2 or seeds < 2:
        return (float("nan"),) * 3
    per_seed = whole.mean(0)
    residual = whole - whole.mean(1, keepdims=True) - per_seed + whole.mean()
    df_seed, df = seeds - 1, (configs - 1) * (seeds - 1)
    noise = (residual**2).sum() / df
    if noise < NO_NOISE**2:
        return (float("nan"),) * 3
    ratio = configs * per_seed.var(ddof=1) / noise
    tail = (1 - confidence) / 2
    ends = ratio / special.fdtri(df_seed, df, [1 - tail, tail])
    point, low, high = ((f - 1) / (f + configs - 1) for f in (ratio, *ends))
    return float(point), float(low), float(high)


def _estimator(frame: pd.DataFrame, comparisons: int, flipped: bool) -> str:
    words = {PAIRED: "differences seed by seed", WELCH: "Welch's test where fewer than two seeds are shared"}
    used = set(frame.loc[frame["se"].notna(), "model"])
    if not used:
        return "no test: it takes two seeds of two configs"
    sentence = "; ".join(word for model, word in words.items() if model in used)
    procedure = "joint sign flips" if flipped else "step-down Sidak"
    return f"{sentence}, adjusted for {comparisons} comparisons ({procedure})" if comparisons > 1 else sentence


def _notes(names: list[str], contrasts: Sequence[_Contrast], n: np.ndarray, copied: dict[str, str]) -> list[str]:
    notes = []
    if single := [name for name, seeds in zip(names, n, strict=True) if seeds < 2]:
        notes.append(f"One seed says nothing about a difference: {', '.join(single)}.")
    if apart := [name for name, each in zip(names[1:], contrasts, strict=True) if each.model == WELCH]:
        notes.append(f"Fewer than two seeds in common with {names[0]}, compared without pairing: {', '.join(apart)}.")
    for why in dict.fromkeys(copied.values()):
        which = ", ".join(name for name, its in copied.items() if its == why)
        notes.append(
            f"No evidence, {why}: {which}. Trainings on different seeds differ: a seed was ignored or a result copied."
        )
    return notes
