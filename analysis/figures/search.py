"""Figures of a search: how trainings went, what was spent, what a budget brings, what quality costs."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.figures.canvas import BASELINE, INK, TEACHER, Colors, add, canvas
from analysis.formats import big, duration, points, share
from analysis.tables.states import BROKEN, Phase, State

_USES = {"search": 1.0, "search, pruned": 0.55, "lost": 0.25, "fresh seeds": 0.8, "final seeds": 0.9}
"""How opaque the bar of each use of training time is."""


def learning_curves(
    curves: pd.DataFrame, study: str, config_id: str | None, reference: pd.DataFrame, palette: Colors
) -> go.Figure:
    """One study: its search trials thin, the seeds of its best config thick, the baseline's mean dotted.

    Args:
        curves: From ``history.learning_curves``, all studies (they share the axes).
        study: Which study to draw.
        config_id: The study's best config, None if it has none.
        reference: The baseline's confirming curves, columns ``epoch, miou``; may be empty.
        palette: From ``canvas.colors``.
    """
    figure = canvas(height=230, x="epoch", y="mIoU")
    mine, color = curves[curves["study"] == study], palette.get(study, INK)
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


def budget(
    spent: pd.DataFrame, order: Sequence[str], palette: Colors, once: Mapping[str, float] = MappingProxyType({})
) -> go.Figure:
    """Training time per study as stacked bars: search, pruned, lost, fresh seeds; below them what was done once.

    Args:
        spent: From ``history.spending``.
        order: Studies from top to bottom.
        palette: From ``canvas.colors``.
        once: Seconds of what was done once for all studies, by what it was.
    """
    longest = max([sum(once.values()), *spent.groupby("study")["seconds"].sum()])
    divisor, unit = next(
        u for u in ((3600, "hours"), (60, "minutes"), (1, "seconds")) if longest >= 2 * u[0] or u[0] == 1
    )
    figure = canvas(height=90 + 32 * (len(order) + bool(once)), x=f"training time ({unit})")
    studies = list(reversed(order))
    for use, opacity in _USES.items():
        part = spent[spent["use"] == use].set_index("study").reindex(studies)
        text = [
            f"{study}, {use}: {duration(row['seconds'])}, {row['trials']:.0f} trials, {row['epochs']:.0f} epochs"
            for study, row in zip(studies, part.to_dict("records"), strict=True)
        ]
        pattern = {"shape": "/" if use == "fresh seeds" else "", "fillmode": "replace", "size": 6}
        marker = {"color": [palette.get(s, INK) for s in studies], "opacity": opacity, "pattern": pattern}
        x = part["seconds"].fillna(0).to_numpy() / divisor
        bar = {"orientation": "h", "marker": marker, "hovertext": text, "hoverinfo": "text", "name": use}
        figure.add_trace(go.Bar(x=x, y=list(range(len(studies))), showlegend=False, **bar))
    for (what, seconds), opacity in zip(once.items(), (0.9, 0.6, 0.35), strict=False):
        look = {"orientation": "h", "marker": {"color": TEACHER, "opacity": opacity}, "showlegend": False}
        hover = [f"once for all studies, {what}: {duration(seconds)}"]
        figure.add_trace(go.Bar(x=[seconds / divisor], y=[-1], hovertext=hover, hoverinfo="text", name=what, **look))
    figure.update_layout(barmode="stack", bargap=0.35)
    rows = {-1: "once for all"} if once else {}
    rows |= dict(enumerate(studies))
    figure.update_yaxes(tickvals=list(rows), ticktext=list(rows.values()), showgrid=False)
    return figure


def incumbent(frame: pd.DataFrame, palette: Colors, against: str = "epochs") -> go.Figure:
    """Best score so far against budget spent, one step line per study: screen, one seed, optimistic.

    Args:
        frame: From ``history.incumbents``.
        palette: From ``canvas.colors``.
        against: ``epochs`` or ``seconds``.
    """
    figure = canvas(height=300, x=f"{against} spent in the search of the study", y="best so far (mIoU)")
    for study, steps in frame.dropna(subset="best").groupby("study", sort=False):
        rose = steps["best"].diff().ne(0)
        rose.iloc[-1] = True
        run = steps[rose]
        text = [
            f"{study} after {trial}: {points(value)}" for trial, value in zip(run["trial_id"], run["best"], strict=True)
        ]
        line = {"color": palette.get(str(study), INK), "width": 2.2, "shape": "hv"}
        x, y = run[against].to_numpy(), 100 * run["best"].to_numpy()
        add(figure, x=x, y=y, mode="lines+markers", line=line, marker={"size": 5}, text=text)
    figure.update_xaxes(rangemode="tozero")
    return figure


def response(frame: pd.DataFrame, palette: Colors) -> go.Figure:
    """Score against the value of one searched parameter; every dot is one complete search trial.

    Args:
        frame: Rows of one parameter from ``history.responses``.
        palette: From ``canvas.colors``.
    """
    figure = canvas(height=210, x="", y="mIoU")
    numeric = frame["value"].notna().all()
    for study, dots in frame.groupby("study", sort=False):
        text = [
            f"{trial}: {value} gives {points(score)}"
            for trial, value, score in zip(dots["trial_id"], dots["value_json"], dots["score"], strict=True)
        ]
        marker = {"size": 8, "color": palette.get(str(study), INK), "opacity": 0.75}
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


def expected_by_trials(frame: pd.DataFrame, palette: Colors) -> go.Figure:
    """Expected best score against the number of trials: solid where it can be trusted, dotted beyond.

    Thin: the score by which the best is chosen, in its band; thick: the score of that config on what did not choose it.

    Args:
        frame: ``by_trials`` of ``expected_best.expected_best``.
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
        frame: ``by_hours`` of ``expected_best.expected_best``.
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
        size = 10 + 14 * np.sqrt(row["params"] / largest) if largest > 0 and row["params"] > 0 else 12
        color = palette[row["study"]]
        fill = color if row["on_front"] else "rgba(0,0,0,0)"
        hover = (
            f"{row['study']}: {points(row['mean'])} over {row['n']} seeds, {duration(row['cost_s'])}, "
            f"{big(row['params'])} parameters, on the front in {share(row['p_front'])} of redraws"
        )
        mark = {"size": size, "color": fill, "line": {"width": 2, "color": color}}
        add(figure, x=[x], y=[100 * row["mean"]], mode="markers", marker=mark, text=[hover])
    return figure


def _polyline(curves: pd.DataFrame) -> dict[str, np.ndarray]:
    """All curves as one line with gaps: one trace stays fast where hundreds do not."""
    epoch, miou = curves["epoch"].to_numpy(dtype=float), 100 * curves["miou"].to_numpy()
    starts = np.flatnonzero(curves["trial_id"].ne(curves["trial_id"].shift()).to_numpy())[1:]
    return {"x": np.insert(epoch, starts, np.nan), "y": np.insert(miou, starts, np.nan)}


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
