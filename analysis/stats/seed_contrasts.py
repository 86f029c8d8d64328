"""The claim about a config: are these settings better if the student is trained again? Only seeds can tell.

One model for all configs, ``score = config + seed + noise``, so that few seeds of many configs make one good
estimate of the noise, and pairing by seed helps as much as it really does (three seeds of eight configs
have 62 % power for an effect of two standard deviations, Welch's test 37 %). Says nothing about other searches of
the same method, nor about other images.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special
from statsmodels.regression.linear_model import OLS

from analysis.errors import AnalysisError
from analysis.formats import missing
from analysis.stats.judge import NO_NOISE, POWER, detectable, judged
from analysis.tables.json_columns import read_spec

SMALLEST = 0.003
"""Differences up to this (fraction, 0.3 points) do not matter in practice, where the sweep declares nothing else."""
WIDER = 1.5
"""A config whose seeds spread this many times as far as usual may be judged by its own spread alone."""


@dataclass(frozen=True)
class Effects:
    """Configs against one reference, in one family of comparisons. Scores and differences are fractions 0..1.

    Attributes:
        frame: One row per config other than the reference, in the order in which they came: ``config, n`` (seeds),
            ``difference, low, high`` (interval that agrees with ``p_holm``, see ``analysis.stats.holm``), ``p, p_holm,
            word`` (one of ``judge.WORDS``), ``unstable`` (its seeds, or the reference's, spread further than chance
            explains), ``df, se`` (of the difference), ``mde`` (see below, of this comparison), ``model`` (``block``,
            ``pooled`` or ``welch``).
        reference: The config that the others are compared with.
        sd: Standard deviation of a score over seeds, pooled over the configs that are not unstable.
        rho: Correlation of the scores of two configs on the same seed, measured; NaN if it cannot be.
        rho_low: Lower end of its interval.
        rho_high: Upper end.
        mde: Smallest true difference that would be detected in 80 of 100 repetitions, after Holm: the median over the
            comparisons. NaN if nothing can be detected.
        n: Seeds of the config that has fewest.
        estimator: How the differences were estimated, for a caption.
        notes: What a reader has to know besides, one sentence each.
    """

    frame: pd.DataFrame
    reference: str
    sd: float
    rho: float
    rho_low: float
    rho_high: float
    mde: float
    n: int
    estimator: str
    notes: tuple[str, ...]

    @property
    def words(self) -> dict[str, str]:
        """The word for each config other than the reference."""
        return dict(zip(self.frame["config"], self.frame["word"], strict=True))


def effects(
    scores: pd.DataFrame, reference: str, smallest: float = SMALLEST, confidence: float = 0.95, planned: int = 0
) -> Effects:
    """Difference of every config to a reference, from trainings on several seeds.

    The model is a least-squares fit of config and seed effects; a seed may be missing for a config. It holds for
    configs that share seeds with the reference (also by way of a third config); where nothing is shared, the
    difference is that of the means, with the pooled spread (model ``pooled``). A config whose seeds spread more than
    ``WIDER`` times as far as the typical config's (F test at 5 %) is compared by Welch's test; if that also holds
    after Bonferroni it is called unstable and kept out of the pooled spread.

    The words: *separated* if ``p_holm`` is below ``1 - confidence`` and the difference beyond ``smallest``;
    *equivalent* if the whole interval lies within ``smallest`` of 0; else *not separated*, which is what a config or
    a reference with one seed always is. Trainings that do not differ over the seeds at all give intervals of width 0.

    Args:
        scores: Columns ``config, seed, score``; rows without a score are left out.
        reference: One of the configs.
        smallest: The practical threshold, declared before the runs (fraction).
        confidence: Of the intervals; the rest is the familywise error rate.
        planned: Comparisons that were declared for the family, where configs without a score belong to it too: what
            failed must not make the others look better.

    Raises:
        AnalysisError: The reference has no score, or a config has two scores for one seed.
    """
    names, values = _by_seed(scores, reference)
    alpha = 1 - confidence
    n = np.isfinite(values).sum(1)
    wide, unstable = _spreads(values)
    sd, pooled_df = _pooled(values[~unstable])
    block = _block(values, ~unstable)
    contrasts = [
        _contrast(values, i, wide, block, sd, pooled_df) if min(n[0], n[i]) > 1 else _unknown(values, i)
        for i in range(1, len(names))
    ]
    models = [contrast[3] for contrast in contrasts]
    difference, se, df = np.array([contrast[:3] for contrast in contrasts], dtype=float).reshape(-1, 3).T
    verdict = judged(difference, se, df, smallest, alpha, planned)
    mde = verdict["mde"].to_numpy()
    columns = {
        "config": names[1:],
        "n": n[1:],
        "difference": difference,
        **verdict[["low", "high", "p", "p_holm", "word"]],
        "unstable": unstable[1:] | unstable[0],
        "df": df,
        "se": se,
        "mde": mde,
        "model": models,
    }
    rho, rho_low, rho_high = _correlation(values[~unstable], confidence)
    return Effects(
        frame=pd.DataFrame(columns),
        reference=reference,
        sd=sd,
        rho=rho,
        rho_low=rho_low,
        rho_high=rho_high,
        mde=float(np.median(mde[np.isfinite(mde)])) if np.isfinite(mde).any() else float("nan"),
        n=int(n.min()),
        estimator=_estimator(models, np.isfinite(se), max(planned, len(models))),
        notes=tuple(_notes(names, models, n, unstable, sd)),
    )


def smallest_detectable(
    sd: float, n: int, configs: int, comparisons: int, rho: float = 0.0, power: float = POWER, alpha: float = 0.05
) -> float:
    """Smallest true difference to the reference that a design detects with the given power.

    Every config is trained on the same ``n`` seeds and the first step of Holm's procedure has to reject; noncentral
    t distribution with ``(configs - 1)(n - 1)`` degrees of freedom. The guard against unstable configs costs a few
    points of the power (75 instead of 80 in 100 for eight configs and three seeds, simulated).

    Args:
        sd: Standard deviation over seeds; the result is in its unit.
        n: Seeds per config.
        configs: Configs in the fit, reference included.
        comparisons: Size of the family.
        rho: Correlation of two configs on the same seed.
        power: Share of repetitions in which the difference is detected.
        alpha: Familywise error rate.

    Returns:
        The difference; NaN if one seed or one config leaves nothing to compare with.
    """
    if n < 2 or configs < 2:
        return float("nan")
    se = sd * np.sqrt(2 * (1 - rho) / n)
    return float(detectable(np.array(se), np.array((configs - 1) * (n - 1)), comparisons, power, alpha))


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


def _variances(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variance over seeds of each config (NaN for one seed) and its degrees of freedom."""
    df = np.isfinite(values).sum(1) - 1
    centred = values - np.nanmean(values, axis=1, keepdims=True)
    return np.where(df > 0, np.nansum(centred**2, axis=1) / np.maximum(df, 1), np.nan), df


