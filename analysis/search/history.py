"""How the search went: best so far against budget, learning curves, spending, response to each parameter."""

from typing import Any, TypeVar

import numpy as np
import pandas as pd

from analysis.tables.domains import Range
from analysis.tables.files import Tables
from analysis.tables.json_columns import read_spaces
from analysis.tables.scores import METRIC
from analysis.tables.states import BROKEN, ENDED, Phase, State

Rows = TypeVar("Rows", pd.DataFrame, list[Any])
MOST_POINTS = 40
"""Points with which a learning curve is drawn."""


def incumbents(tables: Tables) -> pd.DataFrame:
    """Best score so far against what the study had spent, one row per ended search trial in order of ending.

    Several searches of a study are taken together, as in its budget.

    These are screen scores: one seed each, and the best of many, hence optimistic. Trials that were pruned,
    diverged or failed cost budget and win nothing.

    Returns:
        Columns ``study, trial_id, state, score, epochs, seconds, best``: ``epochs`` and ``seconds`` are spent
        by the study up to and with this trial, ``best`` is NaN before the first complete trial.
    """
    trials = tables["trials"]
    ended = trials[(trials["phase"] == Phase.SEARCH) & trials["state"].isin(ENDED)]
    ended = ended.sort_values(["study", "ended_at", "number"], kind="stable")
    by_study = ended.groupby("study", sort=False)
    return pd.DataFrame(
        {
            "study": ended["study"],
            "trial_id": ended["trial_id"],
            "state": ended["state"],
            "score": ended["score"],
            "epochs": by_study["epochs_run"].cumsum(),
            "seconds": ended["seconds"].fillna(0.0).groupby(ended["study"]).cumsum(),
            "best": by_study["score"].cummax().groupby(ended["study"]).ffill(),
        }
    ).reset_index(drop=True)


def learning_curves(tables: Tables, per_study: int = 40) -> pd.DataFrame:
    """The mIoU on role ``select`` at every evaluated epoch, in order of study, trial and epoch.

    Args:
        tables: The tables of a sweep.
        per_study: At most this many search trials of a study, evenly spread over their order of starting;
            confirming trials are all there, each training once.

    Returns:
        Columns ``study, trial_id, phase, state, config_id, epoch, miou``.
    """
    trials = tables["trials"].sort_values(["study", "number"])
    search = trials[trials["phase"] == Phase.SEARCH]
    place = search.groupby("study").cumcount()
    size = search.groupby("study")["trial_id"].transform("size").clip(lower=1)
    kept = (place * per_study // size).groupby(search["study"]).diff().fillna(1).ne(0) | (size <= per_study)
    # A config that two searches of a study found has a trial in each for the same training.
    confirming = trials[trials["phase"] == Phase.CONFIRM].drop_duplicates(["study", "config_id", "seed"])
    shown = pd.concat([search[kept], confirming])
    metrics = tables["metrics"]
    curves = metrics.loc[metrics["name"] == METRIC, ["trial_id", "epoch", "value"]].dropna()
    columns = ["study", "trial_id", "phase", "state", "config_id", "number"]
    merged = curves.merge(shown[columns], on="trial_id").sort_values(["study", "number", "epoch"])
    return merged.rename(columns={"value": "miou"})[[*columns[:-1], "epoch", "miou"]].reset_index(drop=True)


def spending(tables: Tables) -> pd.DataFrame:
    """Training time by what it was spent on, one row per study and use that occurred.

    Returns:
        Columns ``study, use, trials, epochs, seconds``; ``use`` is ``search``, ``search, pruned``,
        ``lost`` (diverged, failed or left out), ``fresh seeds`` or ``final seeds``.
    """
    trials = tables["trials"]
    trials = trials[trials["state"] != State.PLANNED]
    use = pd.Series("search", index=trials.index, dtype=object)
    use[trials["state"] == State.PRUNED] = "search, pruned"
    use[trials["phase"] == Phase.CONFIRM] = "fresh seeds"
    use[trials["phase"] == Phase.FINAL] = "final seeds"
    use[trials["state"].isin(BROKEN) | (trials["phase"] == Phase.LEFT_OUT)] = "lost"
    grouped = trials.assign(use=use).groupby(["study", "use"])
    named = {"trials": ("trial_id", "size"), "epochs": ("epochs_run", "sum"), "seconds": ("seconds", "sum")}
    return grouped.agg(**named).reset_index()


def drawn_values(tables: Tables) -> pd.DataFrame:
    """Value of every searched parameter beside the score of its trial, of all search trials that have ended.

    Returns:
        Columns ``study, trial_id, state, name, value, value_json, log, score``; ``value`` is NaN for a parameter that
        is not a number, ``score`` is what a trial reached that was not trained to its end, NaN if that is nothing.
    """
    trials = tables["trials"]
    ended = trials[(trials["phase"] == Phase.SEARCH) & trials["state"].isin(ENDED)]
    ended = ended.assign(score=ended["score"].astype(float).fillna(ended["reached"].astype(float)))
    searched = tables["params"][tables["params"]["role"] == "nuisance"]
    rows = searched.merge(ended[["trial_id", "study", "state", "score"]], on="trial_id")
    logs = {
        (study, name)
        for study, space in read_spaces(tables).items()
        for name, domain in space.items()
        if isinstance(domain, Range) and domain.log
    }
    keys = zip(rows["study"], rows["name"], strict=True)
    rows = rows.assign(log=[key in logs for key in keys])
    columns = ["study", "trial_id", "state", "name", "value", "value_json", "log", "score"]
    return rows[columns].reset_index(drop=True)


def responses(tables: Tables) -> pd.DataFrame:
    """The rows of ``drawn_values`` with the score of a complete trial."""
    rows = drawn_values(tables)
    return rows[(rows["state"] == State.COMPLETE) & rows["score"].notna()].reset_index(drop=True)


def thinned(rows: Rows, most: int) -> Rows:
    """At most so many rows of a frame or a list, evenly over their order, the first and the last among them."""
    if len(rows) <= most:
        return rows
    places = np.linspace(0, len(rows) - 1, most).round().astype(int)
    return rows.iloc[places] if isinstance(rows, pd.DataFrame) else [rows[place] for place in places]
