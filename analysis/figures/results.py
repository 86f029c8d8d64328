"""Figures of results: seeds of every finalist, search against fresh seeds, classes. Scores are drawn in points."""

import numpy as np
import pandas as pd

from analysis.figures.canvas import BASELINE, INK, TEACHER, Colors, Figure
from analysis.figures.marks import Curve, Dots
from analysis.formats import interval, points, signed


def seeds(ranked: pd.DataFrame, palette: Colors, baseline: float, teacher: float) -> Figure:
    """Every finalist's fresh seeds as dots, failed ones as crosses, its mean as a bar, its search score as a diamond.

    Args:
        ranked: From ``finalists``, best first.
        palette: From ``canvas.colors``.
        baseline: Mean of the baseline's best finalist, NaN if there is none.
        teacher: The teacher's mIoU, NaN if unknown.
    """
    shown = ranked.iloc[::-1].reset_index(drop=True)
    rows = shown.to_dict("records")
    figure = Figure(90 + 30 * len(shown), x="mIoU (points)")
    figure.y.name(
        [
            f"{row['trial_id'] if isinstance(row['trial_id'], str) else row['study']}"
            f"{' (unstable)' if row['failed_seeds'] else ''}"
            for row in rows
        ]
    )
    for value, color, name in ((baseline, BASELINE, "baseline"), (teacher, TEACHER, "teacher")):
        if np.isfinite(value):
            figure.upright(100 * value, color, f"{name} {points(value)}")
    for place, row in enumerate(rows):
        color, scores = palette.get(row["study"], INK), [100 * score for score in row["scores"]]
        titles = [
            f"{row['study']}, seed {seed}{' (failed)' if seed in row['failed_seeds'] else ''}: {score:.2f}"
            for seed, score in zip(row["seeds"], scores, strict=True)
        ]
        symbols = ["x" if seed in row["failed_seeds"] else "circle" for seed in row["seeds"]]
        mean = f"{row['study']}: mean {points(row['mean'])}, n={row['n']}"
        figure.add(
            Curve([min(scores), max(scores)], [place, place], color, 1.5, opacity=0.5),
            Dots(scores, [place] * len(scores), color, 9, symbols, 0.75, titles),
            Dots([100 * row["mean"]], [place], color, 16, "bar", titles=[mean]),
        )
        if row["confirmed"] and pd.notna(row["screen_score"]):
            text = f"{row['study']}: score in the search {points(row['screen_score'])} (1 seed, optimistic)"
            figure.add(Dots([100 * row["screen_score"]], [place], color, 9, "diamond-open", titles=[text]))
    return figure


def slopes(ranked: pd.DataFrame, palette: Colors) -> Figure:
    """From the score that found a config to its mean on fresh seeds, a line per finalist.

    Args:
        ranked: Finalists with both, from ``finalists``.
        palette: From ``canvas.colors``.
    """
    figure = Figure(300, y="mIoU (points)")
    figure.x.name(["in the search\n(1 seed)", "on fresh seeds\n(mean)"])
    figure.x.low, figure.x.high = -0.25, 1.25
    for row in ranked.to_dict("records"):
        color = palette.get(row["study"], INK)
        ends = [100 * row["screen_score"], 100 * row["mean"]]
        titles = [
            f"{row['study']}, {row['trial_id']}: in the search {points(row['screen_score'])} (1 seed)",
            f"{row['study']}, {row['trial_id']}: on fresh seeds {points(row['mean'])} (n={row['n']})",
        ]
        figure.add(Curve([0, 1], ends, color, opacity=0.8), Dots([0, 1], ends, color, opacity=0.8, titles=titles))
    return figure


def per_class(frame: pd.DataFrame, best: str, palette: Colors) -> Figure:
    """IoU of every class for baseline, best config and teacher, largest gain on top.

    Args:
        frame: From ``compare.per_class``.
        best: The study of the best config, for its color.
        palette: From ``canvas.colors``.
    """
    gain = (frame["best"] - frame["baseline"]).fillna(frame["best"] * 0)
    shown = frame.loc[gain.sort_values(na_position="first", kind="stable").index]
    classes, place = list(map(str, shown.index)), np.arange(len(shown))
    figure = Figure(90 + 24 * len(shown), x="IoU (points)")
    figure.y.name(classes)
    color = palette.get(best, INK)
    for at, low, high in zip(place, 100 * shown["baseline"], 100 * shown["best"], strict=True):
        if np.isfinite(low) and np.isfinite(high):
            figure.add(Curve([low, high], [int(at)] * 2, color, 3, opacity=0.45))
    looks = {
        "teacher": {"color": TEACHER, "size": 13, "symbol": "bar"},
        "baseline": {"color": BASELINE, "size": 9},
        "best": {"color": color, "size": 10},
    }
    for name, look in looks.items():
        titles = [f"{label}, {name}: {points(value)}" for label, value in zip(classes, shown[name], strict=True)]
        figure.add(Dots(100 * shown[name].to_numpy(dtype=float), place, titles=titles, **look))  # type: ignore[arg-type]
    return figure


def class_differences(frame: pd.DataFrame, best: str, palette: Colors) -> Figure:
    """Difference in IoU of two checkpoints, class by class, with its interval; filled where that leaves out 0.

    Args:
        frame: From ``image_bootstrap.class_differences``, indexed by class name.
        best: The study of the best config, for its color.
        palette: From ``canvas.colors``.
    """
    shown, color = frame.sort_values("difference", kind="stable"), palette.get(best, INK)
    classes, place = list(map(str, shown.index)), np.arange(len(shown))
    figure = Figure(90 + 24 * len(shown), x="IoU, best minus baseline (points)")
    figure.y.name(classes)
    figure.upright(0, INK, dash="", width=1)
    ends = 100 * shown[["low", "high"]].to_numpy(dtype=float)
    gaps = np.full(len(shown), np.nan)
    x = np.column_stack([ends, gaps]).ravel()
    y = np.column_stack([place, place, gaps]).ravel()
    titles = [
        f"{name}: {signed(row['difference'])} {interval(row['low'], row['high'])}, in {row['clusters']} clusters"
        for name, row in zip(classes, shown.to_dict("records"), strict=True)
    ]
    apart = (ends[:, 0] > 0) | (ends[:, 1] < 0)
    symbols = np.where(apart, "square", "square-open").tolist()
    differences = 100 * shown["difference"].to_numpy(dtype=float)
    figure.add(Curve(x, y, color, 2.5), Dots(differences, place, color, 9, symbols, titles=titles))
    return figure
