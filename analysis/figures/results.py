"""Figures of a sweep. A figure draws a frame that was computed elsewhere; mIoU is drawn in points (0..100).

Backgrounds are transparent and every color is a middle tone, so that a figure reads on white and on black; a
study has one color in all figures.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.figures.canvas import BASELINE, TEACHER, add, canvas, upright
from analysis.figures.canvas import INK as _INK
from analysis.formats import duration, points
from analysis.tables.states import BROKEN, Phase, State

Colors = dict[str, str]

_CYCLE = (
    *("#3f7fd6", "#2a9d7f", "#c4559b", "#d9542f", "#8a68d4", "#2ba3bd"),
    *("#8f9a2b", "#a9714b", "#d98aa8", "#5f8f4e", "#6d7fb3", "#9c4a6b"),
)
_USES = {"search": 1.0, "search, pruned": 0.55, "lost": 0.25, "fresh seeds": 0.8, "final seeds": 0.9}


def colors(studies: pd.DataFrame) -> Colors:
    """One color per study, in the order of the table; the baseline is gray. Many studies share colors."""
    others = [study for study, base in zip(studies["study"], studies["is_baseline"], strict=True) if not base]
    chosen = {study: _CYCLE[position % len(_CYCLE)] for position, study in enumerate(others)}
    return {study: chosen.get(study, BASELINE) for study in studies["study"]}


def seeds(ranked: pd.DataFrame, palette: Colors, baseline: float, teacher: float) -> go.Figure:
    """Every finalist's fresh seeds as dots, its mean as a bar, the score that found it as a hollow diamond.

    Args:
        ranked: From ``finalists``, best first.
        palette: From ``colors``.
        baseline: Mean of the baseline's best finalist, NaN if there is none.
        teacher: The teacher's mIoU, NaN if unknown.
    """
    shown = ranked.iloc[::-1].reset_index(drop=True)
    labels = [row.trial_id if isinstance(row.trial_id, str) else row.study for row in shown.itertuples()]
    figure = canvas(height=90 + 30 * len(shown), x="mIoU (points)")
    for value, color, name in ((baseline, BASELINE, "baseline"), (teacher, TEACHER, "teacher")):
        if np.isfinite(value):
            upright(figure, 100 * value, color, f"{name} {points(value)}")
    for place, row in enumerate(shown.to_dict("records")):
        color, scores = palette.get(row["study"], _INK), [100 * score for score in row["scores"]]
        hover = [f"{row['study']}, seed {seed}: {score:.2f}" for seed, score in zip(row["seeds"], scores, strict=True)]
        ends = [min(scores), max(scores)]
        add(figure, x=ends, y=[place, place], mode="lines", line={"color": color, "width": 1.5}, opacity=0.5)
        dots = {"size": 9, "color": color, "opacity": 0.75}
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
        palette: From ``colors``.
    """
    figure = canvas(height=300, y="mIoU (points)")
    for row in ranked.to_dict("records"):
        color = palette.get(row["study"], _INK)
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


