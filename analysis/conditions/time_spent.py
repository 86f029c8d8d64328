"""Where the seconds of the trials went, and what the teacher was asked."""

import json

import pandas as pd

from analysis.tables.files import Tables

INSIDE = ("data", "teacher", "student", "losses", "gradients", "backward", "optimizer", "evaluate")
"""Parts of an epoch, within its ``total``."""
OUTSIDE = ("checkpoint", "start")
"""Parts that come on top of it."""
ONCE = ("record", "record_teacher", "wait")
"""Done for all trials by those that came first: samples, the teacher's answers, waiting for one another."""
REST = "rest"
PARTS = (*INSIDE, *OUTSIDE, REST)


def bill(tables: Tables) -> pd.DataFrame:
    """Seconds by part, summed over the trials of every study that ran themselves.

    A trial that took over another's outcome has cost nothing; a trial whose parts are not known is left out. What was
    done once for all trials is no study's: see ``recording``.

    Returns:
        One row per study: ``study, trials, seconds``, a column for every one of ``PARTS`` (seconds; 0 where it never
        occurred), and ``asked, recorded``: images that the teacher was shown, and those of them whose answers were
        recorded for all trials (missing where no trial tells).
    """
    known = _known(tables)
    columns = ["study", "trials", "seconds", *PARTS, "asked", "recorded"]
    if known.empty:
        return pd.DataFrame(columns=columns)
    told = pd.DataFrame([json.loads(text) for text in known["parts_json"]], index=known.index)
    parts = told.reindex(columns=["total", *INSIDE, *OUTSIDE]).fillna(0.0).astype("float64")
    parts[REST] = (parts["total"] - parts[list(INSIDE)].sum(axis="columns")).clip(lower=0.0)
    parts["seconds"] = parts[["total", *OUTSIDE]].sum(axis="columns")
    by_study = parts.drop(columns="total").assign(trials=1).groupby(known["study"]).sum()
    asked = known.groupby("study")[["asked", "recorded"]].sum(min_count=1)
    return by_study.join(asked).reset_index()[columns]


def recording(tables: Tables) -> pd.Series:
    """Seconds spent once for all trials of the sweep, by the parts of ``ONCE``."""
    told = [json.loads(text) for text in _known(tables)["parts_json"]]
    return pd.Series({part: sum((parts.get(part, 0.0) for parts in told), 0.0) for part in ONCE})


def _known(tables: Tables) -> pd.DataFrame:
    trials = tables["trials"]
    return trials[trials["parts_json"].notna() & trials["reused_from"].isna()]
