"""Which layer of the student should learn from which layer of the teacher: rows, columns, and what is left."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from analysis.ablation.effects import Tables, cell_scores, designed, is_grid, why_unjudged_together
from analysis.selection.finalists import finalists
from analysis.stats.cell_means import cell_means, runs_of, seed_term
from analysis.stats.step_down import sidak

TOP = 4


@dataclass(frozen=True)
class LayerGrid:
    """A grid of layer pairs. Scores and effects are fractions 0..1.

    Attributes:
        design: Its name.
        frame: One row per pair: ``cell, student, teacher`` (layers), ``mean, n, low, high`` (95 % interval of the mean,
            each pair by itself), ``row_effect, column_effect`` (of the student's and the
            teacher's layer, against the average pair), ``additive`` (what these two make of the pair), ``residual``
            (mean minus additive), ``shrunken`` (see ``layer_grids``), ``top`` (whether it is among the best four
            by ``shrunken``). Missing where a pair has no complete trial.
        sd: Spread of a score over seeds, pooled; NaN for one seed per pair.
        p: p-values of ``student`` (rows), ``teacher`` (columns) and ``pair`` (what is left); NaN if not testable or
            withheld.
        p_adjusted: The same, adjusted for the three of them (step-down Sidak); the note goes by these.
        note: How to read it, one or two sentences.
    """

    design: str
    frame: pd.DataFrame
    sd: float
    p: dict[str, float]
    p_adjusted: dict[str, float]
    note: str


def layer_grids(tables: Tables) -> list[LayerGrid]:
    """Every design that pairs layers of the student with layers of the teacher.

    The score is taken apart into row, column and pair by least squares, with the seeds as blocks where pairs share
    them. Each part is shrunken towards nothing by the share of it that noise explains, ``max(0, 1 - MS noise / MS
    part)`` (empirical Bayes, Efron & Morris 1973): where layers do not matter all pairs come out alike. With one seed
    per pair, pair and noise cannot be told apart and both count as noise.
    """
    ranked = finalists(tables)
    scores, why = cell_scores(ranked), why_unjudged_together(tables, ranked)
    grids = []
    for design, group in tables["cells"].groupby("design", sort=False):
        table = designed(group)
        if is_grid(table):
            withheld = why([cell for cell in table.index if scores.get(cell)])
            grids.append(_grid(str(design), table, scores, withheld))
    return grids


def _grid(design: str, table: pd.DataFrame, scores: dict[str, dict[int, float]], withheld: str) -> LayerGrid:
    student = next(name for name in table if str(name).endswith(".student_layer"))
    teacher = next(name for name in table if str(name).endswith(".teacher_layer"))
    pairs = pd.DataFrame({"cell": table.index, "student": table[student], "teacher": table[teacher]})
    runs = runs_of(scores, pairs.rename(columns={"student": "row", "teacher": "column"}))
    pairs = pairs.reset_index(drop=True).merge(cell_means(runs), left_on="cell", right_index=True, how="left")
    pairs, p, sd = _taken_apart(pairs, runs)
    p = dict.fromkeys(p, float("nan")) if withheld else p
    best = pairs.dropna(subset="mean").sort_values(["shrunken", "mean"], ascending=False).index[:TOP]
    pairs = pairs.assign(top=pairs.index.isin(best), n=pairs["n"].fillna(0).astype(int))
    adjusted = dict(zip(p, map(float, sidak(np.array(list(p.values())))[0]), strict=True))
    return LayerGrid(design, pairs, sd, p, adjusted, _note(pairs, adjusted, sd, withheld))


def _taken_apart(pairs: pd.DataFrame, runs: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, float], float]:
    nothing = dict.fromkeys(("student", "teacher", "pair"), float("nan"))
    parts = [f"C({name})" for name in ("row", "column") if runs[name].nunique() > 1]
    if not parts:
        return (
            pairs.assign(row_effect=np.nan, column_effect=np.nan, additive=pairs["mean"], residual=np.nan).assign(
                shrunken=pairs["mean"]
            ),
            nothing,
            float("nan"),
        )
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    seeds = seed_term(runs)
    additive = ols(f"score ~ {' + '.join(parts)}{seeds}", runs).fit()
    whole = ols(f"score ~ C(cell){seeds}", runs).fit()
    everywhere = pd.MultiIndex.from_product([runs["row"].unique(), runs["column"].unique(), runs["seed"].unique()])
    all_pairs = everywhere.to_frame(index=False, name=["row", "column", "seed"])
    fitted = all_pairs.assign(fit=additive.predict(all_pairs)).groupby(["row", "column"], sort=False)["fit"].mean()
    middle = float(fitted.mean())
    rows, columns = (fitted.groupby(level=level).mean() - middle for level in ("row", "column"))
    row_effect, column_effect = pairs["student"].map(rows), pairs["teacher"].map(columns)
    sums = middle + row_effect + column_effect
    residual = pairs["mean"] - sums
    seeded = whole.df_resid > 0
    noise, noise_df = (whole.mse_resid, whole.df_resid) if seeded else (additive.mse_resid, additive.df_resid)
    table = anova_lm(additive, typ=2)
    squares = {"row": (0.0, 0.0), "column": (0.0, 0.0), "pair": (0.0, 0.0)}
    squares |= {name[2:-1]: tuple(table.loc[name, ["sum_sq", "df"]]) for name in parts}
    if seeded:
        squares["pair"] = (additive.ssr - whole.ssr, additive.df_resid - whole.df_resid)
    kept = {name: _kept(square, df, noise) for name, (square, df) in squares.items()}
    p = {name: _chance(square, df, noise, noise_df) for name, (square, df) in squares.items()}
    shrunken = middle + kept["row"] * row_effect + kept["column"] * column_effect + kept["pair"] * residual.fillna(0.0)
    pairs = pairs.assign(row_effect=row_effect, column_effect=column_effect, additive=sums, residual=residual)
    words = {"student": p["row"], "teacher": p["column"], "pair": p["pair"]}
    return pairs.assign(shrunken=shrunken), words, float(np.sqrt(noise)) if seeded else float("nan")


def _kept(square: float, df: float, noise: float) -> float:
    """Share of an effect that noise does not explain."""
    if df <= 0 or square <= 0 or np.isnan(noise):
        return 0.0
    return max(0.0, 1 - noise * df / square)


def _chance(square: float, df: float, noise: float, noise_df: float) -> float:
    if df <= 0 or noise_df <= 0 or not noise > 0:
        return float("nan")
    return float(special.fdtrc(df, noise_df, square / df / noise))


def _note(pairs: pd.DataFrame, p: dict[str, float], sd: float, withheld: str) -> str:
    measured = int(pairs["mean"].notna().sum())
    words = {"student": "the student's layer", "teacher": "the teacher's layer", "pair": "the particular pair"}
    matter = [word for name, word in words.items() if p[name] < 0.05]
    if withheld:
        result = f"No verdict: {withheld}"
    elif np.isnan(sd):
        result = "One seed per pair: a good pair cannot be told from a lucky one"
    else:
        result = f"Beyond noise: {', '.join(matter)}" if matter else "Nothing here is beyond noise"
    return (
        f"{result}. The best of {measured} pairs is a selection: confirm the best {min(TOP, measured)} on fresh seeds."
    )
