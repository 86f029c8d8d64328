"""Every training of a sweep to look around in: a table, all searched parameters side by side, and details on a click.

The table and the figures need no script. A script filters them, and shows what stands in a block of JSON: config,
learning curve, loss terms, and the command that trains the same again.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.figures.canvas import Colors
from analysis.figures.space import parallel
from analysis.formats import count, duration, missing, plural, points, text
from analysis.report import html as page
from analysis.report.html import TableCell, number
from analysis.search.history import MOST_POINTS, drawn_values, thinned
from analysis.search.loss_terms import loss_terms
from analysis.tables.commands import shared_by_commands
from analysis.tables.files import Tables
from analysis.tables.json_columns import read_config, read_spaces, read_value
from analysis.tables.scores import METRIC
from analysis.tables.states import State

MOST_RUNS, MOST_COLUMNS = 500, 8
"""How many runs and parameters the table shows."""
_AXIS, _HALF_ROW = 90, 480
"""Pixels that an axis takes, and those that two studies beside each other have each."""
_MOST_CORNERS, _FEWEST_LINES = 400, 20
"""Corners of the lines of a study over all its parameters at most, and lines at least."""


@dataclass(frozen=True)
class ShownRuns:
    """The runs of a sweep that are shown.

    Attributes:
        tables: The tables ``studies``, ``trials`` and ``params`` of the sweep, at least with the rows of these runs.
        shown: From ``shown_runs``.
        hidden: How many more trials the sweep has.
        palette: The color of every study.
    """

    tables: Tables
    shown: pd.DataFrame
    hidden: int
    palette: Colors


def shown_runs(tables: Tables, most: int = MOST_RUNS) -> pd.DataFrame:
    """The runs that are shown, the highest score first and those without a score last.

    Where there are more than ``most``, runs that still run and the highest scores of every study are kept.
    """
    trials = tables["trials"][tables["trials"]["state"] != State.PLANNED]
    reached = trials["score"].astype(float).fillna(trials["reached"].astype(float))
    ordered = trials.assign(shown=reached).sort_values("shown", ascending=False, na_position="last", kind="stable")
    if len(ordered) > most:
        rank = ordered.groupby("study").cumcount().where(ordered["state"] != State.RUNNING, -1)
        ordered = ordered.loc[rank.sort_values(kind="stable").index[:most]].sort_values("shown", ascending=False)
    return ordered.reset_index(drop=True)


def explorer(runs: ShownRuns, data: Mapping[str, Any] | None = None) -> str:
    """The HTML: filters, the table, and parameters side by side; empty without a run.

    Args:
        runs: The runs.
        data: From ``details``, which the page then holds; none where a script fetches those of one run.
    """
    shown, hidden = runs.shown, runs.hidden
    if shown.empty:
        return ""
    partly = f" The {count(len(shown))} with the highest scores of their studies; " if hidden else " "
    partly += f"{count(hidden)} more are in the tables." if hidden else ""
    note = (
        "A click on a row or a mark shows config, learning curve, loss terms, and the command that trains it again. "
        f"mIoU of a run that was not trained to its end: what it reached.{partly}"
    ).strip()
    about = f'<p class="aside scripted" hidden>{page.escape(note)}</p>'
    return (
        f'<div class="explorer">{_filters(shown)}{_table(runs)}{about}'
        f"{_side_by_side(runs)}{'' if data is None else page.embedded(data, 'details')}</div>"
    )


def _filters(shown: pd.DataFrame) -> str:
    """Choices of study and state, and a search; a script shows them."""
    menus = ""
    for column, label in (("study", "all studies"), ("state", "all states"), ("phase", "all phases")):
        values = "".join(f"<option>{page.escape(value)}</option>" for value in dict.fromkeys(shown[column]))
        menus += f'<select name="{column}" aria-label="{column}"><option value="">{label}</option>{values}</select>'
    search = '<input type="search" name="text" placeholder="run or value" aria-label="search">'
    rest = '<button type="reset">all</button><output></output>'
    return f'<form class="filters scripted" hidden>{menus}{search}{rest}</form>'


def _table(runs: ShownRuns) -> str:
    params, shown = runs.tables["params"], runs.shown
    origins = shown["candidate_of"].fillna(shown["trial_id"])
    drawn = params[(params["role"] == "nuisance") & params["trial_id"].isin(origins)]
    values = dict(zip(zip(drawn["trial_id"], drawn["name"], strict=True), drawn["value_json"], strict=True))
    names = list(drawn.groupby("name")["trial_id"].nunique().sort_values(ascending=False, kind="stable").index)
    numbers = {
        name for name, column in drawn.groupby("name") if all(_value(each).number for each in column["value_json"])
    }
    rows, attributes = [], []
    for run in shown.to_dict("records"):
        about = f"{run['phase']}, seed {run['seed']}"
        cells = [
            TableCell(html=page.key(str(run["trial_id"]), runs.palette[run["study"]]), small=about),
            TableCell(str(run["state"])),
            number(points(run["shown"]), run["shown"]),
            number(count(run["epochs_run"]), run["epochs_run"]),
            number(duration(run["seconds"]), run["seconds"]),
        ]
        of_trial = text(run["candidate_of"]) or run["trial_id"]
        for name in names[:MOST_COLUMNS]:
            value = values.get((of_trial, name))
            cells.append(_value(value) if value is not None else TableCell(number=name in numbers))
        rows.append(cells)
        marks = {"trial": run["trial_id"], "study": run["study"], "state": run["state"], "phase": run["phase"]}
        attributes.append("".join(f' data-{key}="{page.escape(str(value))}"' for key, value in marks.items()))
    columns = [
        "Run",
        "State",
        "mIoU",
        "Epochs",
        "Time",
        *(name.removeprefix("terms.") for name in names[:MOST_COLUMNS]),
    ]
    return page.table(columns, rows, attributes=[f' tabindex="0"{each}' for each in attributes], name="runs")


def _value(value_json: str) -> TableCell:
    value = read_value(value_json)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return TableCell(f"{value:.4g}", number=True)  # sorted by its text, which spares the page a second number
    return TableCell(str(value))


def _side_by_side(runs: ShownRuns) -> str:
    """The parameters of every study side by side, of studies that search two or more."""
    values, spaces = drawn_values(runs.tables), read_spaces(runs.tables)
    values = values[values["trial_id"].isin(runs.shown["trial_id"])]
    drawn = []
    for study in runs.palette:
        mine = values[values["study"] == study]
        trials = list(dict.fromkeys(mine["trial_id"]))
        if len(spaces.get(study, {})) < 2 or len(trials) < 2:
            continue
        lines = max(_FEWEST_LINES, _MOST_CORNERS // (len(spaces[study]) + 1))
        kept = trials[:: -(-len(trials) // lines)]
        figure = parallel(mine[mine["trial_id"].isin(kept)], spaces[study], runs.palette[study])
        note = f'<span class="aside">, {plural(len(kept), "search trial")}</span>'
        width = _AXIS * (len(spaces[study]) + 1)
        wide = f' style="min-width:{width}px"'
        whole_row = ' class="row"' if width > _HALF_ROW else ""
        title = f"<h3>{page.key(study, runs.palette[study])}{note}</h3>"
        drawn.append(
            f'<div data-of="{page.escape(study)}"{whole_row}>{title}'
            f'<div class="scroll"><div{wide}>{figure.draw()}</div></div></div>'
        )
    if not drawn:
        return ""
    rest = (
        "A line is a search trial, dashed where it was stopped; the fuller its color, the higher its score. An axis is "
        "as long as the searched range, on the scale on which it was searched. Drag along an axis to keep the trials "
        "in a part of it; a click on the axis keeps all again."
    )
    return page.figure(f'<div class="grid wide-grid">{"".join(drawn)}</div>', "Searched parameters side by side.", rest)


def details(
    tables: Tables, shown: pd.DataFrame, metrics: pd.DataFrame, place: str = "", pictured: Collection[str] = ()
) -> dict[str, Any]:
    """What the script shows of every run.

    Args:
        tables: The table ``sweeps``, at least.
        shown: Rows of the table ``trials``.
        metrics: The rows of the table ``metrics`` of these runs, at least.
        place: Where the sweep is, for commands; empty where the page is in its folder.
        pictured: The trials whose predictions are on the page.

    Returns:
        ``place``; ``before`` and ``options`` of commands, see `Shared`; ``base``, a config for every study, its values
        by dotted path; ``runs``: for every trial what differs from it, ``config`` (None: not in its config), ``curve``
        (epochs, points of mIoU), ``terms`` (name, raw value in the first and last epoch, weighted value in the last,
        share of the gradient) and ``reason``, where it has some.
    """
    base: dict[str, dict[str, object]] = {}
    of_runs: dict[str, dict[str, Any]] = {}
    studies = {str(run["trial_id"]): str(run["study"]) for run in shown.to_dict("records")}
    curves, terms = _curves(metrics, studies), _terms(metrics, studies)
    for run in shown.to_dict("records"):
        trial, study = run["trial_id"], run["study"]
        config = flat(read_config(run["config_json"]).content)
        common = base.setdefault(study, config)
        changed = {path: value for path, value in config.items() if path not in common or common[path] != value}
        entry: dict[str, Any] = {"config": changed | dict.fromkeys(common.keys() - config.keys())}
        if trial in curves:
            entry["curve"] = curves[trial]
        if trial in terms:
            entry["terms"] = terms[trial]
        if reason := text(run["reason"]):
            entry["reason"] = reason
        if trial in pictured:
            entry["pictured"] = True
        of_runs[trial] = entry
    return {"place": place, **shared_by_commands(tables)._asdict(), "base": base, "runs": of_runs}


def _curves(metrics: pd.DataFrame, trials: Collection[str]) -> dict[str, list[list[float]]]:
    """By trial, the epochs and points of mIoU of its curve, thinned; in one pass, since a frame of each is slow."""
    rows = metrics[(metrics["name"] == METRIC) & metrics["trial_id"].isin(list(trials))].sort_values("epoch")
    values = (100 * rows["value"]).round(2)
    by_trial: dict[str, list[tuple[int, float]]] = {}
    for trial, epoch, value in zip(rows["trial_id"], rows["epoch"].tolist(), values.tolist(), strict=True):
        by_trial.setdefault(trial, []).append((epoch, value))
    return {
        trial: [list(part) for part in zip(*thinned(curve, MOST_POINTS), strict=True)]
        for trial, curve in by_trial.items()
    }


def _terms(metrics: pd.DataFrame, studies: Mapping[str, str]) -> dict[str, list[list[object]]]:
    """By trial, a row for each of its loss terms."""
    rows = loss_terms(metrics, studies)
    columns = (rows[column].tolist() for column in ("term", "first", "last", "weighted", "share_last"))
    by_trial: dict[str, list[list[object]]] = {}
    for trial, *row in zip(rows["trial_id"], *columns, strict=True):
        by_trial.setdefault(trial, []).append([_plain(value) for value in row])
    return by_trial


def flat(content: object, prefix: str = "") -> dict[str, object]:
    """Values by dotted path; an entry of a list is named by its ``name`` or ``loss``, else by its position."""
    if isinstance(content, Mapping) and content:
        items = [(str(key), value) for key, value in content.items()]
    elif isinstance(content, list) and content and all(isinstance(value, Mapping) for value in content):
        items = [(str(value.get("name") or value.get("loss") or place), value) for place, value in enumerate(content)]
    else:
        return {prefix: content}
    return {
        path: value for key, part in items for path, value in flat(part, f"{prefix}.{key}" if prefix else key).items()
    }


def _plain(value: object) -> object:
    """A number with four digits, or none where it is missing."""
    if isinstance(value, float):
        return None if missing(value) else float(f"{value:.4g}")
    return value
