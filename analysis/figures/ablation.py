"""Figures of an ablation. A figure draws what was computed elsewhere; differences and mIoU are drawn in points."""

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.ablation.factorial import MAIN
from analysis.ablation.layers import LayerGrid
from analysis.ablation.response import ResponseCurve
from analysis.figures.canvas import BASELINE, INK, add, canvas
from analysis.formats import points, signed
from analysis.stats.words import WORDS

_GAIN, _LOSS, _SECOND = "#3f7fd6", "#d9542f", "#2a9d7f"
_BETWEEN = [[0.0, "rgba(217,84,47,0.6)"], [0.5, "rgba(128,134,145,0.06)"], [1.0, "rgba(63,127,214,0.6)"]]
_UPWARDS = [[0.0, "rgba(63,127,214,0.03)"], [1.0, "rgba(63,127,214,0.62)"]]
_BAND = "rgba(128,134,145,0.16)"
_SEPARATED = WORDS[0]


def forest(frame: pd.DataFrame, smallest: float, x: str = "cell minus reference (points)") -> go.Figure:
    """Differences with their intervals, every seed as a dot; a filled mark is separated from 0, a hollow one is not.

    The gray band holds differences that do not matter in practice. What could have been seen stands above.

    Args:
        frame: Rows of ``effects.ablate`` without references, or of ``effects.worth``, which has ``label`` and
            ``way``: rows with one label lie side by side. A row without a difference is named and has no mark.
        smallest: The practical threshold (fraction).
        x: What the axis says.
    """
    shown = frame.iloc[::-1]
    if "label" not in shown:
        shown = shown.assign(label=[_change(row) for row in shown.to_dict("records")])
    if "way" not in shown:
        shown = shown.assign(way="")
    labels, ways = list(dict.fromkeys(shown["label"])), list(dict.fromkeys(shown["way"]))[::-1]
    figure = canvas(height=96 + (22 + 20 * len(ways)) * len(labels), x=x)
    figure.add_vrect(x0=-100 * smallest, x1=100 * smallest, fillcolor=_BAND, line_width=0, layer="below")
    figure.add_vline(x=0, line={"color": INK, "width": 1})
    colors = dict(zip(ways, (_GAIN, _SECOND, _LOSS, INK), strict=False))
    for row in shown.to_dict("records"):
        place = labels.index(row["label"]) + _offset(ways.index(row["way"]), len(ways))
        control = row.get("role") == "control"
        _effect(figure, row, place, BASELINE if control else colors.get(row["way"], INK))
    figure.update_yaxes(tickvals=list(range(len(labels))), ticktext=[_wrapped(label) for label in labels])
    figure.update_yaxes(showgrid=False, range=[-0.6, len(labels) - 0.4])
    _spread(figure, shown, ["difference", "low", "high"])
    keys = [f'<span style="color:{colors[way]}">■</span> {way}' for way in ways if way] if len(ways) > 1 else []
    return _headed(figure, [_unseen(frame["mde"]), "  ".join(keys)])


def main_effects(frame: pd.DataFrame, smallest: float) -> go.Figure:
    """Main effects and interactions of one factorial; hollow beside a main effect: with all else as in the reference.

    Args:
        frame: Rows of one design from ``factorial.factorial_effects``.
        smallest: The practical threshold (fraction).
    """
    shown = frame.iloc[::-1].reset_index(drop=True)
    figure = canvas(height=96 + 36 * len(shown), x="effect (points)")
    figure.add_vrect(x0=-100 * smallest, x1=100 * smallest, fillcolor=_BAND, line_width=0, layer="below")
    figure.add_vline(x=0, line={"color": INK, "width": 1})
    for place, row in enumerate(shown.to_dict("records")):
        _effect(figure, {**row, "label": row["effect"]}, place, _GAIN if row["kind"] == MAIN else _SECOND)
        if not _nothing(row["simple"]):
            text = f"{row['effect']}, all else as in the reference: {signed(row['simple'])}"
            look = {"symbol": "diamond-open", "size": 8, "color": INK}
            add(figure, x=[100 * row["simple"]], y=[place - 0.28], mode="markers", marker=look, text=[text])
    ticks = [_wrapped(effect) for effect in shown["effect"]]
    figure.update_yaxes(tickvals=list(range(len(shown))), ticktext=ticks, showgrid=False)
    figure.update_yaxes(range=[-0.7, len(shown) - 0.3])
    _spread(figure, shown, ["difference", "low", "high", "simple"])
    mains = frame[frame["kind"] == MAIN]
    return _headed(figure, [_unseen(mains["mde"], "main effects"), "◇ all else as in the reference"])


