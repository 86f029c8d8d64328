"""Figures of what a search brings for its budget, and of what quality costs."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.figures.canvas import INK, add, canvas
from analysis.formats import big, duration, points, share

Colors = dict[str, str]


def expected_by_trials(frame: pd.DataFrame, palette: Colors) -> go.Figure:
    """Expected best score against the number of trials: solid where it can be trusted, dotted beyond.

    Thin: the score by which the best is chosen, in its band; thick: the score of that config on what did not choose it.

    Args:
        frame: ``by_trials`` of ``expected.expected_best``.
        palette: Color per study.
    """
    figure = canvas(height=320, x="trials", y="expected best mIoU")
    for study, curve in frame.groupby("study", sort=False):
        color = palette[str(study)]
        solid = curve[curve["trusted"]]
        band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
        add(figure, x=solid["n"], y=100 * solid["low"], **band)
        add(figure, x=solid["n"], y=100 * solid["high"], fill="tonexty", fillcolor=_faint(color), **band)
        _line(figure, str(study), curve, "n", "score", color, 1.2)
        if curve["held_out"].notna().any():
            _line(figure, str(study), curve, "n", "held_out", color, 3.0)
    figure.update_xaxes(type="log")
    return figure


def expected_by_hours(frame: pd.DataFrame, palette: Colors) -> go.Figure:
    """Expected best score against hours of training.

    Args:
        frame: ``by_hours`` of ``expected.expected_best``.
        palette: Color per study.
    """
    figure = canvas(height=320, x="hours of training", y="expected best mIoU")
    for study, curve in frame.groupby("study", sort=False):
        _line(figure, str(study), curve, "hours", "score", palette[str(study)], 2.0)
    figure.update_xaxes(type="log")
    return figure


def pareto(frame: pd.DataFrame, palette: Colors) -> go.Figure:
    """MIoU against what one training costs; the area of a mark grows with the size of the student.

    Filled: on the front; the line joins what no cheaper config beats.

    Args:
        frame: From ``pareto.pareto``.
        palette: Color per study.
    """
    minutes = frame["cost_s"] / 60
    figure = canvas(height=320, x="one training, with its share of the teacher (minutes)", y="mIoU")
    steps = frame.assign(minutes=minutes).sort_values("minutes")
    steps = steps[steps["mean"] > steps["mean"].cummax().shift(fill_value=-np.inf)]
    dotted = {"color": INK, "width": 1, "dash": "dot", "shape": "hv"}
    add(figure, x=steps["minutes"], y=100 * steps["mean"], mode="lines", line=dotted, hoverinfo="skip")
    largest = frame["params"].max()
    for x, row in zip(minutes, frame.to_dict("records"), strict=True):
        size = 10 + 14 * np.sqrt(row["params"] / largest) if largest > 0 else 12
        color = palette[row["study"]]
        fill = color if row["on_front"] else "rgba(0,0,0,0)"
        said = (
            f"{row['study']}: {points(row['mean'])} over {row['n']} seeds, {duration(row['cost_s'])}, "
            f"{big(row['params'])} parameters, on the front in {share(row['p_front'])} of redraws"
        )
        mark = {"size": size, "color": fill, "line": {"width": 2, "color": color}}
        add(figure, x=[x], y=[100 * row["mean"]], mode="markers", marker=mark, text=[said])
    return figure


def _line(figure: go.Figure, study: str, curve: pd.DataFrame, x: str, y: str, color: str, width: float) -> None:
    """One curve in two parts, which meet at the last point that can be trusted."""
    ordered = curve.sort_values(x)
    last = int(ordered["trusted"].sum())
    text = [f"{study}: {points(value)} after {at:.3g} {x}" for at, value in zip(ordered[x], ordered[y], strict=True)]
    for part, dash in ((slice(0, last), "solid"), (slice(max(last - 1, 0), None), "dot")):
        line = {"color": color, "width": width, "dash": dash}
        add(figure, x=ordered[x][part], y=100 * ordered[y][part], mode="lines", line=line, text=text[part])


def _faint(color: str) -> str:
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.12)"
