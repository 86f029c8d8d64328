"""How the score answers to a number (a weight, a temperature): its curve, and how well the best value is known."""

import itertools
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from analysis.ablation.effects import Tables, cell_scores, why_unjudged_together
from analysis.selection.finalists import finalists
from analysis.stats.cell_means import cell_means, runs_of
from analysis.stats.judge import NO_NOISE
from analysis.tables.json_columns import read_levels

WORDS = ("peak", "rising", "falling", "valley", "flat", "untested")
_STEPS = 121


@dataclass(frozen=True)
class Band:
    """The mean of one cell and its interval, beside a curve."""

    label: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class ResponseCurve:
    """The score over one factor of a design. Scores are fractions 0..1.

    Attributes:
        design: Its name.
        factor: What is varied, as in ``channel_wise.weight``.
        points: One row per cell: ``cell, x, mean, low, high, n`` (see ``cell_means.cell_means``), ``along`` (whether
            all else is as in the reference: those lie on the curve).
        curve: ``x, fit, low, high``: quadratic in log x, all else as in the reference; 95 % at each x by itself.
        reference: The reference's value.
        best: Where the curve is highest within the range; NaN where the word is ``flat`` or ``untested``.
        best_low: Lower end of its 95 % interval; NaN where there is none.
        best_high: Upper end; the end of the range where the best may lie beyond.
        word: One of ``WORDS``; ``untested`` where it is withheld.
        sentence: What the curve says.
        band: What the curve is compared with: the same config without this loss (a weight of 0), or else cross-entropy
            alone. None if neither was run.
    """

    design: str
    factor: str
    points: pd.DataFrame
    curve: pd.DataFrame
    reference: float
    best: float
    best_low: float
    best_high: float
    word: str
    sentence: str
    band: Band | None


def response_curves(tables: Tables) -> list[ResponseCurve]:
    """A curve for every factor that takes at least three positive numbers in a design, all else at its reference.

    Where a design varies several such factors at once (central composite, grid), one second-order surface in the
    logarithms is fitted to all of its cells, seed by seed: the spread of its coefficients over seeds gives every
    interval, so that these hold whatever the spreads of the cells are. Where the cells share fewer than two seeds, all
    runs are fitted at once, with one spread for all. The interval of the best value holds where the slope of the curve
    may be nil (Fieller 1954): *peak* if the curve certainly rises before and falls behind, *rising* or *falling* if
    only one of these is certain, so that the best may lie beyond the range, *flat* if neither is or neither of both
    coefficients is beyond noise (Sidak at 5 %), *valley* if it falls first, *untested* where the runs are too few or
    do not differ from seed to seed.
    """
    ranked = finalists(tables)
    scores, why = cell_scores(ranked), why_unjudged_together(tables, ranked)
    curves = []
    for design, group in tables["cells"].groupby("design", sort=False):
        references = group.loc[group["role"] == "reference"]
        if len(references):
            curves += _of_design(str(design), group, read_levels(references["levels_json"].iloc[0]), scores, why)
    return curves


def _of_design(
    design: str,
    group: pd.DataFrame,
    reference: dict[str, str],
    scores: dict[str, dict[int, float]],
    why: Callable[[Collection[str]], str],
) -> list[ResponseCurve]:
    inside = group[group["role"] != "control"]
    cell_levels = {cell: read_levels(text) for cell, text in zip(inside["cell"], inside["levels_json"], strict=True)}
    scored = {cell: its_levels for cell, its_levels in cell_levels.items() if scores.get(cell)}
    numeric = [name for name in reference if len(_positive(scored, name)) >= 3 and _number(reference[name]) > 0]
    rows = [
        {"cell": cell, **{name: _number(its_levels[name]) for name in numeric}}
        for cell, its_levels in scored.items()
        if set(its_levels) == set(reference)
        and all(its_levels[name] == level for name, level in reference.items() if name not in numeric)
        and all(_number(its_levels[name]) > 0 for name in numeric)
    ]
    if not numeric or not rows:
        return []
    runs = runs_of(scores, pd.DataFrame(rows))
    center = {name: _number(reference[name]) for name in numeric}
    surface = _Surface(runs, center)
    compared = {name: _compared(group, cell_levels, name, scores) for name in numeric}
    withheld = why([str(row["cell"]) for row in rows])
    return [_curve(design, name, surface, compared[name], scores, withheld) for name in numeric]