def interactions(frame: pd.DataFrame) -> go.Figure:
    """Main effects on the diagonal, interactions below it, in points; bold where separated from 0.

    Args:
        frame: Rows of one design from ``factorial.factorial_effects``.
    """
    names = list(dict.fromkeys(name for factors in frame["factors"] for name in factors))
    values = np.full((len(names), len(names)), np.nan)
    text, hover = (np.full(values.shape, "", dtype=object) for _ in range(2))
    for row in frame.to_dict("records"):
        at = (names.index(row["factors"][-1]), names.index(row["factors"][0]))
        values[at] = 100 * row["difference"]
        number = "mixed" if _nothing(row["difference"]) and row["aliases"] else signed(row["difference"])
        text[at] = f"<b>{number}</b>" if row["word"] == _SEPARATED else number
        mixed = f"<br>mixed with {', '.join(row['aliases'])}" if row["aliases"] else ""
        interval = f" [{signed(row['low'])}, {signed(row['high'])}]"
        hover[at] = f"{row['effect']}: {signed(row['difference'])}{interval}, {row['word'] or 'not estimated'}{mixed}"
    reach = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
    figure = canvas(height=70 + 58 * len(names))
    figure.update_yaxes(autorange="reversed")
    ticks = [_wrapped(name) for name in names]
    look = {"colorscale": _BETWEEN, "zmin": -reach, "zmax": reach, "showscale": False, "xgap": 3, "ygap": 3}
    return _heat(figure, values, text, hover, ticks, ticks, look)


def layer_grid(grid: LayerGrid) -> go.Figure:
    """Every pair of layers: its mean, the color its shrunken score, bold the four to be confirmed.

    Under each layer stands what it brings against the average one.

    Args:
        grid: From ``layers.layer_grids``.
    """
    frame = grid.frame
    rows, columns = list(dict.fromkeys(frame["student"]))[::-1], list(dict.fromkeys(frame["teacher"]))
    values = np.full((len(rows), len(columns)), np.nan)
    text, hover = (np.full(values.shape, "", dtype=object) for _ in range(2))
    for row in frame.to_dict("records"):
        at = (rows.index(row["student"]), columns.index(row["teacher"]))
        values[at] = 100 * row["shrunken"]
        text[at] = f"<b>{points(row['mean'])}</b>" if row["top"] else points(row["mean"])
        hover[at] = (
            f"{row['student']} from {row['teacher']}: mean {points(row['mean'])} (n={row['n']}), shrunken "
            f"{points(row['shrunken'])}, rows and columns alone {points(row['additive'])}"
        )
    by_row = frame.drop_duplicates("student").set_index("student")["row_effect"]
    by_column = frame.drop_duplicates("teacher").set_index("teacher")["column_effect"]
    figure = canvas(height=110 + 56 * len(rows), x="layer of the teacher", y="layer of the student")
    look = {"colorscale": _UPWARDS, "showscale": False, "xgap": 3, "ygap": 3}
    below = [f"{name}<br>{signed(by_column[name])}" for name in columns]
    beside = [f"{name}<br>{signed(by_row[name])}" for name in rows]
    return _heat(figure, values, text, hover, below, beside, look)


def response(curve: ResponseCurve) -> go.Figure:
    """The score over one number: cells with their intervals, the fitted curve with its band, the best value.

    Hollow dots are cells in which something else differs too. The dotted line with its band is what the curve is to
    be compared with; the bar at the bottom is the interval of the best value.

    Args:
        curve: From ``response.response_curves``.
    """
    figure = canvas(height=290, x=f"{curve.factor} (log scale)", y="mIoU (points)")
    fit = 100 * curve.curve[["fit", "low", "high"]]
    x = curve.curve["x"].to_numpy()
    if len(fit):
        outline = {"x": np.concatenate([x, x[::-1]]), "y": np.concatenate([fit["high"], fit["low"][::-1]])}
        add(figure, **outline, fill="toself", fillcolor="rgba(63,127,214,0.16)", line={"width": 0}, hoverinfo="skip")
        add(figure, x=x, y=fit["fit"].to_numpy(), mode="lines", line={"color": _GAIN, "width": 2}, hoverinfo="skip")
    if curve.band is not None:
        ends = [100 * curve.band.low, 100 * curve.band.high]
        if np.isfinite(ends).all():
            figure.add_hrect(y0=ends[0], y1=ends[1], fillcolor=_BAND, line_width=0, layer="below")
        figure.add_hline(y=100 * curve.band.mean, line={"color": BASELINE, "width": 1.5, "dash": "dot"})
        note = {"x": 1, "xref": "paper", "y": 100 * curve.band.mean, "xanchor": "right", "yanchor": "bottom"}
        figure.add_annotation(text=f"{curve.band.label} {points(curve.band.mean)}", showarrow=False, **note)
    for along in (False, True):
        part = curve.points[curve.points["along"] == along]
        text = [f"{row['cell']}: {points(row['mean'])} (n={row['n']})" for row in part.to_dict("records")]
        look = {"symbol": "circle" if along else "circle-open", "size": 8, "color": _GAIN}
        half = 100 * (part["high"] - part["mean"]).to_numpy()
        bars = {"type": "data", "array": half, "color": _GAIN, "thickness": 1.2, "width": 0}
        y = 100 * part["mean"].to_numpy()
        error = bars if along and np.isfinite(half).any() else None
        add(figure, x=part["x"].to_numpy(), y=y, mode="markers", marker=look, text=text, error_y=error)
    if curve.word in ("peak", "rising", "falling"):
        line = {"color": _SECOND, "width": 4}
        place = {"yref": "paper", "y0": 0.015, "y1": 0.015}
        figure.add_shape(type="line", x0=curve.best_low, x1=curve.best_high, line=line, **place)
    figure.add_vline(x=curve.reference, line={"color": INK, "width": 1, "dash": "dot"})
    values = sorted(curve.points["x"].unique())
    figure.update_xaxes(type="log", tickvals=values if len(values) < 8 else None, tickformat="~g")
    return figure


