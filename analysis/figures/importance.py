"""Figures of the searched parameters: which of them matter, and how good the scores get where."""

import numpy as np
import pandas as pd

from analysis.figures.canvas import DOT, INK, Figure
from analysis.figures.marks import CLOUD, Curve, Dots
from analysis.formats import points, share
from analysis.search.importance import lifted

_WAYS = {"fanova": ("#3f7fd6", "fANOVA"), "ped-anova": ("#2a9d7f", "PED-ANOVA")}
_BEST = "#d9542f"


def importance(frame: pd.DataFrame) -> Figure:
    """Share of each parameter by both methods, with intervals, each beside its noise floor (a dotted line).

    A filled mark is above the floor, a hollow one is not.

    Args:
        frame: From ``importance.importance``.
    """
    names = list(dict.fromkeys(frame.sort_values("value")["name"]))
    names.sort(key=lambda name: frame.loc[frame["name"] == name, "value"].max())
    ways = [way for way in _WAYS if (frame["method"] == way).any()]
    figure = Figure(66 + 46 * len(names), x="share explained (%)")
    figure.y.name([name.removeprefix("terms.").replace(".", "\n", 1) for name in names])
    figure.keys = {label: color for color, label in (_WAYS[way] for way in ways)}
    for row in frame.dropna(subset="value").to_dict("records"):
        color, label = _WAYS[row["method"]]
        place = names.index(row["name"]) + (0.14 if row["method"] == ways[0] else -0.14)
        figure.add(Curve([100 * row["low"], 100 * row["high"]], [place] * 2, color, 2.5))
        symbol = "circle" if row["above_noise"] else "circle-open"
        text = f"{row['name']}, {label}: {share(row['value'])}, noise up to {share(row['noise'])}"
        figure.add(Dots([100 * row["value"]], [place], color, 9, symbol, titles=[text]))
    for method, part in frame.groupby("method"):
        figure.upright(100 * float(part["noise"].iloc[0]), _WAYS[str(method)][0], dash=DOT)
    figure.x.low = -1
    return figure


def isolation(buckets: pd.DataFrame, dots: pd.DataFrame, log: bool = False) -> Figure:
    """Configs as dots over one parameter; the best of each bucket as a line, its upper quartile as a thick one.

    Args:
        buckets: From ``importance.isolation``.
        dots: The rows of the same study and parameter from ``history.responses`` that are drawn.
        log: Whether the parameter was searched on a log scale.

    Collapsed trainings (see ``importance.lifted``) are arrows at the lower edge.
    """
    figure = Figure(240, y="mIoU")
    numeric = buckets["low"].notna().all() and (buckets["high"] > buckets["low"]).all()
    order = {label: place for place, label in enumerate(buckets["label"])}
    if numeric:
        x = dots["value"].to_numpy(float)
        figure.x.log = log
    else:
        pairs = zip(dots["value_json"], dots["value"], strict=True)
        x = np.array([order.get(_label(text, value), np.nan) for text, value in pairs])
        figure.x.name(list(order))
    titles = [f"{trial}: {points(score)}" for trial, score in zip(dots["trial_id"], dots["score"], strict=True)]
    y = 100 * lifted(dots["score"]).to_numpy()
    collapsed = y > 100 * dots["score"].to_numpy()
    for symbol, part in (("circle", ~collapsed), ("down-open", collapsed)):
        names = ([titles[at] for at in np.flatnonzero(part)], list(dots["trial_id"][part]))
        figure.add(Dots(x[part], y[part], "#3f7fd6", 6, symbol, 0.5, *(names if len(dots) <= CLOUD else ())))
    for row in buckets.to_dict("records"):
        ends = [row["low"], row["high"]] if numeric else [order[row["label"]] - 0.35, order[row["label"]] + 0.35]
        looks = ((row["best"], _BEST, 1.5, "best"), (row["upper"], INK, 3.5, "upper quartile"))
        for value, color, width, label in looks:
            words = f"{row['label']}: {label} of {row['n']}: {points(value)}"
            figure.add(Curve(ends, [100 * value] * 2, color, width, title=words))
    return figure


def _label(text: str, value: float) -> str:
    return f"{value:g}" if np.isfinite(value) else text.strip('"')