@dataclass(frozen=True)
class _Fit:
    """The coefficients of a surface (p,), their covariance (p, p) and its degrees of freedom."""

    params: np.ndarray
    covariance: np.ndarray
    df: int


class _Surface:
    """A second-order surface in the logarithms of some factors, centered at the reference."""

    def __init__(self, runs: pd.DataFrame, center: dict[str, float]):
        self.runs, self.center = runs, center
        wide = runs.pivot_table(index="cell", columns="seed", values="score").dropna(axis=1)
        paired = wide.shape[1] > 1
        cells = runs.drop_duplicates("cell").set_index("cell").loc[wide.index] if paired else runs
        design = _design({name: np.log(cells[name].to_numpy(float) / value) for name, value in center.items()})
        if np.linalg.matrix_rank(design) < design.shape[1]:
            self.fit: _Fit | None = None
        elif paired:
            self.fit = _seed_by_seed(design, wide.to_numpy())
        else:
            self.fit = _at_once(design, runs["score"].to_numpy(float))

    def place(self, name: str) -> int:
        """Index of the linear coefficient of a factor; the quadratic one comes next."""
        return 1 + 2 * list(self.center).index(name)

    def rows(self, name: str, log: np.ndarray) -> np.ndarray:
        """Design rows along one factor, all else at the reference."""
        assert self.fit is not None
        made = np.zeros((len(log), len(self.fit.params)))
        made[:, 0] = 1.0
        made[:, self.place(name)], made[:, self.place(name) + 1] = log, log**2
        return made


def _design(logs: dict[str, np.ndarray]) -> np.ndarray:
    """Columns for the mean, the logarithms and their squares, and the products that the cells can tell apart."""
    columns = [column for log in logs.values() for column in (log, log**2)]
    design = np.column_stack([np.ones(len(columns[0])), *columns])
    for first, second in itertools.combinations(logs.values(), 2):
        wider = np.column_stack([design, first * second])
        design = wider if np.linalg.matrix_rank(wider) == wider.shape[1] else design
    return design


def _seed_by_seed(design: np.ndarray, scores: np.ndarray) -> _Fit | None:
    """One fit per seed, of the scores (cells, seeds); None where the scores do not differ from seed to seed."""
    seeds = scores.shape[1]
    coefficients = np.linalg.pinv(design) @ scores
    if (np.ptp(scores, axis=1) < NO_NOISE).all() or (np.ptp(coefficients[1:], axis=1) < NO_NOISE).any():
        return None
    return _Fit(coefficients.mean(1), np.cov(coefficients) / seeds, seeds - 1)


def _at_once(design: np.ndarray, scores: np.ndarray) -> _Fit | None:
    """Least squares over all runs, with one spread for all; None where nothing is left to estimate that from."""
    df = len(scores) - design.shape[1]
    if df < 1:
        return None
    params = np.linalg.pinv(design) @ scores
    variance = float(((scores - design @ params) ** 2).sum()) / df
    return _Fit(params, variance * np.linalg.inv(design.T @ design), df)


def _curve(
    design: str,
    name: str,
    surface: _Surface,
    band: tuple[str, str] | None,
    scores: dict[str, dict[int, float]],
    withheld: str,
) -> ResponseCurve:
    others = {other: value for other, value in surface.center.items() if other != name}
    runs = surface.runs.assign(x=surface.runs[name])
    extra = runs_of(scores, pd.DataFrame({"cell": [band[1]]})) if band else runs.iloc[:0]
    means = cell_means(pd.concat([runs, extra]))
    points = runs.drop_duplicates("cell").merge(means, left_on="cell", right_index=True)
    along = np.ones(len(points), dtype=bool)
    for other, value in others.items():
        along &= np.isclose(points[other], value, rtol=0.02)
    points = points.assign(along=along).sort_values("x")[["cell", "x", "mean", "low", "high", "n", "along"]]
    center, low, high = surface.center[name], float(points["x"].min()), float(points["x"].max())
    log = np.log(np.geomspace(low, high, _STEPS) / center)
    shown = Band(band[0], *means.loc[band[1], ["mean", "low", "high"]].astype(float)) if band else None
    if surface.fit is None or withheld:
        curve = pd.DataFrame(columns=["x", "fit", "low", "high"])
        judged: tuple[str, float, float, float] = ("untested", np.nan, np.nan, np.nan)
    else:
        df, covariance = surface.fit.df, surface.fit.covariance
        rows = surface.rows(name, log)
        fitted, half = (
            rows @ surface.fit.params,
            special.stdtrit(df, 0.975) * np.sqrt(np.einsum("ij,jk,ik->i", rows, covariance, rows)),
        )
        curve = pd.DataFrame({"x": center * np.exp(log), "fit": fitted, "low": fitted - half, "high": fitted + half})
        at = surface.place(name)
        judged = _best(surface.fit.params[at : at + 2], covariance[at : at + 2, at : at + 2], df, log, fitted)
    word, *ends = judged
    best, best_low, best_high = (float(center * np.exp(end)) for end in ends)
    return ResponseCurve(
        design=design,
        factor=name,
        points=points.reset_index(drop=True),
        curve=curve,
        reference=center,
        best=best,
        best_low=best_low,
        best_high=best_high,
        word=word,
        sentence=f"No verdict: {withheld}." if withheld else _sentence(word, best, best_low, best_high, low, high),
        band=shown,
    )


