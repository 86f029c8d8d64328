"""Where the seconds of the trials went, and what the teacher was asked."""

import json

import pandas as pd

from analysis.findings import Findings
from analysis.formats import count, duration, share
from analysis.page import Cell, figure, key, number, table

Tables = dict[str, pd.DataFrame]

INSIDE = ("data", "record", "teacher", "student", "losses", "gradients", "backward", "optimizer", "evaluate")
"""Parts of an epoch, within its ``total``."""
OUTSIDE = ("checkpoint", "start")
"""Parts that come on top of it."""
REST = "rest"
PARTS = (*INSIDE, *OUTSIDE, REST)
SHOWN = 0.005
"""A part is shown if it takes more than this share in any study."""


def bill(tables: Tables) -> pd.DataFrame:
    """Seconds by part, summed over the trials of every study that ran themselves.

    A trial that took over another's outcome has cost nothing; a trial whose parts are not known is left out.

    Returns:
        One row per study: ``study, trials, seconds``, a column for every one of ``PARTS`` (seconds; 0 where it never
        occurred), and ``asked, recorded``: images that the teacher was shown, and those of them whose answers were
        recorded for all trials (missing where no trial tells).
    """
    trials = tables["trials"]
    known = trials[trials["parts_json"].notna() & trials["reused_from"].isna()]
    columns = ["study", "trials", "seconds", *PARTS, "asked", "recorded"]
    if known.empty:
        return pd.DataFrame(columns=columns)
    parts = pd.DataFrame([json.loads(text) for text in known["parts_json"]], index=known.index)
    parts = parts.reindex(columns=["total", *INSIDE, *OUTSIDE]).fillna(0.0).astype("float64")
    parts[REST] = (parts["total"] - parts[list(INSIDE)].sum(axis="columns")).clip(lower=0.0)
    parts["seconds"] = parts[["total", *OUTSIDE]].sum(axis="columns")
    by_study = parts.drop(columns="total").assign(trials=1).groupby(known["study"]).sum()
    asked = known.groupby("study")[["asked", "recorded"]].sum(min_count=1)
    return by_study.join(asked).reset_index()[columns]


def section(found: Findings) -> str:
    """The bill of every study as HTML; empty where the tables do not tell."""
    frame = bill(found.tables)
    whole = frame["seconds"].sum()
    if not whole > 0:
        return ""
    shares = frame.set_index("study")[list(PARTS)].div(frame.set_index("study")["seconds"], axis="index")
    shown = [part for part in PARTS if (shares[part] > SHOWN).any()]
    by_study = frame.set_index("study")
    rows = [
        [
            Cell(html=key(study, found.palette[study])),
            number(duration(mean := by_study.loc[study, "seconds"] / by_study.loc[study, "trials"]), mean),
            *(number(share(shares.loc[study, part]), shares.loc[study, part]) for part in shown),
        ]
        for study in found.comparison["study"]
        if study in by_study.index
    ]
    columns = ["Study", "One trial", *(f"{'the ' if part == REST else ''}{part}".capitalize() for part in shown)]
    taught = frame["teacher"].sum() / whole
    rest = (
        f"Shares of all seconds of {count(frame['trials'].sum())} trials, however they ended; the mean of one trial. "
        "Data: waiting for samples, and for other trials that record; record and teacher: also what was done there "
        f"for all trials. {teacher_sentence(frame['asked'].sum(), frame['recorded'].sum(), taught)}"
    )
    if found.tables["environments"]["device"].eq("cuda").any():
        rest += " On a GPU, parts are the seconds of the host, which waits for it now and then."
    return figure(table(columns, rows), f"{duration(whole)} by what they were spent on.", rest)


def teacher_sentence(asked: float, recorded: float, seconds: float) -> str:
    """What the teacher was asked, and its share 0..1 of all ``seconds``; empty where it was not asked."""
    if not asked > 0:
        return ""
    many = "all" if recorded == asked else count(recorded)
    once = f", {many} of them once for all trials" if recorded > 0 else ""
    return f"The teacher was asked about {count(asked)} images{once}; that took {share(seconds)} of all seconds."