def learning_curves(
    curves: pd.DataFrame, study: str, config_id: str | None, reference: pd.DataFrame, palette: Colors
) -> go.Figure:
    """One study: its search trials thin, the seeds of its best config thick, the baseline's mean dotted.

    Args:
        curves: From ``tuning.learning_curves``, all studies (they share the axes).
        study: Which study to draw.
        config_id: The study's best config, None if it has none.
        reference: The baseline's confirming curves, columns ``epoch, miou``; may be empty.
        palette: From ``colors``.
    """
    figure = canvas(height=230, x="epoch", y="mIoU")
    mine, color = curves[curves["study"] == study], palette.get(study, _INK)
    best = mine[mine["config_id"] == config_id]
    phase = Phase.CONFIRM if (best["phase"] == Phase.CONFIRM).any() else Phase.SEARCH
    best = best[best["phase"] == phase]
    thin = mine[(mine["phase"] == Phase.SEARCH) & ~mine["trial_id"].isin(best["trial_id"])]
    line = {"color": color, "width": 1}
    add(figure, **_polyline(thin), mode="lines", line=line, opacity=0.4, hoverinfo="skip")
    stopped = thin[thin["state"].isin([State.PRUNED, *BROKEN])].drop_duplicates("trial_id", keep="last")
    text = [f"{trial}: {state}" for trial, state in zip(stopped["trial_id"], stopped["state"], strict=True)]
    cross = {"symbol": "x-thin", "size": 6, "line": {"width": 1.5, "color": color}}
    y = 100 * stopped["miou"].to_numpy()
    add(figure, x=stopped["epoch"].to_numpy(), y=y, mode="markers", marker=cross, text=text)
    if len(reference):
        mean = reference.groupby("epoch")["miou"].mean()
        dotted = {"color": BASELINE, "width": 2, "dash": "dot"}
        name = ["baseline, mean of its seeds"] * len(mean)
        add(figure, x=mean.index.to_numpy(), y=100 * mean.to_numpy(), mode="lines", line=dotted, text=name)
    for trial_id, run in best.groupby("trial_id", sort=False):
        text = [
            f"{trial_id}, epoch {epoch}: {points(miou)}" for epoch, miou in zip(run["epoch"], run["miou"], strict=True)
        ]
        line = {"color": color, "width": 2.2}
        x, y = run["epoch"].to_numpy(), 100 * run["miou"].to_numpy()
        add(figure, x=x, y=y, mode="lines", line=line, text=text)
    if len(curves):
        low, high = 100 * curves["miou"].min(), 100 * curves["miou"].max()
        figure.update_yaxes(range=[low - 2, high + 2])
        figure.update_xaxes(range=[0, curves["epoch"].max() + 0.5])
    return figure


def per_class(frame: pd.DataFrame, best: str, palette: Colors) -> go.Figure:
    """IoU of every class for baseline, best config and teacher, largest gain on top.

    Args:
        frame: From ``compare.per_class``.
        best: The study of the best config, for its color.
        palette: From ``colors``.
    """
    gain = (frame["best"] - frame["baseline"]).fillna(frame["best"] * 0)
    shown = frame.loc[gain.sort_values(na_position="first", kind="stable").index]
    classes, place = list(shown.index), np.arange(len(shown))
    figure = canvas(height=90 + 24 * len(shown), x="IoU (points)")
    between = {"color": palette.get(best, _INK), "width": 3}
    for at, low, high in zip(place, 100 * shown["baseline"], 100 * shown["best"], strict=True):
        if np.isfinite(low) and np.isfinite(high):
            add(figure, x=[low, high], y=[at, at], mode="lines", line=between, opacity=0.45, hoverinfo="skip")
    looks = {
        "teacher": {"symbol": "line-ns", "size": 13, "line": {"width": 2.5, "color": TEACHER}},
        "baseline": {"symbol": "circle", "size": 9, "color": BASELINE},
        "best": {"symbol": "circle", "size": 10, "color": palette.get(best, _INK)},
    }
    for name, look in looks.items():
        text = [f"{label}, {name}: {points(value)}" for label, value in zip(classes, shown[name], strict=True)]
        x = 100 * shown[name].to_numpy()
        add(figure, x=x, y=place, mode="markers", marker=look, text=text)
    figure.update_yaxes(tickvals=place.tolist(), ticktext=classes, showgrid=False, range=[-0.7, len(shown) - 0.3])
    return figure


