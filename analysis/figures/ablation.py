"""Figures of an ablation. A figure draws what was computed elsewhere; differences and mIoU are drawn in points."""

import math

import numpy as np
import pandas as pd

from analysis.ablation.factorial import MAIN
from analysis.ablation.layers import LayerGrid
from analysis.ablation.response import ResponseCurve
from analysis.figures.canvas import BASELINE, INK, Figure, wrapped
from analysis.figures.marks import Area, Box, Curve, Dots, Text
from analysis.formats import points, signed
from analysis.stats.words import WORDS

_GAIN, _LOSS, _SECOND = "#3f7fd6", "#d9542f", "#2a9d7f"
_SEPARATED = WORDS[0]


def forest(frame: pd.DataFrame, smallest: float, x: str = "cell minus reference (points)") -> Figure:
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
    figure = _effects(66 + (22 + 20 * len(ways)) * len(labels), x, smallest)
    figure.y.name(labels)
    colors = dict(zip(ways, (_GAIN, _SECOND, _LOSS, INK), strict=False))
    for row in shown.to_dict("records"):
        place = labels.index(row["label"]) + _offset(ways.index(row["way"]), len(ways))
        control = row.get("role") == "control"
        _effect(figure, row, place, BASELINE if control else colors.get(row["way"], INK))
    figure.head = _unseen(frame["mde"])
    figure.keys = {way: colors[way] for way in ways if way} if len(ways) > 1 else {}
    return figure


def main_effects(frame: pd.DataFrame, smallest: float) -> Figure:
    """Main effects and interactions of one factorial; hollow beside a main effect: with all else as in the reference.

    Args:
        frame: Rows of one design from ``factorial.factorial_effects``.
        smallest: The practical threshold (fraction).
    """
    shown = frame.iloc[::-1].reset_index(drop=True)
    figure = _effects(66 + 36 * len(shown), "effect (points)", smallest)
    figure.y.name(list(shown["effect"]))
    for place, row in enumerate(shown.to_dict("records")):
        _effect(figure, {**row, "label": row["effect"]}, place, _GAIN if row["kind"] == MAIN else _SECOND)
        if not _nothing(row["simple"]):
            text = f"{row['effect']}, all else as in the reference: {signed(row['simple'])}"
            figure.add(Dots([100 * row["simple"]], [place - 0.28], INK, 9, "diamond-open", titles=[text]))
    mains = frame[frame["kind"] == MAIN]
    unseen = _unseen(mains["mde"], "main effects")
    figure.head = "; ".join(filter(None, [unseen, "hollow diamonds: all else as in the reference"]))
    return figure


def interactions(frame: pd.DataFrame) -> Figure:
    """Main effects on the diagonal, interactions below it, in points; bold where separated from 0.

    Args:
        frame: Rows of one design from ``factorial.factorial_effects``.
    """
    names = list(dict.fromkeys(name for factors in frame["factors"] for name in factors))
    reach = float(np.nanmax(np.abs(frame["difference"].to_numpy(dtype=float)), initial=0.0)) or 1e-9
    figure = Figure(70 + 58 * len(names))
    for row in frame.to_dict("records"):
        across, up = names.index(row["factors"][0]), len(names) - 1 - names.index(row["factors"][-1])
        number = "mixed" if _nothing(row["difference"]) and row["aliases"] else signed(row["difference"])
        mixed = f", mixed with {', '.join(row['aliases'])}" if row["aliases"] else ""
        interval = f" [{signed(row['low'])}, {signed(row['high'])}]"
        title = f"{row['effect']}: {signed(row['difference'])}{interval}, {row['word'] or 'not estimated'}{mixed}"
        strength = 0.0 if _nothing(row["difference"]) else row["difference"] / reach
        look = (_GAIN if strength > 0 else _LOSS, 0.06 + 0.5 * abs(strength))
        _heat(figure, across, up, number, *look, row["word"] == _SEPARATED, title)
    _name_cells(figure, names, names[::-1])
    return figure


def layer_grid(grid: LayerGrid) -> Figure:
    """Every pair of layers: its mean, the color its shrunken score, bold the four to be confirmed.

    Under each layer stands what it brings against the average one.

    Args:
        grid: From ``layers.layer_grids``.
    """
    frame = grid.frame
    rows, columns = list(dict.fromkeys(frame["student"]))[::-1], list(dict.fromkeys(frame["teacher"]))
    low, high = frame["shrunken"].min(), frame["shrunken"].max()
    figure = Figure(110 + 56 * len(rows), x="layer of the teacher", y="layer of the student")
    for row in frame.to_dict("records"):
        title = (
            f"{row['student']} from {row['teacher']}: mean {points(row['mean'])} (n={row['n']}), shrunken "
            f"{points(row['shrunken'])}, rows and columns alone {points(row['additive'])}"
        )
        strength = (row["shrunken"] - low) / (high - low) if high > low else 0.5
        opacity = 0.0 if _nothing(strength) else 0.03 + 0.57 * strength
        at = (columns.index(row["teacher"]), rows.index(row["student"]))
        _heat(figure, *at, points(row["mean"]), _GAIN, opacity, bool(row["top"]), title)
    by_row = frame.drop_duplicates("student").set_index("student")["row_effect"]
    by_column = frame.drop_duplicates("teacher").set_index("teacher")["column_effect"]
    below = [f"{name}\n{signed(by_column[name])}" for name in columns]
    beside = [f"{name}\n{signed(by_row[name])}" for name in rows]
    _name_cells(figure, below, beside)
    return figure


