"""Comparisons that are not made, however good the numbers look: the baseline was missing or searched less.

A baseline that is tuned less than the method beside it loses by that alone; in this field whole gains were nothing
else (Niemann et al. 2023; Musgrave et al. 2020).
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from analysis.conditions.hardware import different_code, mixed
from analysis.selection.study_row import StudyRow
from analysis.tables.domains import Space
from analysis.tables.files import Tables
from analysis.tables.json_columns import read_spaces, read_spec

TOLERANCE = 0.10
"""Budgets that differ by no more than this share count as equal."""


def refused(tables: Tables, rows: Sequence[StudyRow]) -> dict[str, list[str]]:
    """Why each study may not be compared with the baseline, as sentences; an empty list where it may.

    The budget is judged in the unit in which it was granted (epochs or trials); the last training of an epoch budget
    may exceed it. Where the granted budget is equal, unequal training time is no ground for a refusal, since a method
    with a teacher takes longer for the same epochs: ``compare`` warns of it.

    Args:
        tables: The tables of a sweep.
        rows: All studies of the sweep.
    """
    baseline = next((row for row in rows if row.facts.is_baseline), None)
    if baseline is None:
        return {row.study: ["there is no baseline study to compare it with"] for row in rows}
    spaces, shared = read_spaces(tables), _shared(tables["sweeps"])
    mixes = mixed(tables)
    reasons: dict[str, list[str]] = {baseline.study: []}
    for row in rows:
        if row is not baseline:
            reasons[row.study] = [
                *_search(spaces, shared, row, baseline),
                *_budget(tables["trials"], row, baseline),
                *different_code(mixes, row.study, baseline.study, f"the baseline {baseline.study}"),
            ]
    return reasons


def refusals(comparison: pd.DataFrame) -> list[str]:
    """Every refused comparison by name, one sentence each, from the column ``refused`` of ``compare``."""
    return [
        f"{study} is not compared with the baseline: {reason}."
        for study, reasons in zip(comparison["study"], comparison["refused"], strict=True)
        for reason in reasons
    ]


def _shared(sweeps: pd.DataFrame) -> set[str]:
    """Parameters that the spec of a sweep searches in every study."""
    return {name for text in sweeps["spec_json"] for name in read_spec(text).shared_space}


def _search(spaces: Mapping[str, Space], shared: set[str], row: StudyRow, baseline: StudyRow) -> list[str]:
    name = baseline.study
    if row.facts.searched_parameters and not baseline.facts.searched_parameters:
        return [f"the baseline {name} was not searched"]
    if lacking := [key for key in spaces[row.study] if key in shared and key not in spaces[name]]:
        return [f"the baseline {name} was not searched over {', '.join(lacking)}"]
    return []


def _budget(trials: pd.DataFrame, row: StudyRow, baseline: StudyRow) -> list[str]:
    unit = row.granted_unit
    amount, of_baseline = row.spent.in_unit(unit), baseline.spent.in_unit(unit)
    if not row.facts.searched_parameters or of_baseline >= amount * (1 - TOLERANCE):
        return []
    if unit == "epochs" and amount - of_baseline < trials["epochs_planned"].max():
        return []
    less, time = 1 - of_baseline / amount, _less_time(row, baseline)
    return [f"the baseline {baseline.study} was searched with {less:.0%} less: {of_baseline} of {amount} {unit}{time}"]


def _less_time(row: StudyRow, baseline: StudyRow) -> str:
    seconds, of_baseline = row.spent.search_s, baseline.spent.search_s
    if not seconds or of_baseline >= seconds * (1 - TOLERANCE):
        return ""
    return f", and {1 - of_baseline / seconds:.0%} less training time"