def _best(
    slope: np.ndarray, covariance: np.ndarray, df: float, log: np.ndarray, fitted: np.ndarray
) -> tuple[str, float, float, float]:
    """Word, best place and its interval, all as logarithms, from the slope ``b1 + 2 b2 log`` and its error."""
    steepness = slope[0] + 2 * slope[1] * log
    p = 2 * special.stdtr(df, -np.abs(slope) / np.sqrt(np.diag(covariance)))
    error = special.stdtrit(df, 0.975) * np.sqrt(
        covariance[0, 0] + 4 * log * covariance[0, 1] + 4 * log**2 * covariance[1, 1]
    )
    rises, falls = np.flatnonzero(steepness > error), np.flatnonzero(steepness < -error)
    top = float(log[fitted.argmax()])
    if 1 - (1 - p.min()) ** 2 > 0.05 or not (len(rises) or len(falls)):
        return "flat", np.nan, float(log[0]), float(log[-1])
    if not len(falls):
        return "rising", top, float(log[rises[-1]]), float(log[-1])
    if not len(rises):
        return "falling", top, float(log[0]), float(log[falls[0]])
    if rises[0] > falls[0]:
        return "valley", top, np.nan, np.nan
    return "peak", top, float(log[rises[-1]]), float(log[falls[0]])


def _sentence(word: str, best: float, best_low: float, best_high: float, low: float, high: float) -> str:
    beyond = "and may lie beyond the range, which"
    if word in ("rising", "falling") and best_low == best_high:
        return f"{word.capitalize()} up to the end of the range ({best:.2g}): the best value may lie beyond it."
    return {
        "peak": f"Best at {best:.2g}, 95 % interval {best_low:.2g} to {best_high:.2g}.",
        "rising": f"Rises: the best value is {best_low:.2g} or more {beyond} ends at {high:.2g}.",
        "falling": f"Falls: the best value is {best_high:.2g} or less {beyond} begins at {low:.2g}.",
        "valley": f"Falls and rises again between {low:.2g} and {high:.2g}: there is no single best value.",
        "flat": f"Flat: between {low:.2g} and {high:.2g} no value is better than another beyond noise.",
        "untested": "Too few runs for a curve, or the same scores on every seed.",
    }[word]


def _compared(
    group: pd.DataFrame, cell_levels: dict[str, dict[str, str]], name: str, scores: dict[str, dict[int, float]]
) -> tuple[str, str] | None:
    """Label and cell of what a curve is compared with."""
    weight = f"{name.rpartition('.')[0]}.weight"
    zero = [
        cell for cell, its_levels in cell_levels.items() if _number(its_levels.get(weight)) == 0 and scores.get(cell)
    ]
    if zero:
        return "without this loss", zero[0]
    plain = [cell for cell in group.loc[group["role"] == "control", "cell"] if cell == "none" and scores.get(cell)]
    return ("cross-entropy alone", plain[0]) if plain else None


def _positive(cell_levels: dict[str, dict[str, str]], name: str) -> set[float]:
    """The positive values of a factor; none if it is not a number in every cell that has it."""
    values = {_number(its_levels[name]) for its_levels in cell_levels.values() if name in its_levels}
    return set() if any(np.isnan(value) for value in values) else {value for value in values if value > 0}


def _number(text: str | None) -> float:
    try:
        return float(text) if text is not None else float("nan")
    except ValueError:
        return float("nan")
