"""The table of pulls: what the calibrations of a sweep have measured, for every study."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sweeps.ledger.state import SweepState
from sweeps.spec.calibrations import points, ratios, uses_pulls
from sweeps.spec.pulls import Ratio, share_of, weighted
from sweeps.spec.spec import SweepSpec


def ratios_of(state: SweepState, spec: SweepSpec) -> Ratio:
    """The pulls of a sweep's terms at weight 1."""
    return ratios(spec, _teacher(state), state.pulls)


def weights_of_pulls(config: Mapping[str, Any]) -> dict[str, float]:
    """The weights of a trial that come from pulls, by dotted path."""
    terms = (term for term in config["terms"] if term.get("pull") is not None)
    return {f"terms.{term['name']}.weight": term["weight"] for term in terms}


def pull_rows(state: SweepState, spec: SweepSpec) -> Iterator[dict[str, object]]:
    """The rows of the table `pulls`, without their sweep; none for a sweep without pulls."""
    if not state.calibrations or not uses_pulls(spec):
        return
    measured = {
        (made.config_id, json.dumps(term["options"], sort_keys=True)): (made, term)
        for made in reversed(state.calibrations)
        for term in made.terms
    }
    ratio = ratios_of(state, spec)
    for point in points(spec, _teacher(state)):
        if (found := measured.get((point.calibration, point.key))) is None:
            continue
        made, term = found
        at_weight_1 = state.pulls[point.calibration][point.key]
        weight = weighted(point.study, point.term, ratio).weight if point.is_default else None
        pull = None if weight is None else weight * at_weight_1
        yield {
            "study": point.study,
            "term": point.term.name,
            "loss": point.term.loss,
            "option": point.option,
            "level_json": None if point.option is None else json.dumps(point.level),
            "ratio": at_weight_1,
            "weight": weight,
            "pull": pull,
            "share": None if pull is None else share_of(pull),
            "steps": list(made.steps),
            "lengths": list(term["lengths"]),
            "task_lengths": list(made.task),
            "options_json": json.dumps(term["options"], sort_keys=True),
            "calibration": point.calibration,
        }


def _teacher(state: SweepState) -> str | None:
    return state.teacher.digest if state.teacher else None
