"""The tables behind the page of a sweep: only the runs that the page shows or draws have rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.report.explorer import details, shown_runs
from analysis.report.slices import most_dots
from analysis.search.history import thinned
from analysis.tables.files import Tables
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_record import TrialRecord
from sweeps.ledger.trial_state import Phase
from sweeps.outcome.tabulate import frames, metrics_of, tabulated
from sweeps.spec.spec import SweepSpec

_TABLES = ("sweeps", "studies", "trials", "params")


@dataclass(frozen=True)
class PageTables:
    """What a page is drawn from.

    Attributes:
        tables: The tables ``sweeps``, ``studies``, and of some trials ``trials`` and ``params``.
        shown: The runs in the table of the page, from ``analysis.report.explorer.shown_runs``.
        hidden: How many more trials there are.
        drawn: By searched parameter, how many trials of the search that have ended drew it.
    """

    tables: Tables
    shown: pd.DataFrame
    hidden: int
    drawn: Mapping[str, int]


def page_tables(state: SweepState, spec: SweepSpec, place: str | None, most: int) -> PageTables:
    """Make the tables of a page, in a time that hardly depends on the number of trials.

    Args:
        state: The sweep.
        spec: Its spec.
        place: The `Store.place` of the sweep.
        most: How many runs are shown at most.
    """
    trials = tabulated(state)
    chosen = set(shown_runs({"trials": _scores(trials)}, most)["trial_id"])
    ended = [trial for trial in trials if trial.phase is Phase.SEARCH and trial.state.is_over]
    drawn = Counter(name for trial in ended for name in trial.params)
    of_study: dict[str, list[TrialRecord]] = {}
    for trial in ended:
        of_study.setdefault(trial.study, []).append(trial)
    dots = {trial.id for each in of_study.values() for trial in thinned(each, most_dots(len(drawn)))}
    kept = [trial for trial in trials if trial.id in chosen or trial.id in dots]
    tables = frames(state, spec, place, _TABLES, kept)
    rows = tables["trials"]
    shown = shown_runs({"trials": rows[rows["trial_id"].isin(chosen)]}, most)
    return PageTables(tables, shown, len(trials) - len(shown), drawn)


def run_details(state: SweepState, spec: SweepSpec, place: str, trial_id: str) -> dict[str, Any] | None:
    """What the page shows of one run, see ``analysis.report.explorer.details``; none where there is no such run."""
    trial = state.trials.get(trial_id)
    if trial is None or trial.phase is Phase.AUDIT:
        return None
    tables = frames(state, spec, place, ("sweeps", "trials"), [trial])
    return details(tables, tables["trials"], metrics_of(state, [trial_id]), place)


def _scores(trials: Sequence[TrialRecord]) -> pd.DataFrame:
    """The columns of the table ``trials`` that say which runs are shown."""
    scores = [trial.score for trial in trials]
    reached = [trial.reached if score is None else None for trial, score in zip(trials, scores, strict=True)]
    return pd.DataFrame(
        {
            "trial_id": [trial.id for trial in trials],
            "study": [trial.study for trial in trials],
            "state": [str(trial.state) for trial in trials],
            "score": pd.Series(scores, dtype="float64"),
            "reached": pd.Series(reached, dtype="float64"),
        }
    )