def _pooled(values: np.ndarray) -> tuple[float, int]:
    variances, df = _variances(values)
    total = int(df[df > 0].sum())
    return (float(np.sqrt(np.nansum(variances * df) / total)) if total else float("nan")), total


def _spreads(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which configs are judged by their own spread, and which of them are called unstable.

    Of stable configs the spread over three seeds exceeds 1.5 times the typical one in 10 of 100; leaving all of
    those out of the pooled spread would make it too small (7 % false positives instead of 5 %, simulated). Hence
    the F test, and the pooled spread loses only what chance does not explain.
    """
    variances, df = _variances(values)
    several_seeds = df > 0
    wide, unstable = np.zeros((2, len(values)), dtype=bool)
    if several_seeds.sum() < 3:
        return wide, unstable
    typical = np.median(variances[several_seeds])
    middle = np.median(df[several_seeds])
    typical /= special.chdtri(middle, 0.5) / middle
    suspects = several_seeds & (variances > max(WIDER**2 * typical, NO_NOISE**2))
    for i in np.flatnonzero(suspects):
        others = several_seeds & (np.arange(len(values)) != i)
        usual = (variances[others] * df[others]).sum() / df[others].sum()
        chance = special.fdtrc(df[i], df[others].sum(), variances[i] / usual) if usual > 0 else 0.0
        wide[i], unstable[i] = chance < 0.05, chance < 0.05 / several_seeds.sum()
    return wide, unstable


@dataclass(frozen=True)
class _Block:
    """The fit: differences to the reference and their standard errors, NaN for configs that it does not link."""

    difference: np.ndarray
    se: np.ndarray
    df: float


def _block(values: np.ndarray, stable: np.ndarray) -> _Block | None:
    linked = _linked(values, stable)
    if linked.sum() < 2:
        return None
    rows, seeds = np.nonzero(np.isfinite(values) & linked[:, None])
    taken, column = np.unique(seeds, return_inverse=True)
    members = np.flatnonzero(linked)[1:]
    design = np.hstack([rows[:, None] == members, np.eye(len(taken), dtype=bool)[column]]).astype(float)
    fit = OLS(values[rows, seeds], design).fit()
    if fit.df_resid < 1:
        return None
    difference, se = np.full((2, len(values)), np.nan)
    difference[members] = fit.params[: len(members)]
    se[members] = np.sqrt(np.maximum(np.diag(fit.cov_params())[: len(members)], 0))
    return _Block(difference, se, float(fit.df_resid))


def _linked(values: np.ndarray, stable: np.ndarray) -> np.ndarray:
    """Configs that are joined to the reference (row 0) by a chain of shared seeds; none if it is unstable."""
    present = np.isfinite(values) & stable[:, None]
    linked = np.zeros(len(values), dtype=bool)
    linked[0] = stable[0]
    while True:
        grown = linked | present[:, present[linked].any(0)].any(1)
        if (grown == linked).all():
            return linked
        linked = grown


def _contrast(
    values: np.ndarray, i: int, wide: np.ndarray, block: _Block | None, sd: float, pooled_df: int
) -> tuple[float, float, float, str]:
    means, (variances, df) = np.nanmean(values, axis=1), _variances(values)
    difference = means[i] - means[0]
    share = 1 / (df + 1)
    if wide[i] or wide[0]:
        parts = (variances * share)[[0, i]]
        freedom = parts.sum() ** 2 / (parts**2 / df[[0, i]]).sum()
        return difference, np.sqrt(parts.sum()), freedom, "welch"
    if block is not None and np.isfinite(block.difference[i]):
        return block.difference[i], block.se[i], block.df, "block"
    return difference, sd * np.sqrt(share[0] + share[i]), pooled_df, "pooled"


def _unknown(values: np.ndarray, i: int) -> tuple[float, float, float, str]:
    shared = values[i] - values[0]
    paired = np.isfinite(shared).any()
    difference = np.nanmean(shared) if paired else np.nanmean(values[i]) - np.nanmean(values[0])
    return float(difference), float("nan"), float("nan"), "block" if paired else "pooled"


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


def _estimator(models: list[str], tested: np.ndarray, comparisons: int) -> str:
    words = {
        "block": "one model of configs and seeds",
        "pooled": "means with a pooled spread",
        "welch": "Welch's test where the spread is larger",
    }
    used = {model for model, is_tested in zip(models, tested, strict=True) if is_tested}
    sentence = "; ".join(word for model, word in words.items() if model in used)
    family = f", Holm over {comparisons} comparisons" if comparisons > 1 else ""
    return f"{sentence}{family}" if used else "no test: it takes two seeds of two configs"


def _notes(names: list[str], models: list[str], n: np.ndarray, unstable: np.ndarray, sd: float) -> list[str]:
    notes = []
    if single := [name for name, seeds in zip(names, n, strict=True) if seeds < 2]:
        notes.append(f"One seed says nothing about a difference: {', '.join(single)}.")
    if spread := [name for name, flag in zip(names, unstable, strict=True) if flag]:
        notes.append(f"Unstable, their seeds spread further than chance explains: {', '.join(spread)}.")
    if apart := [name for name, model in zip(names[1:], models, strict=True) if model == "pooled"]:
        notes.append(f"No seed in common with {names[0]}, compared without pairing: {', '.join(apart)}.")
    if sd < NO_NOISE:
        notes.append("The seeds did not differ at all, so no noise was measured.")
    return notes
