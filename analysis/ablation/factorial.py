"""What each factor of a factorial is worth on average over the others, and which of them work together.

Every run tells about every effect, so that an effect has the standard error ``2 sd / sqrt(runs)``: 2^4 cells on two
seeds see effects 1.7 times smaller than leaving out one at a time does with as many runs.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import special

from analysis.ablation.effects import Tables, cell_scores, designed, is_factorial, why_unjudged_together
from analysis.selection.finalists import finalists
from analysis.stats.judge import judged
from analysis.stats.looks import Looks, alpha_at, looks_of
from analysis.stats.seed_contrasts import smallest_effect

if TYPE_CHECKING:
    from statsmodels.regression.linear_model import RegressionResultsWrapper

Effect = tuple[int, ...]
"""Places of the factors in it: one for a main effect, two for an interaction."""
MAIN, INTERACTION = "main", "interaction"
_ALIKE = 1e-6
"""Two columns of a design that differ by less than this (relative) are one."""
_JUDGED = ["low", "high", "p_holm", "word", "mde", "simple_low", "simple_high"]
COLUMNS = (
    *("design", "effect", "kind", "factors", "contrast", "difference", "low", "high", "p_holm", "word", "mde"),
    *("share", "simple", "simple_low", "simple_high", "aliases", "runs", "missing", "withheld"),
    "estimator",
)


@dataclass(frozen=True)
class _Design:
    """The runs of one factorial.

    Attributes:
        factors: Names.
        contrasts: ``high minus low`` per factor.
        runs: Columns ``x0, x1, ...`` (1 for the reference's level, -1 for the other), ``seed, score``.
        planned: The same columns ``x0, x1, ...`` for the cells as planned.
        missing: Planned cells without a score.
    """

    factors: list[str]
    contrasts: list[str]
    runs: pd.DataFrame
    planned: pd.DataFrame
    missing: list[str]


def factorial_effects(tables: Tables) -> pd.DataFrame:
    """Main effects and interactions of two factors, for every factorial or regular fraction among the designs.

    The model is ``score = mean + factors + interactions of two + seed`` by least squares with sum coding; higher
    interactions go to the residual. A main effect is the score at the reference's level minus that at the other one,
    averaged over the other factors. An interaction is the effect of one factor where the other is at the reference's
    level, minus its effect where the other is not: positive where they help each other. All effects of a design
    that the plan can tell apart are one family. Spreads may differ from cell to cell.

    Interactions that the cells cannot tell apart from others (fractions, failed cells) are not estimated; an effect
    that holds only as long as some of those are nil names them in ``aliases``.

    Returns:
        One row per effect: ``design, effect, kind`` (``main`` or ``interaction``), ``factors`` (list), ``contrast``
        (as in ``on minus off``), ``difference, low, high, p_holm, word, mde`` (see ``judge.judged``), ``share`` of
        the variation (type II sum of squares over the total), for a main effect ``simple, simple_low, simple_high``:
        the effect of this factor where all others are as in the reference (95 % by itself), missing where that
        rests on what was not estimated; ``aliases`` (list), ``runs``, ``missing`` (planned cells without a score),
        ``withheld`` (why nothing is judged though there are scores, a sentence; or empty) and ``estimator``, words for
        a caption. An effect that cannot be estimated has no numbers.
    """
    sweeps, ranked = tables["sweeps"], finalists(tables)
    threshold, looks = smallest_effect(sweeps), looks_of(sweeps)
    scores, why = cell_scores(ranked), why_unjudged_together(tables, ranked)
    frames = []
    for design, group in tables["cells"].groupby("design", sort=False):
        if not is_factorial(group):
            continue
        withheld = why([cell for cell in designed(group).index if scores.get(cell)])
        frame = _effects(_drawn(group, scores), threshold, looks).assign(design=design, withheld=withheld)
        if withheld:
            frame[_JUDGED] = frame[_JUDGED].mask(frame["withheld"] != "")
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)[list(COLUMNS)] if frames else pd.DataFrame(columns=list(COLUMNS))


def _drawn(group: pd.DataFrame, scores: dict[str, dict[int, float]]) -> _Design:
    table = designed(group)
    references = [cell for cell in group.loc[group["role"] == "reference", "cell"] if cell in table.index]
    base = table.loc[references[0]] if references else table.iloc[0]
    signs = table.eq(base).astype(int) * 2 - 1
    signs.columns = pd.Index([f"x{i}" for i in range(table.shape[1])])
    rows = [(*signs.loc[cell], seed, score) for cell in table.index for seed, score in scores.get(cell, {}).items()]
    others = [
        next(level for level in column if level != its_level)
        for (_, column), its_level in zip(table.items(), base, strict=True)
    ]
    return _Design(
        factors=list(map(str, table.columns)),
        contrasts=[f"{its_level} minus {other}" for its_level, other in zip(base, others, strict=True)],
        runs=pd.DataFrame(rows, columns=[*signs.columns, "seed", "score"]),
        planned=signs,
        missing=[cell for cell in table.index if not scores.get(cell)],
    )


def _effects(design: _Design, threshold: float, looks: Looks) -> pd.DataFrame:
    names = design.factors
    mains: list[Effect] = [(i,) for i in range(len(names))]
    effects = mains + list(itertools.combinations(range(len(names)), 2))
    columns = _columns(design.runs, effects)
    blocks, blocked = _blocks(design.runs, [columns[effect] for effect in mains])
    kept = _estimable(columns, blocks)
    planned = _estimable(_columns(design.planned, effects), np.ones((len(design.planned), 1)))
    model = _fit(design.runs, kept, blocked) if kept else None
    family = [effect in planned or effect in kept for effect in effects]
    freedom = 0.0 if model is None else _freedom(design.runs, model.df_resid, blocked)
    difference, se, df, share = _estimates(model, effects, freedom)
    simple, low, high = np.array([_simple(model, effect, kept, effects, freedom) for effect in effects]).T
    frame = pd.DataFrame(
        {
            "effect": [_label(effect, names) for effect in effects],
            "kind": [MAIN if len(effect) == 1 else INTERACTION for effect in effects],
            "factors": pd.Series([[names[i] for i in effect] for effect in effects]),
            "contrast": [design.contrasts[effect[0]] if len(effect) == 1 else "" for effect in effects],
            "difference": difference,
            "share": share,
            "simple": simple,
            "simple_low": low,
            "simple_high": high,
            "aliases": pd.Series([_aliases(effect, kept, columns, blocks, names) for effect in effects]),
            "runs": len(design.runs),
            "missing": pd.Series([design.missing for _ in effects]),
            "estimator": f"least squares on {len(design.runs)} runs{', seeds as blocks' if blocked else ''}, "
            f"adjusted for {sum(family)} effects (step-down Sidak)",
        }
    )
    now = alpha_at(max(1, design.runs["seed"].nunique()), looks)
    verdict = judged(difference[family], se[family], df[family], threshold, now=now)
    frame = frame.join(verdict.drop(columns="p").set_axis(frame.index[family]))
    return frame.assign(word=frame["word"].where(frame["difference"].notna(), None))


def _columns(runs: pd.DataFrame, effects: Sequence[Effect]) -> dict[Effect, np.ndarray]:
    return {effect: runs[[f"x{i}" for i in effect]].prod(axis=1).to_numpy(float) for effect in effects}


def _estimable(columns: dict[Effect, np.ndarray], blocks: np.ndarray) -> list[Effect]:
    """Main effects that are no mixture of other main effects, interactions that are no mixture of anything else."""
    mains: dict[Effect, np.ndarray] = {effect: column for effect, column in columns.items() if len(effect) == 1}
    kept = [effect for effect, column in mains.items() if _adds(column, blocks, _others(mains, effect))]
    if not kept:
        return []
    pairs = [effect for effect in columns if effect not in mains]
    return kept + [effect for effect in pairs if _adds(columns[effect], blocks, _others(columns, effect))]


def _others(columns: dict[Effect, np.ndarray], effect: Effect) -> list[np.ndarray]:
    return [column for other, column in columns.items() if other != effect]


def _blocks(runs: pd.DataFrame, mains: Sequence[np.ndarray]) -> tuple[np.ndarray, bool]:
    """Columns for the mean and the seeds; the mean alone where the seeds would swallow a main effect."""
    mean = np.ones((len(runs), 1))
    seeds = np.hstack([mean, pd.get_dummies(runs["seed"], drop_first=True).to_numpy(float)])
    if seeds.shape[1] > 1 and all(_adds(column, seeds, []) for column in mains if _adds(column, mean, [])):
        return seeds, True
    return mean, False


def _adds(column: np.ndarray, blocks: np.ndarray, others: Sequence[np.ndarray]) -> bool:
    """Whether a column says what the blocks and the others do not."""
    if not len(column):
        return False
    explained = np.column_stack([blocks, *others])
    rest = column - explained @ np.linalg.lstsq(explained, column, rcond=None)[0]
    return bool(np.linalg.norm(rest) > _ALIKE * np.sqrt(len(column)))


def _aliases(
    effect: Effect, kept: Sequence[Effect], columns: dict[Effect, np.ndarray], blocks: np.ndarray, names: Sequence[str]
) -> list[str]:
    """Which effects this one is mixed with: for an estimate, those left out that would move it (the alias matrix)."""
    if not len(blocks):
        return []
    if effect in kept:
        explained = np.column_stack([blocks, *(columns[other] for other in kept)])
        place = blocks.shape[1] + kept.index(effect)
        dropped = [other for other in columns if other not in kept]
        weights = {other: np.linalg.lstsq(explained, columns[other], rcond=None)[0][place] for other in dropped}
    else:
        others = [other for other in columns if other != effect]
        explained = np.column_stack([blocks, *(columns[other] for other in others)])
        weights = dict(
            zip(others, np.linalg.lstsq(explained, columns[effect], rcond=None)[0][blocks.shape[1] :], strict=True)
        )
    return [_label(other, names) for other, weight in weights.items() if abs(weight) > _ALIKE]


def _label(effect: Effect, names: Sequence[str]) -> str:
    return " x ".join(names[i] for i in effect)


def _name(effect: Effect) -> str:
    return ":".join(f"x{i}" for i in effect)


def _fit(runs: pd.DataFrame, kept: Sequence[Effect], blocked: bool) -> "RegressionResultsWrapper":
    from statsmodels.formula.api import ols

    terms = [_name(effect) for effect in kept] + (["C(seed)"] if blocked else [])
    return ols(f"score ~ {' + '.join(terms)}", runs).fit()


def _freedom(runs: pd.DataFrame, residual: float, blocked: bool) -> float:
    """Degrees of freedom that allow for cells with unequal spreads (Satterthwaite 1946), at most those of the residual.

    Every run has the same weight in every effect, so that the standard error is right on average whatever the spreads
    are; but where one cell has most of the spread, it is known from that cell's seeds alone.
    """
    cells = [name for name in runs if name not in ("seed", "score")]
    wide = runs.pivot_table(index=cells, columns="seed", values="score")
    left = wide.sub(wide.mean(axis=1), axis=0)
    left = left - left.mean() if blocked and len(left) > 2 else left
    df = wide.notna().sum(axis=1) - 1
    several = df > 0
    variances = (left**2).sum(axis=1)[several] / df[several]
    if not variances.sum() > 0:
        return residual
    freedom = variances.sum() ** 2 / (variances**2 / df[several]).sum()
    return float(min(residual, freedom))


def _estimates(model: "RegressionResultsWrapper | None", effects: Sequence[Effect], freedom: float) -> np.ndarray:
    """Difference, its standard error, degrees of freedom and share of the variation, ``(4, effects)``."""
    estimates = np.full((4, len(effects)), np.nan)
    if model is None:
        return estimates
    tested = model.df_resid > 0
    from statsmodels.stats.anova import anova_lm

    squares = anova_lm(model, typ=2)["sum_sq"] if tested and model.centered_tss > 0 else None
    for place, effect in enumerate(effects):
        if (name := _name(effect)) in model.params:
            step = 2.0 ** len(effect)
            estimates[0, place] = step * model.params[name]
            if tested:
                estimates[1:3, place] = step * model.bse[name], freedom
            if squares is not None:
                estimates[3, place] = squares[name] / model.centered_tss
    return estimates


def _simple(
    model: "RegressionResultsWrapper | None",
    effect: Effect,
    kept: Sequence[Effect],
    effects: Sequence[Effect],
    freedom: float,
) -> tuple[float, float, float]:
    """The effect of one factor with all others as in the reference, and its interval."""
    joined = [other for other in effects if set(effect) <= set(other)]
    if len(effect) > 1 or model is None or any(other not in kept for other in joined):
        return (np.nan,) * 3
    weights = pd.Series(0.0, index=model.params.index)
    weights[[_name(other) for other in joined]] = 2.0
    if model.df_resid < 1:
        return float(weights @ model.params), np.nan, np.nan
    test = model.t_test(weights.to_numpy())
    effect_size = float(np.squeeze(test.effect))
    half = float(special.stdtrit(freedom, 0.975)) * float(np.squeeze(test.sd))
    return effect_size, effect_size - half, effect_size + half
