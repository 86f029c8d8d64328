"""Where the seconds of the trials went, and how many images the teacher was shown."""

import pandas as pd

from analysis.tables.files import Tables
from analysis.tables.json_columns import read_parts
from analysis.tables.metric_names import INSIDE, ONCE, OUTSIDE, TOTAL

REST = "rest"
"""What an epoch took beyond the parts that are measured."""
IMAGES = ("asked", "recorded", "replayed")
PARTS = (*INSIDE, *OUTSIDE, REST)


def time_spent(tables: Tables) -> pd.DataFrame:
    """Seconds by part, summed over the trials of every study that ran themselves.

    A trial that took over another's outcome has cost nothing; a trial without parts is left out. What was done once
    for all trials belongs to no study: see ``recording``.

    Returns:
        One row per study: ``study, trials, seconds``, a column for every one of ``PARTS`` (seconds; 0 where it never
        occurred), and ``asked, recorded, replayed``: images that the teacher was shown, those of them whose answers
        were recorded for all trials, and images for which these were read (missing where no trial states them).
    """
    trials = _measured(tables)
    columns = ["study", "trials", "seconds", *PARTS, *IMAGES]
    if trials.empty:
        return pd.DataFrame(columns=columns)
    parts = read_parts(trials).reindex(columns=[TOTAL, *INSIDE, *OUTSIDE]).fillna(0.0).astype("float64")
    parts[REST] = (parts[TOTAL] - parts[list(INSIDE)].sum(axis="columns")).clip(lower=0.0)
    parts["seconds"] = parts[[TOTAL, *OUTSIDE]].sum(axis="columns")
    by_study = parts.drop(columns=TOTAL).assign(trials=1).groupby(trials["study"]).sum()
    images = trials.groupby("study")[list(IMAGES)].sum(min_count=1)
    return by_study.join(images).reset_index()[columns]


def recording(tables: Tables) -> pd.Series:
    """Seconds spent once for all trials of the sweep, by the parts of ``ONCE``."""
    parts = read_parts(_measured(tables)).reindex(columns=list(ONCE)).fillna(0.0)
    return pd.Series({part: sum(parts[part], 0.0) for part in ONCE})


def _measured(tables: Tables) -> pd.DataFrame:
    """The trials that ran themselves and state where their seconds went."""
    trials = tables["trials"]
    return trials[trials["parts_json"].notna() & trials["reused_from"].isna()]
