"""How the search went: best so far against budget, response to each parameter, values at range edges."""

import json
import math
from typing import Any

import pandas as pd

from analysis.scores import METRIC

Tables = dict[str, pd.DataFrame]

EDGE = 0.05
"""A value within this share of its range (on the log scale of a log range) lies at the edge."""

ENDED = ("complete", "pruned", "diverged", "failed")


def incumbents(tables: Tables) -> pd.DataFrame:
    """Best score so far against what the study had spent, one row per ended search trial in order of ending.

    These are screen scores: one seed each, and the best of many, hence optimistic. Trials that were pruned,
    diverged or failed cost budget and win nothing.

    Returns:
        Columns ``study, trial_id, state, score, epochs, seconds, best``: ``epochs`` and ``seconds`` are spent
        by the study up to and with this trial, ``best`` is NaN before the first complete trial.
    """
    trials = tables["trials"]
    ended = trials[(trials["phase"] == "search") & trials["state"].isin(ENDED)]
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
            confirming trials are all there.

    Returns:
        Columns ``study, trial_id, phase, state, config_id, epoch, miou``.
    """
    trials = tables["trials"].sort_values(["study", "number"])
    search = trials[trials["phase"] == "search"]
    place = search.groupby("study").cumcount()
    size = search.groupby("study")["trial_id"].transform("size").clip(lower=1)
    kept = (place * per_study // size).groupby(search["study"]).diff().fillna(1).ne(0) | (size <= per_study)
    shown = pd.concat([search[kept], trials[trials["phase"] == "confirm"]])
    metrics = tables["metrics"]
    curves = metrics.loc[metrics["name"] == METRIC, ["trial_id", "epoch", "value"]].dropna()
    columns = ["study", "trial_id", "phase", "state", "config_id", "number"]
    merged = curves.merge(shown[columns], on="trial_id").sort_values(["study", "number", "epoch"])
    return merged.rename(columns={"value": "miou"})[[*columns[:-1], "epoch", "miou"]].reset_index(drop=True)


def spending(tables: Tables) -> pd.DataFrame:
    """Training time by what it was spent on, one row per study and use that occurred.

    Returns:
        Columns ``study, use, trials, epochs, seconds``; ``use`` is ``search``, ``search, pruned``,
        ``lost`` (diverged or failed) or ``fresh seeds``.
    """
    trials = tables["trials"]
    trials = trials[trials["state"] != "planned"]
    use = pd.Series("search", index=trials.index, dtype=object)
    use[trials["state"] == "pruned"] = "search, pruned"
    use[trials["phase"] == "confirm"] = "fresh seeds"
    use[trials["state"].isin(["diverged", "failed"])] = "lost"
    grouped = trials.assign(use=use).groupby(["study", "use"])
    named = {"trials": ("trial_id", "size"), "epochs": ("epochs_run", "sum"), "seconds": ("seconds", "sum")}
    return grouped.agg(**named).reset_index()


def responses(tables: Tables) -> pd.DataFrame:
    """Value of every searched parameter beside the score of its trial (complete search trials only).

    Returns:
        Columns ``study, trial_id, name, value, value_json, log, score``; ``value`` is NaN for a parameter
        that is not a number.
    """
    trials = tables["trials"]
    complete = trials[(trials["phase"] == "search") & (trials["state"] == "complete")]
    searched = tables["params"][tables["params"]["role"] == "nuisance"]
    rows = searched.merge(complete[["trial_id", "study", "score"]], on="trial_id").dropna(subset="score")
    logs = {
        (study, name)
        for study, space in spaces(tables).items()
        for name, domain in space.items()
        if isinstance(domain, dict) and domain.get("log")
    }
    keys = zip(rows["study"], rows["name"], strict=True)
    rows = rows.assign(log=[key in logs for key in keys])
    return rows[["study", "trial_id", "name", "value", "value_json", "log", "score"]].reset_index(drop=True)


def edges(tables: Tables, trial_ids: list[str]) -> dict[str, list[str]]:
    """Per trial one sentence for every searched number that lies at an edge of its range.

    A best value at an edge says that the range was too narrow, so that a better one may lie outside.
    """
    space_of = spaces(tables)
    study_of = tables["trials"].set_index("trial_id")["study"]
    params = tables["params"]
    chosen = params[params["trial_id"].isin(trial_ids) & params["value"].notna()]
    found: dict[str, list[str]] = {trial_id: [] for trial_id in trial_ids}
    for row in chosen[["trial_id", "name", "value"]].to_dict("records"):
        trial_id, name, value = str(row["trial_id"]), str(row["name"]), float(row["value"])
        domain = space_of.get(study_of[trial_id], {}).get(name)
        side = _edge(value, domain)
        if side and isinstance(domain, dict):
            found[trial_id].append(
                f"best {name} = {value:.3g} at the {side} edge of its range ({domain['low']:g} to {domain['high']:g})"
            )
    return found


def spaces(tables: Tables) -> dict[str, dict[str, Any]]:
    """Search space per study: parameter name to ``{low, high, log}`` or ``{choices}``."""
    studies = tables["studies"]
    return {study: json.loads(text) for study, text in zip(studies["study"], studies["space_json"], strict=True)}


def _edge(value: float, domain: Any) -> str | None:
    if not isinstance(domain, dict) or "low" not in domain:
        return None
    low, high = float(domain["low"]), float(domain["high"])
    if domain.get("log"):
        low, high, value = math.log(low), math.log(high), math.log(value)
    position = (value - low) / (high - low)
    if position <= EDGE:
        return "lower"
    return "upper" if position >= 1 - EDGE else None