def budget(spent: pd.DataFrame, order: Sequence[str], palette: Colors) -> go.Figure:
    """Training time per study as stacked bars: search, pruned, lost, fresh seeds.

    Args:
        spent: From ``tuning.spending``.
        order: Studies from top to bottom.
        palette: From ``colors``.
    """
    longest = spent.groupby("study")["seconds"].sum().max() if len(spent) else 0.0
    divisor, unit = next(
        u for u in ((3600, "hours"), (60, "minutes"), (1, "seconds")) if longest >= 2 * u[0] or u[0] == 1
    )
    figure = canvas(height=90 + 32 * len(order), x=f"training time ({unit})")
    studies = list(reversed(order))
    for use, opacity in _USES.items():
        part = spent[spent["use"] == use].set_index("study").reindex(studies)
        text = [
            f"{study}, {use}: {duration(row['seconds'])}, {row['trials']:.0f} trials, {row['epochs']:.0f} epochs"
            for study, row in zip(studies, part.to_dict("records"), strict=True)
        ]
        pattern = {"shape": "/" if use == "fresh seeds" else "", "fillmode": "replace", "size": 6}
        marker = {"color": [palette.get(s, _INK) for s in studies], "opacity": opacity, "pattern": pattern}
        x = part["seconds"].fillna(0).to_numpy() / divisor
        bar = {"orientation": "h", "marker": marker, "hovertext": text, "hoverinfo": "text", "name": use}
        figure.add_trace(go.Bar(x=x, y=list(range(len(studies))), showlegend=False, **bar))
    figure.update_layout(barmode="stack", bargap=0.35)
    figure.update_yaxes(tickvals=list(range(len(studies))), ticktext=studies, showgrid=False)
    return figure


def incumbent(frame: pd.DataFrame, palette: Colors, against: str = "epochs") -> go.Figure:
    """Best score so far against budget spent, one step line per study: screen, one seed, optimistic.

    Args:
        frame: From ``tuning.incumbents``.
        palette: From ``colors``.
        against: ``epochs`` or ``seconds``.
    """
    figure = canvas(height=300, x=f"{against} spent in the search of the study", y="best so far (mIoU)")
    for study, known in frame.dropna(subset="best").groupby("study", sort=False):
        rose = known["best"].diff().ne(0)
        rose.iloc[-1] = True
        run = known[rose]
        text = [
            f"{study} after {trial}: {points(value)}" for trial, value in zip(run["trial_id"], run["best"], strict=True)
        ]
        line = {"color": palette.get(str(study), _INK), "width": 2.2, "shape": "hv"}
        x, y = run[against].to_numpy(), 100 * run["best"].to_numpy()
        add(figure, x=x, y=y, mode="lines+markers", line=line, marker={"size": 5}, text=text)
    figure.update_xaxes(rangemode="tozero")
    return figure


def response(frame: pd.DataFrame, palette: Colors) -> go.Figure:
    """Score against the value of one searched parameter; every dot is one complete search trial.

    Args:
        frame: Rows of one parameter from ``tuning.responses``.
        palette: From ``colors``.
    """
    figure = canvas(height=210, x="", y="mIoU")
    numeric = frame["value"].notna().all()
    for study, dots in frame.groupby("study", sort=False):
        text = [
            f"{trial}: {value} gives {points(score)}"
            for trial, value, score in zip(dots["trial_id"], dots["value_json"], dots["score"], strict=True)
        ]
        marker = {"size": 8, "color": palette.get(str(study), _INK), "opacity": 0.75}
        x = dots["value"].to_numpy() if numeric else dots["value_json"].str.strip('"').to_numpy()
        y = 100 * dots["score"].to_numpy()
        add(figure, x=x, y=y, mode="markers", marker=marker, text=text)
    if not numeric:
        figure.update_xaxes(type="category")
    elif frame["log"].any():
        decades = np.log10(frame["value"].max() / frame["value"].min())
        ticks = 1 if decades > 1.5 else "D2" if decades > 0.7 else "D1"
        figure.update_xaxes(type="log", dtick=ticks, tickformat="~g")
    return figure


def _polyline(curves: pd.DataFrame) -> dict[str, np.ndarray]:
    """All curves as one line with gaps: one trace stays fast where hundreds do not."""
    epoch, miou = curves["epoch"].to_numpy(dtype=float), 100 * curves["miou"].to_numpy()
    starts = np.flatnonzero(curves["trial_id"].ne(curves["trial_id"].shift()).to_numpy())[1:]
    return {"x": np.insert(epoch, starts, np.nan), "y": np.insert(miou, starts, np.nan)}
