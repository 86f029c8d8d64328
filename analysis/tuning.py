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
        ``lost`` (diverged or failed), ``fresh seeds`` or ``reporting seeds``.
    """
    trials = tables["trials"]
    trials = trials[trials["state"] != "planned"]
    use = pd.Series("search", index=trials.index, dtype=object)
    use[trials["state"] == "pruned"] = "search, pruned"
    use[trials["phase"] == "confirm"] = "fresh seeds"
    use[trials["phase"] == "report"] = "reporting seeds"
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

    A best value at an edge says that the range was too narrow, so that a better one may lie outside: the sentence
    proposes a range that reaches beyond it.
    """
    space_of = spaces(tables)
    study_of = tables["trials"].set_index("trial_id")["study"]
    params = tables["params"]
    chosen = params[params["trial_id"].isin(trial_ids) & params["value"].notna()]
    found: dict[str, list[str]] = {trial_id: [] for trial_id in trial_ids}
    for row in chosen[["trial_id", "name", "value"]].to_dict("records"):
        trial_id, name, value = str(row["trial_id"]), str(row["name"]), float(row["value"])
        domain = space_of.get(study_of[trial_id], {}).get(name)
        side = edge(value, domain)
        if side and isinstance(domain, dict):
            found[trial_id].append(
                f"best {name} = {value:.3g} at the {side} edge of its range ({domain['low']:g} to {domain['high']:g})"
                f"{_proposal(domain, side)}"
            )
    return found


def crowded_edges(tables: Tables, study: str, top: int = 5, at_least: int = 2) -> list[str]:
    """One sentence for every searched number of which several of the best trials lie at the same edge of its range."""
    trials = tables["trials"]
    searched = trials[(trials["study"] == study) & (trials["phase"] == "search") & trials["score"].notna()]
    best = searched.sort_values("score", ascending=False, kind="stable").head(top)
    params = tables["params"]
    values = params[params["trial_id"].isin(best["trial_id"]) & params["value"].notna()]
    found = []
    for name, domain in spaces(tables).get(study, {}).items():
        sides = [edge(float(value), domain) for value in values.loc[values["name"] == name, "value"]]
        found += [
            f"{sides.count(side)} of the best {len(best)} trials have {name} at the {side} edge of its range "
            f"({domain['low']:g} to {domain['high']:g}){_proposal(domain, side)}"
            for side in ("lower", "upper")
            if sides.count(side) >= at_least
        ]
    return found


def distance(tables: Tables, study: str, trial_id: object) -> float:
    """How far a trial's parameters are from the published ones: the mean over parameters, as shares of their ranges.

    A choice counts 1 where it differs. NaN where there are no published values or nothing was searched.
    """
    told = tables["studies"].loc[tables["studies"]["study"] == study, "defaults_json"].dropna()
    params = tables["params"]
    mine = params[(params["trial_id"] == trial_id) & (params["role"] == "nuisance")]
    if told.empty or mine.empty:
        return math.nan
    published, space = json.loads(told.iloc[0]), spaces(tables).get(study, {})
    steps = [
        abs(_position(value, space[name]) - _position(published[name], space[name]))
        if _is_range(space[name])
        else float(value != published[name])
        for name, value in ((row["name"], json.loads(row["value_json"])) for _, row in mine.iterrows())
        if name in space and name in published
    ]
    return sum(steps) / len(steps) if steps else math.nan


def spaces(tables: Tables) -> dict[str, dict[str, Any]]:
    """Search space per study: parameter name to ``{low, high, log}`` or ``{choices}``."""
    studies = tables["studies"]
    return {study: json.loads(text) for study, text in zip(studies["study"], studies["space_json"], strict=True)}


def edge(value: float, domain: Any) -> str | None:
    """At which end of its range a value lies, ``lower`` or ``upper``; None for neither, or a domain without ends."""
    if not _is_range(domain):
        return None
    position = _position(value, domain)
    if position <= EDGE:
        return "lower"
    return "upper" if position >= 1 - EDGE else None


def _is_range(domain: Any) -> bool:
    return isinstance(domain, dict) and "low" in domain


def _position(value: float, domain: dict[str, Any]) -> float:
    """Where a value lies in its range: 0 at the lower end, 1 at the upper, on the range's own scale."""
    low, high = float(domain["low"]), float(domain["high"])
    if domain.get("log"):
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)


def _proposal(domain: dict[str, Any], side: str) -> str:
    """The range moved by half its width, on a log scale by half a decade at most; empty where zero is in the way."""
    low, high = float(domain["low"]), float(domain["high"])
    half = math.sqrt(min(high / low, 10)) if domain.get("log") else (high - low) / 2
    if domain.get("log"):
        ends = (low * half, high * half) if side == "upper" else (low / half, high / half)
    elif side == "upper":
        ends = (low + half, high + half)
    else:
        ends = (max(low - half, 0.0) if low >= 0 else low - half, high - half)
        if ends[0] == low:
            return ""
    if domain.get("integer"):
        ends = (max(math.floor(ends[0]), 1 if domain.get("log") else math.floor(ends[0])), math.ceil(ends[1]))
        return f"; try {ends[0]} to {ends[1]}"
    return f"; try {ends[0]:.2g} to {ends[1]:.2g}"
