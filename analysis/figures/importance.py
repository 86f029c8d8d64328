"""Figures of the searched parameters: which of them matter, and how good the scores get where."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.figures.canvas import INK, add, canvas
from analysis.formats import points, share
from analysis.search.importance import lifted

_WAYS = {"fanova": ("#3f7fd6", "fANOVA"), "ped-anova": ("#2a9d7f", "PED-ANOVA")}
_BEST = "#d9542f"


def importance(frame: pd.DataFrame) -> go.Figure:
    """Share of each parameter by both methods, with intervals, each beside its noise floor (a dotted line).

    A filled mark is above the floor, a hollow one is not.

    Args:
        frame: From ``importance.importance``.
    """
    names = list(dict.fromkeys(frame.sort_values("value")["name"]))
    names.sort(key=lambda name: frame.loc[frame["name"] == name, "value"].max())
    ways = [way for way in _WAYS if (frame["method"] == way).any()]
    figure = canvas(height=110 + 46 * len(names), x="share explained (%)")
    for row in frame.dropna(subset="value").to_dict("records"):
        color, label = _WAYS[row["method"]]
        place = names.index(row["name"]) + (0.14 if row["method"] == ways[0] else -0.14)
        if np.isfinite([row["low"], row["high"]]).all():
            ends = [100 * row["low"], 100 * row["high"]]
            add(figure, x=ends, y=[place] * 2, mode="lines", line={"color": color, "width": 2.5}, hoverinfo="skip")
        symbol = "circle" if row["above_noise"] else "circle-open"
        text = f"{row['name']}, {label}: {share(row['value'])}, noise up to {share(row['noise'])}"
        mark = {"symbol": symbol, "size": 9, "color": color, "line": {"width": 2, "color": color}}
        add(figure, x=[100 * row["value"]], y=[place], mode="markers", marker=mark, text=[text])
    for method, part in frame.groupby("method"):
        line = {"color": _WAYS[str(method)][0], "width": 1.5, "dash": "dot"}
        figure.add_vline(x=100 * float(part["noise"].iloc[0]), line=line)
    keys = [f'<span style="color:{color}">●</span> {label}' for color, label in (_WAYS[way] for way in ways)]
    place_of = {"xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
    figure.add_annotation(x=0, y=1, yshift=6, text=f"{'  '.join(keys)}  (dotted: noise)", showarrow=False, **place_of)
    figure.update_layout(margin={"t": 32})
    furthest = frame[["value", "high", "noise"]].max().max()
    figure.update_xaxes(range=[-1, 104 * furthest + 1])
    ticks = [name.removeprefix("terms.").replace(".", "<br>", 1) for name in names]
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=ticks, showgrid=False, range=[-0.6, len(names) - 0.4]
    )
    return figure


def isolation(buckets: pd.DataFrame, dots: pd.DataFrame, log: bool = False) -> go.Figure:
    """Every config as a dot over one parameter; the best of each bucket as a line, its upper quartile as a thick one.

    Args:
        buckets: From ``importance.isolation``.
        dots: Rows of the same study and parameter from ``history.responses``.
        log: Whether the parameter was searched on a log scale.

    Collapsed trainings (see ``importance.lifted``) are arrows at the lower edge.
    """
    figure = canvas(height=240, y="mIoU")
    numeric = buckets["low"].notna().all() and (buckets["high"] > buckets["low"]).all()
    order = {label: place for place, label in enumerate(buckets["label"])}
    if numeric:
        x = dots["value"].to_numpy(float)
    else:
        x = np.array(
            [
                order.get(_label(text, value), np.nan)
                for text, value in zip(dots["value_json"], dots["value"], strict=True)
            ]
        )
    text = [f"{trial}: {points(score)}" for trial, score in zip(dots["trial_id"], dots["score"], strict=True)]
    y = 100 * lifted(dots["score"]).to_numpy()
    symbols = np.where(y > 100 * dots["score"], "triangle-down-open", "circle")
    marker = {"size": 6, "color": "#3f7fd6", "opacity": 0.5, "symbol": symbols}
    add(figure, x=x, y=y, mode="markers", marker=marker, text=text)
    for row in buckets.to_dict("records"):
        ends = [row["low"], row["high"]] if numeric else [order[row["label"]] - 0.35, order[row["label"]] + 0.35]
        for value, color, width, label in (
            (row["best"], _BEST, 1.5, "best"),
            (row["upper"], INK, 3.5, "upper quartile"),
        ):
            words = [f"{row['label']}: {label} of {row['n']}: {points(value)}"] * 2
            line = {"color": color, "width": width}
            add(figure, x=ends, y=[100 * value] * 2, mode="lines", line=line, text=words)
    if not numeric:
        figure.update_xaxes(tickvals=list(order.values()), ticktext=list(order), showgrid=False)
    elif log:
        figure.update_xaxes(type="log", dtick=1, tickformat="~g")
    return figure


def _label(text: str, value: float) -> str:
    return f"{value:g}" if np.isfinite(value) else text.strip('"')