def _effect(figure: go.Figure, row: dict, place: float, color: str) -> None:
    """One row of a forest: dots of the seeds, the interval, the mark of the mean."""
    if _nothing(row["difference"]):
        return
    values = [100 * value for value in row.get("differences", [])]
    if values:
        text = [
            f"{row['label']}, seed {seed}: {value:+.2f}"
            for seed, value in zip(row["paired_seeds"], values, strict=True)
        ]
        dots = {"size": 6, "color": color, "opacity": 0.5}
        add(figure, x=values, y=[place + 0.17] * len(values), mode="markers", marker=dots, text=text)
    interval = ""
    if not _nothing(row["low"]):
        ends = [100 * row["low"], 100 * row["high"]]
        interval = f" [{ends[0]:+.2f}, {ends[1]:+.2f}]"
        add(figure, x=ends, y=[place] * 2, mode="lines", line={"color": color, "width": 2.5}, hoverinfo="skip")
    filled = row["word"] == _SEPARATED
    mark = {
        "symbol": "square" if filled else "square-open",
        "size": 9,
        "color": color,
        "line": {"width": 2, "color": color},
    }
    words = f"{row['label']}: {signed(row['difference'])}{interval}, {row['word'] or 'not judged by itself'}"
    add(figure, x=[100 * row["difference"]], y=[place], mode="markers", marker=mark, text=[words])


def _heat(
    figure: go.Figure, values: np.ndarray, text: np.ndarray, hover: np.ndarray, x: list[str], y: list[str], look: dict
) -> go.Figure:
    about = {"text": hover, "hoverinfo": "text", "hoverongaps": False}
    figure.add_trace(go.Heatmap(z=values, x=list(range(len(x))), y=list(range(len(y))), **about, **look))
    for (row, column), words in np.ndenumerate(text):
        figure.add_annotation(x=column, y=row, text=words, showarrow=False)
    figure.update_xaxes(tickvals=list(range(len(x))), ticktext=x, showgrid=False, showline=False)
    figure.update_yaxes(tickvals=list(range(len(y))), ticktext=y, showgrid=False)
    return figure


def _headed(figure: go.Figure, lines: list[str]) -> go.Figure:
    kept = [line for line in lines if line]
    if kept:
        head = {"text": "<br>".join(kept), "font": {"size": 12}, "pad": {"b": 6 + 15 * (len(kept) - 1), "l": 4}}
        place = {"x": 0, "xref": "container", "y": 1, "yref": "paper", "yanchor": "bottom"}
        figure.update_layout(title={**head, **place}, margin={"t": 14 + 17 * len(kept)})
    return figure


def _spread(figure: go.Figure, frame: pd.DataFrame, columns: list[str]) -> None:
    """An axis of differences that has room for every interval and every dot."""
    ends = [*frame[columns].to_numpy(float).ravel(), 0.0]
    ends += [value for values in frame.get("differences", []) for value in values]
    low, high = 100 * np.nanmin(ends), 100 * np.nanmax(ends)
    room = 0.05 * (high - low) or 0.5
    figure.update_xaxes(range=[low - room, high + room])


def _unseen(mde: pd.Series, what: str = "effects") -> str:
    """The smallest detectable effects, in points."""
    effects = mde.dropna().astype(float)
    if effects.empty:
        return ""
    low, high = f"{100 * effects.min():.1f}", f"{100 * effects.max():.1f}"
    return f"smallest detectable {what}: {low if low == high else f'{low} to {high}'} points"


def _change(row: dict) -> str:
    """What a cell changes, as a label."""
    factor, level = row.get("factor"), row.get("level")
    if row.get("role") == "control" or not isinstance(factor, str):
        return str(row["cell"])
    if level in ("on", "off"):
        return f"{'with' if level == 'on' else 'without'} {factor}"
    return f"{factor} = {level}"


def _offset(position: int, count: int) -> float:
    return 0.0 if count < 2 else 0.22 - 0.44 * position / (count - 1)


def _wrapped(label: str, width: int = 16) -> str:
    """A long label on two lines, broken where a reader would."""
    if len(label) <= width:
        return label
    breaks = [place + 1 for place, sign in enumerate(label[:-1]) if sign in " ._+-="]
    if not breaks:
        return label
    best = min(breaks, key=lambda place: abs(place - len(label) / 2))
    return f"{label[:best].rstrip()}<br>{label[best:]}"


def _nothing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
