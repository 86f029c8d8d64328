"""Figures of results: seeds of every finalist, search against fresh seeds, classes. Scores are drawn in points."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.figures.canvas import BASELINE, INK, TEACHER, Colors, add, canvas, vertical_line
from analysis.formats import interval, points, signed


def seeds(ranked: pd.DataFrame, palette: Colors, baseline: float, teacher: float) -> go.Figure:
    """Every finalist's fresh seeds as dots, failed ones as crosses, its mean as a bar, its search score as a diamond.

    Args:
        ranked: From ``finalists``, best first.
        palette: From ``canvas.colors``.
        baseline: Mean of the baseline's best finalist, NaN if there is none.
        teacher: The teacher's mIoU, NaN if unknown.
    """
    shown = ranked.iloc[::-1].reset_index(drop=True)
    rows = shown.to_dict("records")
    labels = [
        f"{row['trial_id'] if isinstance(row['trial_id'], str) else row['study']}"
        f"{' (unstable)' if row['failed_seeds'] else ''}"
        for row in rows
    ]
    figure = canvas(height=90 + 30 * len(shown), x="mIoU (points)")
    for value, color, name in ((baseline, BASELINE, "baseline"), (teacher, TEACHER, "teacher")):
        if np.isfinite(value):
            vertical_line(figure, 100 * value, color, f"{name} {points(value)}")
    for place, row in enumerate(rows):
        color, scores = palette.get(row["study"], INK), [100 * score for score in row["scores"]]
        hover = [
            f"{row['study']}, seed {seed}{' (failed)' if seed in row['failed_seeds'] else ''}: {score:.2f}"
            for seed, score in zip(row["seeds"], scores, strict=True)
        ]
        ends = [min(scores), max(scores)]
        add(figure, x=ends, y=[place, place], mode="lines", line={"color": color, "width": 1.5}, opacity=0.5)
        dots = {"size": 9, "color": color, "opacity": 0.75}
        if row["failed_seeds"]:
            dots["symbol"] = ["x" if seed in row["failed_seeds"] else "circle" for seed in row["seeds"]]
        add(figure, x=scores, y=[place] * len(scores), mode="markers", marker=dots, text=hover)
        bar = {"symbol": "line-ns", "size": 20, "line": {"width": 3, "color": color}}
        text = f"{row['study']}: mean {points(row['mean'])}, n={row['n']}"
        add(figure, x=[100 * row["mean"]], y=[place], mode="markers", marker=bar, text=[text])
        if row["confirmed"] and pd.notna(row["screen_score"]):
            diamond = {"symbol": "diamond-open", "size": 9, "color": color, "line": {"width": 1.5}}
            text = f"{row['study']}: score in the search {points(row['screen_score'])} (1 seed, optimistic)"
            x = [100 * row["screen_score"]]
            add(figure, x=x, y=[place], mode="markers", marker=diamond, text=[text])
    figure.update_yaxes(tickvals=list(range(len(shown))), ticktext=labels, showgrid=False)
    figure.update_yaxes(range=[-0.7, len(shown) - 0.3])
    return figure


def slopes(ranked: pd.DataFrame, palette: Colors) -> go.Figure:
    """From the score that found a config to its mean on fresh seeds, a line per finalist.

    Args:
        ranked: Finalists with both, from ``finalists``.
        palette: From ``canvas.colors``.
    """
    figure = canvas(height=300, y="mIoU (points)")
    for row in ranked.to_dict("records"):
        color = palette.get(row["study"], INK)
        ends = [100 * row["screen_score"], 100 * row["mean"]]
        text = [
            f"{row['study']}, {row['trial_id']}: in the search {points(row['screen_score'])} (1 seed)",
            f"{row['study']}, {row['trial_id']}: on fresh seeds {points(row['mean'])} (n={row['n']})",
        ]
        looks = {"mode": "lines+markers", "line": {"color": color, "width": 2}, "marker": {"size": 8}, "opacity": 0.8}
        add(figure, x=[0, 1], y=ends, text=text, **looks)
    ticks = ["in the search<br>(1 seed)", "on fresh seeds<br>(mean)"]
    figure.update_xaxes(tickvals=[0, 1], ticktext=ticks, range=[-0.25, 1.25], showgrid=False, showline=False)
    return figure


def per_class(frame: pd.DataFrame, best: str, palette: Colors) -> go.Figure:
    """IoU of every class for baseline, best config and teacher, largest gain on top.

    Args:
        frame: From ``compare.per_class``.
        best: The study of the best config, for its color.
        palette: From ``canvas.colors``.
    """
    gain = (frame["best"] - frame["baseline"]).fillna(frame["best"] * 0)
    shown = frame.loc[gain.sort_values(na_position="first", kind="stable").index]
    classes, place = list(shown.index), np.arange(len(shown))
    figure = canvas(height=90 + 24 * len(shown), x="IoU (points)")
    between = {"color": palette.get(best, INK), "width": 3}
    for at, low, high in zip(place, 100 * shown["baseline"], 100 * shown["best"], strict=True):
        if np.isfinite(low) and np.isfinite(high):
            add(figure, x=[low, high], y=[at, at], mode="lines", line=between, opacity=0.45, hoverinfo="skip")
    looks = {
        "teacher": {"symbol": "line-ns", "size": 13, "line": {"width": 2.5, "color": TEACHER}},
        "baseline": {"symbol": "circle", "size": 9, "color": BASELINE},
        "best": {"symbol": "circle", "size": 10, "color": palette.get(best, INK)},
    }
    for name, look in looks.items():
        text = [f"{label}, {name}: {points(value)}" for label, value in zip(classes, shown[name], strict=True)]
        x = 100 * shown[name].to_numpy()
        add(figure, x=x, y=place, mode="markers", marker=look, text=text)
    figure.update_yaxes(tickvals=place.tolist(), ticktext=classes, showgrid=False, range=[-0.7, len(shown) - 0.3])
    return figure


def class_differences(frame: pd.DataFrame, best: str, palette: Colors) -> go.Figure:
    """Difference in IoU of two checkpoints, class by class, with its interval; filled where that leaves out 0.

    Args:
        frame: From ``image_bootstrap.class_differences``, indexed by class name.
        best: The study of the best config, for its color.
        palette: From ``canvas.colors``.
    """
    shown, color = frame.sort_values("difference", kind="stable"), palette.get(best, INK)
    classes, place = list(shown.index), np.arange(len(shown))
    figure = canvas(height=90 + 24 * len(shown), x="IoU, best minus baseline, one checkpoint each (points)")
    figure.add_vline(x=0, line={"color": INK, "width": 1})
    ends = 100 * shown[["low", "high"]].to_numpy(dtype=float)
    gaps = np.full(len(shown), np.nan)
    x = np.column_stack([ends, gaps]).ravel()
    y = np.column_stack([place, place, gaps]).ravel()
    add(figure, x=x, y=y, mode="lines", line={"color": color, "width": 2.5}, hoverinfo="skip")
    apart = (ends[:, 0] > 0) | (ends[:, 1] < 0)
    text = [
        f"{name}: {signed(row['difference'])} {interval(row['low'], row['high'])}, in {row['clusters']} clusters"
        for name, row in zip(classes, shown.to_dict("records"), strict=True)
    ]
    symbols = np.where(apart, "square", "square-open").tolist()
    low, high = np.nanmin([0.0, *ends.ravel()]), np.nanmax([0.0, *ends.ravel()])
    room = 0.05 * (high - low) or 0.5
    figure.update_xaxes(range=[low - room, high + room])
    look = {"symbol": symbols, "size": 9, "color": color, "line": {"width": 2, "color": color}}
    add(figure, x=100 * shown["difference"].to_numpy(), y=place, mode="markers", marker=look, text=text)
    figure.update_yaxes(tickvals=place.tolist(), ticktext=classes, showgrid=False, range=[-0.7, len(shown) - 0.3])
    return figure
