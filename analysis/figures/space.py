"""Figures of what was searched: one parameter beside the score, and all parameters of a study side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.figures.canvas import INK, Colors, Figure, wrapped
from analysis.figures.marks import CLOUD, Curve, Dots, Text
from analysis.figures.scale import Scale, tick_text
from analysis.formats import points
from analysis.search.importance import lifted
from analysis.tables.domains import Choices, Domain, Space
from analysis.tables.json_columns import read_value
from analysis.tables.states import BROKEN, State

_SYMBOLS = {State.COMPLETE: "circle", State.PRUNED: "x"} | dict.fromkeys(BROKEN, "down-open")
SCORE = "mIoU"


def slice_of(frame: pd.DataFrame, domains: Mapping[str, Domain], palette: Colors) -> Figure:
    """Score against the value of one parameter: a dot per complete trial, a cross where it was stopped.

    The lines at the bottom are the searched ranges, one for each study, or one for all with the same range.

    Args:
        frame: Rows of one parameter from ``history.drawn_values``.
        domains: What every study searches, by its name.
        palette: From ``canvas.colors``.
    """
    figure = Figure(220, y=SCORE)
    names = _choices(frame, domains)
    score = 100 * lifted(frame["score"].astype(float))
    low, high = score.min(), score.max()
    step = 0.07 * (high - low) if high > low else 0.5
    studies = list(dict.fromkeys(frame["study"]))
    if names:
        figure.x.name([wrapped(name, 12) for name in names])
    else:
        ranges = {study: domain for study, domain in domains.items() if not isinstance(domain, Choices)}
        figure.x.log = any(domain.log for domain in ranges.values())
        alike = len(set(ranges.values())) == 1
        for place, (study, domain) in enumerate(list(ranges.items())[: 1 if alike else None], start=1):
            title = f"searched{'' if alike else f' by {study}'} from {domain.low:g} to {domain.high:g}"
            color = INK if alike else palette.get(study, INK)
            figure.add(Curve([domain.low, domain.high], [low - place * step] * 2, color, 3, title=title))
    for place, study in enumerate(studies):
        mine = frame[frame["study"] == study]
        aside = 0.5 * (place - (len(studies) - 1) / 2) / len(studies)
        x = [names.index(_name(text)) + aside for text in mine["value_json"]] if names else list(mine["value"])
        for state, symbol in _SYMBOLS.items():
            at = (mine["state"] == state).to_numpy()
            part = mine[at]
            titles = [
                f"{trial}: {_name(text)} gives {points(value)}{'' if state == State.COMPLETE else f', {state}'}"
                for trial, text, value in zip(part["trial_id"], part["value_json"], part["score"], strict=True)
            ]
            y = list(score[part.index].fillna(low - step / 2))
            look = (8, symbol, 0.75) if state == State.COMPLETE else (6, symbol, 0.5)
            about = (titles, list(part["trial_id"])) if len(frame) <= CLOUD else ()
            across, color = [v for v, here in zip(x, at, strict=True) if here], palette.get(str(study), INK)
            figure.add(Dots(across, y, color, *look, *about))
    return figure


def parallel(frame: pd.DataFrame, space: Space, color: str) -> Figure:
    """All parameters of one study as upright axes, each as wide as its searched range, and the score as the last.

    A line is a trial: full where it is complete, dashed where it was stopped; the higher the score, the fuller its
    color.

    Args:
        frame: Rows of one study from ``history.drawn_values``.
        space: What the study searches.
        color: Of the study.
    """
    figure = Figure(250)
    names = [name for name in space if (frame["name"] == name).any()]
    trials = frame.drop_duplicates("trial_id").set_index("trial_id")
    scores = 100 * lifted(trials["score"].astype(float))
    figure.axes = range(len(names) + 1)
    figure.x.name([*(wrapped(name.removeprefix("terms."), 12) for name in names), SCORE])
    figure.x.low, figure.x.high = -0.35, len(names) + 0.35
    figure.y.low, figure.y.high, figure.y.shown, figure.y.grid = 0.0, 1.0, False, False
    score_axis = Scale(scores.min(), scores.max()) if scores.max() > scores.min() else Scale(0.0, 100.0)
    for place, name in enumerate([*names, None]):
        figure.upright(place, INK, dash="", width=1)
        figure.add(*(Text(place, at, text, "start", 5) for at, text in _marks(space.get(name or ""), score_axis)))
    values: dict[str, dict[str, str]] = {}
    for trial, name, value_json in zip(frame["trial_id"], frame["name"], frame["value_json"], strict=True):
        values.setdefault(trial, {})[name] = value_json
    ordered = scores.sort_values(na_position="first")
    for rank, (trial, score) in enumerate(zip(map(str, ordered.index), ordered, strict=True)):
        row, drawn = trials.loc[trial].to_dict(), values[trial]
        up = [_position(space[name], drawn[name]) if name in drawn else np.nan for name in names]
        about = ", ".join(f"{name} {_name(drawn[name])}" for name in names if name in drawn)
        title = f"{trial} ({row['state']}): {points(row['score'])}; {about}"
        opacity = 0.2 + 0.75 * (rank + 1) / len(scores)
        dash = "" if row["state"] == State.COMPLETE else "3 3"
        y = [*up, score_axis.place([score]).item()]
        figure.add(Curve(range(len(y)), y, color, 1.8, dash, opacity, title, trial=trial))
    return figure


def _marks(domain: Domain | None, score: Scale) -> Sequence[tuple[float, str]]:
    """Places and texts of the ticks of one upright axis; that of the score without a domain."""
    if isinstance(domain, Choices):
        names = [_text(choice) for choice in domain.choices]
        return [(_share(place, len(names)), name) for place, name in enumerate(names)]
    scale = score if domain is None else Scale(domain.low, domain.high, domain.log)
    ticks = scale.ticks(5) if domain is None else [domain.low, *_between(scale), domain.high]
    return [(scale.place([tick]).item(), tick_text(tick)) for tick in ticks]


def _between(scale: Scale) -> list[float]:
    """The ticks that keep off both ends."""
    return [tick for tick in scale.ticks(5) if 0.09 < scale.place([tick]).item() < 0.91]


def _position(domain: Domain, value_json: str) -> float:
    value = read_value(value_json)
    if isinstance(domain, Choices):
        return _share(list(domain.choices).index(value), len(domain.choices)) if value in domain.choices else np.nan
    if not isinstance(value, int | float):
        return np.nan
    return float(np.clip(Scale(domain.low, domain.high, domain.log).place([value]).item(), 0.0, 1.0))


def _share(place: int, count: int) -> float:
    return place / (count - 1) if count > 1 else 0.5


def _choices(frame: pd.DataFrame, domains: Mapping[str, Domain]) -> list[str]:
    """The names that an axis of choices has, in the order of the spec; empty for an axis of numbers."""
    listed = [_text(choice) for domain in domains.values() if isinstance(domain, Choices) for choice in domain.choices]
    if not listed and frame["value"].notna().all():
        return []
    names = list(dict.fromkeys([*listed, *(_name(text) for text in frame["value_json"])]))
    return sorted(names, key=float) if all(_is_number(name) for name in names) else names


def _name(value_json: str) -> str:
    return _text(read_value(value_json))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