def response(curve: ResponseCurve) -> Figure:
    """The score over one number: cells with their intervals, the fitted curve with its band, the best value.

    Hollow dots are cells in which something else differs too. The dotted line with its band is what the curve is to
    be compared with; the bar at the bottom is the interval of the best value.

    Args:
        curve: From ``response.response_curves``.
    """
    figure = Figure(290, x=f"{curve.factor} (log scale)", y="mIoU (points)")
    figure.x.log = True
    fit, x = 100 * curve.curve[["fit", "low", "high"]], list(curve.curve["x"])
    if len(fit):
        figure.add(Area(x, list(fit["low"]), list(fit["high"]), _GAIN), Curve(x, list(fit["fit"]), _GAIN))
    if curve.band is not None:
        ends = [100 * curve.band.low, 100 * curve.band.high]
        if np.isfinite(ends).all():
            figure.band(ends[0], ends[1])
        figure.level(100 * curve.band.mean, BASELINE, f"{curve.band.label} {points(curve.band.mean)}")
    for along in (False, True):
        part = curve.points[curve.points["along"] == along]
        for row in part.to_dict("records"):
            half = row["high"] - row["mean"]
            if along and np.isfinite(half):
                ends = [100 * (row["mean"] - half), 100 * (row["mean"] + half)]
                figure.add(Curve([row["x"]] * 2, ends, _GAIN, 1.2))
        titles = [f"{row['cell']}: {points(row['mean'])} (n={row['n']})" for row in part.to_dict("records")]
        symbol = "circle" if along else "circle-open"
        figure.add(Dots(list(part["x"]), list(100 * part["mean"]), _GAIN, 8, symbol, titles=titles))
    if curve.word in ("peak", "rising", "falling"):
        figure.add(Curve([curve.best_low, curve.best_high], [-np.inf] * 2, _SECOND, 5))
    figure.upright(curve.reference, INK, width=1)
    values = sorted(curve.points["x"].unique())
    figure.x.ticks = values if len(values) < 8 else None
    return figure


def _effects(height: int, x: str, smallest: float) -> Figure:
    """A figure of differences: the band of those that do not matter, and a line at 0."""
    figure = Figure(height, x=x)
    figure.band(-100 * smallest, 100 * smallest, upright=True)
    figure.upright(0, INK, dash="", width=1)
    return figure


def _effect(figure: Figure, row: dict, place: float, color: str) -> None:
    """One row of a forest: dots of the seeds, the interval, the mark of the mean."""
    if _nothing(row["difference"]):
        return
    values = [100 * value for value in row.get("differences", [])]
    if values:
        pairs = zip(row["paired_seeds"], values, strict=True)
        titles = [f"{row['label']}, seed {seed}: {value:+.2f}" for seed, value in pairs]
        figure.add(Dots(values, [place + 0.17] * len(values), color, 6, opacity=0.5, titles=titles))
    interval = ""
    if not _nothing(row["low"]):
        ends = [100 * row["low"], 100 * row["high"]]
        interval = f" [{ends[0]:+.2f}, {ends[1]:+.2f}]"
        figure.add(Curve(ends, [place] * 2, color, 2.5))
    symbol = "square" if row["word"] == _SEPARATED else "square-open"
    words = f"{row['label']}: {signed(row['difference'])}{interval}, {row['word'] or 'not judged by itself'}"
    figure.add(Dots([100 * row["difference"]], [place], color, 9, symbol, titles=[words]))


def _heat(
    figure: Figure, x: int, y: int, text: str, color: str, opacity: float, bold: bool = False, title: str = ""
) -> None:
    """One cell of a grid, with its number."""
    figure.add(Box(x - 0.48, x + 0.48, y - 0.47, y + 0.47, color, opacity, title))
    figure.add(Text(x, y, text, bold=bold, title=title, bare=True))


def _name_cells(figure: Figure, columns: list[str], rows: list[str]) -> None:
    figure.x.name([wrapped(name, 11) for name in columns])
    figure.y.name(rows)


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


def _nothing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
