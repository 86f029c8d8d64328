"""Search ranges: values at their edges, and how far a trial lies from the published values."""

import math

from analysis.tables.domains import Domain, Range, Side
from analysis.tables.files import Tables
from analysis.tables.json_columns import read_defaults, read_spaces, read_value
from analysis.tables.states import Phase


def edges(tables: Tables, trial_ids: list[str]) -> dict[str, list[str]]:
    """Per trial one sentence for every searched number that lies at an edge of its range.

    A best value at an edge says that the range was too narrow, so that a better one may lie outside: the sentence
    proposes a range that reaches beyond it.
    """
    space_of = read_spaces(tables)
    study_of = tables["trials"].set_index("trial_id")["study"]
    params = tables["params"]
    numbers = params[params["trial_id"].isin(trial_ids) & params["value"].notna()]
    sentences: dict[str, list[str]] = {trial_id: [] for trial_id in trial_ids}
    for row in numbers[["trial_id", "name", "value"]].to_dict("records"):
        trial_id, name, value = str(row["trial_id"]), str(row["name"]), float(row["value"])
        domain = space_of.get(study_of[trial_id], {}).get(name)
        if isinstance(domain, Range) and (side := domain.edge(value)):
            sentences[trial_id].append(f"best {name} = {value:.3g} {_at_edge(domain, side)}")
    return sentences


def crowded_edges(tables: Tables, study: str, top: int = 5, at_least: int = 2) -> list[str]:
    """One sentence for every searched number of which several of the best trials lie at the same edge of its range."""
    trials = tables["trials"]
    searched = trials[(trials["study"] == study) & (trials["phase"] == Phase.SEARCH) & trials["score"].notna()]
    best = searched.sort_values("score", ascending=False, kind="stable").head(top)
    params = tables["params"]
    values = params[params["trial_id"].isin(best["trial_id"]) & params["value"].notna()]
    sides: tuple[Side, ...] = ("lower", "upper")
    sentences = []
    for name, domain in read_spaces(tables).get(study, {}).items():
        if isinstance(domain, Range):
            reached = [domain.edge(float(value)) for value in values.loc[values["name"] == name, "value"]]
            sentences += [
                f"{reached.count(side)} of the best {len(best)} trials have {name} {_at_edge(domain, side)}"
                for side in sides
                if reached.count(side) >= at_least
            ]
    return sentences


def distance(tables: Tables, study: str, trial_id: object) -> float:
    """How far a trial's parameters are from the published ones: the mean over parameters, as shares of their ranges.

    A choice counts 1 where it differs. NaN where there are no published values or nothing was searched.
    """
    published = read_defaults(tables, study)
    params = tables["params"]
    tried = params[(params["trial_id"] == trial_id) & (params["role"] == "nuisance")]
    if published is None or tried.empty:
        return math.nan
    space = read_spaces(tables).get(study, {})
    steps = [
        _step(space[name], value, published[name])
        for name, value in zip(tried["name"], map(read_value, tried["value_json"]), strict=True)
        if name in space and name in published
    ]
    return sum(steps) / len(steps) if steps else math.nan


def _step(domain: Domain, value: object, published: object) -> float:
    if isinstance(domain, Range):
        return abs(domain.position(_number(value)) - domain.position(_number(published)))
    return float(value != published)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _at_edge(domain: Range, side: Side) -> str:
    """Which edge of which range, and what range to try instead."""
    moved = domain.beyond(side)
    digits = "" if domain.integer else ".2g"
    proposal = "" if moved is None else f"; try {moved[0]:{digits}} to {moved[1]:{digits}}"
    return f"at the {side} edge of its range ({domain.low:g} to {domain.high:g}){proposal}"
