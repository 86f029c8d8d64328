"""Figures of a search: how trainings went, what was spent, what a budget brings, what quality costs."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd

from analysis.figures.canvas import BASELINE, DOT, INK, TEACHER, Colors, Figure
from analysis.figures.marks import Area, Box, Curve, Dots
from analysis.formats import big, duration, points, share
from analysis.search.history import MOST_POINTS, thinned
from analysis.tables.states import BROKEN, Phase, State

_USES = {"search": 1.0, "search, pruned": 0.55, "lost": 0.25, "fresh seeds": 0.12, "final seeds": 0.3}
"""How opaque the bar of each use of training time is."""
_OUTLINED = ("fresh seeds", "final seeds")
"""Uses whose bars have an edge."""


def learning_curves(
    curves: pd.DataFrame, study: str, config_id: str | None, reference: pd.DataFrame, palette: Colors
) -> Figure:
    """One study: its search trials thin, the seeds of its best config thick, the baseline's mean dotted.

    Args:
        curves: From ``history.learning_curves``, all studies (they share the axes).
        study: Which study to draw.
        config_id: The study's best config, None if it has none.
        reference: The baseline's confirming curves, columns ``epoch, miou``; may be empty.
        palette: From ``canvas.colors``.
    """
    figure = Figure(230, x="epoch", y="mIoU")
    mine, color = curves[curves["study"] == study], palette.get(study, INK)
    best = mine[mine["config_id"] == config_id]
    phase = Phase.CONFIRM if (best["phase"] == Phase.CONFIRM).any() else Phase.SEARCH
    best = best[best["phase"] == phase]
    thin = mine[(mine["phase"] == Phase.SEARCH) & ~mine["trial_id"].isin(best["trial_id"])]
    for trial_id, run in thin.groupby("trial_id", sort=False):
        figure.add(_curve(str(trial_id), run, color, 1.0, 0.45))
    stopped = thin[thin["state"].isin([State.PRUNED, *BROKEN])].drop_duplicates("trial_id", keep="last")
    titles = [f"{trial}: {state}" for trial, state in zip(stopped["trial_id"], stopped["state"], strict=True)]
    crosses = {"titles": titles, "trials": list(stopped["trial_id"])}
    figure.add(Dots(list(stopped["epoch"]), list(100 * stopped["miou"]), color, 6, "x", **crosses))  # type: ignore[arg-type]
    if len(reference):
        mean = reference.groupby("epoch")["miou"].mean()
        name = "baseline, mean of its seeds"
        figure.add(Curve(list(mean.index), list(100 * mean), BASELINE, dash=DOT, title=name))
    for trial_id, run in best.groupby("trial_id", sort=False):
        figure.add(_curve(str(trial_id), run, color, 2.2, 1.0))
    if len(curves):
        figure.y.low, figure.y.high = 100 * curves["miou"].min() - 2, 100 * curves["miou"].max() + 2
        figure.x.low, figure.x.high = 0, curves["epoch"].max() + 0.5
    return figure


def budget(
    spent: pd.DataFrame, order: Sequence[str], palette: Colors, once: Mapping[str, float] = MappingProxyType({})
) -> Figure:
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
    studies = [*(["once for all"] if once else []), *reversed(order)]
    figure = Figure(60 + 32 * len(studies), x=f"training time ({unit})")
    figure.y.name(studies)
    figure.x.low = 0
    uses = spent.set_index(["study", "use"]).to_dict("index")
    for place, study in enumerate(studies):
        color, bars = palette.get(study, INK), []
        for use, opacity in _USES.items():
            if (row := uses.get((study, use))) is not None:
                about = f"{duration(row['seconds'])}, {row['trials']:.0f} trials, {row['epochs']:.0f} epochs"
                bars.append((f"{study}, {use}: {about}", row["seconds"], opacity, use in _OUTLINED))
        if once and place == 0:
            color = TEACHER
            bars = [
                (f"once for all studies, {what}: {duration(seconds)}", seconds, opacity, False)
                for (what, seconds), opacity in zip(once.items(), (0.9, 0.6, 0.35), strict=False)
            ]
        begin = 0.0
        for title, seconds, opacity, outlined in bars:
            end, edge = begin + float(np.nan_to_num(seconds)) / divisor, color if outlined else ""
            figure.add(Box(begin, end, place - 0.32, place + 0.32, color, opacity, title, edge))
            begin = end
    return figure


def incumbent(frame: pd.DataFrame, palette: Colors, against: str = "epochs") -> Figure:
    """Best score so far against budget spent, one step line per study: screen, one seed, optimistic.

    Args:
        frame: From ``history.incumbents``.
        palette: From ``canvas.colors``.
        against: ``epochs`` or ``seconds``.
    """
    figure = Figure(300, x=f"{against} spent in the search of the study", y="best so far (mIoU)")
    for study, steps in frame.dropna(subset="best").groupby("study", sort=False):
        rose = steps["best"].diff().ne(0)
        rose.iloc[-1] = True
        run, color = steps[rose], palette.get(str(study), INK)
        pairs = zip(run["trial_id"], run["best"], strict=True)
        titles = [f"{study} after {trial}: {points(value)}" for trial, value in pairs]
        x, y = list(run[against]), list(100 * run["best"])
        figure.add(
            Curve(x, y, color, 2.2, step=True), Dots(x, y, color, 6, titles=titles, trials=list(run["trial_id"]))
        )
    figure.x.low = 0
    return figure


def expected_by_trials(frame: pd.DataFrame, palette: Colors) -> Figure:
    """Expected best score against the number of trials: solid where it can be trusted, dotted beyond.

    Thin: the score by which the best is chosen, in its band; thick: the score of that config on what did not choose it.

    Args:
        frame: ``by_trials`` of ``expected_best.expected_best``.
        palette: Color per study.
    """
    figure = Figure(320, x="trials", y="expected best mIoU")
    figure.x.log = True
    for study, curve in frame.groupby("study", sort=False):
        color, solid = palette[str(study)], curve[curve["trusted"]]
        figure.add(Area(list(solid["n"]), list(100 * solid["low"]), list(100 * solid["high"]), color, 0.12))
        _expected(figure, str(study), curve, "n", "score", color, 1.2)
        if curve["held_out"].notna().any():
            _expected(figure, str(study), curve, "n", "held_out", color, 3.0)
    return figure


def expected_by_hours(frame: pd.DataFrame, palette: Colors) -> Figure:
    """Expected best score against hours of training.

    Args:
        frame: ``by_hours`` of ``expected_best.expected_best``.
        palette: Color per study.
    """
    figure = Figure(320, x="hours of training", y="expected best mIoU")
    figure.x.log = True
    for study, curve in frame.groupby("study", sort=False):
        _expected(figure, str(study), curve, "hours", "score", palette[str(study)], 2.0)
    return figure


def pareto(frame: pd.DataFrame, palette: Colors) -> Figure:
    """MIoU against what one training costs; the area of a mark grows with the size of the student.

    Filled: on the front; the line joins what no cheaper config beats. Every study is named at its best config.

    Args:
        frame: From ``pareto.pareto``.
        palette: Color per study.
    """
    figure = Figure(340, x="one training, with its share of the teacher (minutes)", y="mIoU")
    shown = frame.assign(minutes=frame["cost_s"] / 60)
    steps = shown.sort_values("minutes")
    steps = steps[steps["mean"] > steps["mean"].cummax().shift(fill_value=-np.inf)]
    figure.add(Curve(list(steps["minutes"]), list(100 * steps["mean"]), INK, 1, DOT, step=True))
    largest = frame["params"].max()
    relative = (frame["params"] / largest).clip(lower=0).fillna(0.04) if largest > 0 else 0.04 + 0 * frame["mean"]
    titles = [
        f"{row['study']}: {points(row['mean'])} over {row['n']} seeds, {duration(row['cost_s'])}, "
        f"{big(row['params'])} parameters, on the front in {share(row['p_front'])} of redraws"
        for row in frame.to_dict("records")
    ]
    symbols = np.where(frame["on_front"].astype(bool), "circle", "circle-open").tolist()
    mark_colors = [palette[study] for study in frame["study"]]
    sizes = list(9 + 9 * np.sqrt(relative))
    figure.add(Dots(list(shown["minutes"]), list(100 * frame["mean"]), mark_colors, sizes, symbols, titles=titles))
    for row in shown.drop_duplicates("study").to_dict("records"):
        figure.name(row["minutes"], 100 * row["mean"], row["study"])
    return figure


def _curve(trial_id: str, run: pd.DataFrame, color: str, width: float, opacity: float) -> Curve:
    last = run.iloc[-1]
    title = f"{trial_id}: {points(last['miou'])} in epoch {last['epoch']}"
    drawn = thinned(run, MOST_POINTS)
    return Curve(
        list(drawn["epoch"]), list(100 * drawn["miou"]), color, width, opacity=opacity, title=title, trial=trial_id
    )


def _expected(figure: Figure, study: str, curve: pd.DataFrame, x: str, y: str, color: str, width: float) -> None:
    """One curve in two parts, which meet at the last point that can be trusted."""
    ordered = curve.sort_values(x)
    last = int(ordered["trusted"].sum())
    end = ordered.iloc[-1]
    title = f"{study}: {points(end[y])} after {end[x]:.3g} {'trials' if x == 'n' else x}"
    for part, dash in ((slice(0, last), ""), (slice(max(last - 1, 0), None), DOT)):
        figure.add(Curve(list(ordered[x][part]), list(100 * ordered[y][part]), color, width, dash, title=title))
