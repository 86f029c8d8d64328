"""The latency of a student, one figure wherever it is shown."""

import pandas as pd

from analysis.tables.files import Tables

_SAME = ["params", "macs", "latency_device"]
"""Students of the same size on the same device take the same time, however they were trained."""


def latency_of(tables: Tables, trials: pd.DataFrame) -> float:
    """Milliseconds per image of the student of some trials: the least of all measurements of students of its size.

    What disturbs a measurement only makes it longer. NaN if the student was not measured.
    """
    mine = trials.dropna(subset=["latency_ms"])
    if mine.empty:
        return float("nan")
    measured = tables["trials"].dropna(subset=["latency_ms"])
    first = mine[_SAME].iloc[0]
    same = pd.Series(True, index=measured.index)
    for name in _SAME:
        same &= measured[name].isna() if pd.isna(first[name]) else measured[name] == first[name]
    return float(measured.loc[same, "latency_ms"].min())
