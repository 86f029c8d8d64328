"""Search ranges: values at their edges, and how far a trial lies from the published values."""

import json
import math
from typing import Any

from analysis.tables.files import Tables
from analysis.tables.states import Phase

EDGE = 0.05
"""A value within this share of its range (on the log scale of a log range) lies at the edge."""


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
    searched = trials[(trials["study"] == study) & (trials["phase"] == Phase.SEARCH) & trials["score"].notna()]
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
