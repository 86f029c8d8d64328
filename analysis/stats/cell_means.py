"""The mean of every cell of a design, with its own spread over seeds."""

import numpy as np
import pandas as pd
from scipy import special


def runs_of(scores: dict[str, dict[int, float]], cells: pd.DataFrame) -> pd.DataFrame:
    """One row per run: the columns of ``cells`` (``cell`` among them), ``seed`` and ``score``."""
    rows = [(cell, seed, score) for cell in cells["cell"] for seed, score in scores.get(cell, {}).items()]
    return cells.merge(pd.DataFrame(rows, columns=["cell", "seed", "score"]), on="cell")


def cell_means(runs: pd.DataFrame) -> pd.DataFrame:
    """Per cell ``mean, n, low, high``: the 95 % interval of the mean by itself, from the cell's own spread.

    The interval is of the mean over other seeds, so that the seeds are no blocks here: two intervals that overlap do
    not say that the cells are alike. Missing for a cell with one seed.
    """
    by_cell = runs.groupby("cell")["score"].agg(["mean", "size", "sem"]).rename(columns={"size": "n"})
    half = special.stdtrit(np.maximum(by_cell["n"] - 1, 1), 0.975) * by_cell.pop("sem")
    return by_cell.assign(low=by_cell["mean"] - half, high=by_cell["mean"] + half)


def seed_term(runs: pd.DataFrame) -> str:
    """The seeds as a term of a model's formula, if every cell has the same ones; else nothing."""
    shared = runs.groupby("seed")["cell"].nunique().eq(runs["cell"].nunique()).all()
    return " + C(seed)" if shared and runs["seed"].nunique() > 1 else ""
