"""The line of a report about looks: that the words were read before, and why more seeds were or were not trained."""

import pandas as pd

from analysis.report.line import Line
from analysis.stats.looks import looks_of, sentence
from analysis.tables.files import Tables


def looks(tables: Tables, seeds: int | None) -> list[Line]:
    """The line, if there is anything to say.

    Args:
        tables: The tables of a sweep.
        seeds: Fresh seeds of the finalist that has most; None while the look is still ahead.
    """
    parts = [*_planned(tables["decisions"]), sentence(looks_of(tables["sweeps"]), seeds)]
    said = ". ".join(f"{part[0].upper()}{part[1:]}" for part in parts if part)
    return [Line("Looks", f"{said}.")] if said else []


def _planned(decisions: pd.DataFrame) -> list[str]:
    """What was decided at the last planned look."""
    last = decisions.loc[decisions["kind"] == "look", "detail"].tail(1)
    return [f"at the last planned look, {detail}" for detail in last]
