"""Where the time went, as a section of the report."""

import pandas as pd

from analysis.conditions.time_spent import IMAGES, PARTS, REST, recording, time_spent
from analysis.formats import count, duration, share
from analysis.report.findings import Findings
from analysis.report.html import TableCell, figure, key, number, table
from analysis.tables.metric_names import ONCE, OUTSIDE

SHOWN = 0.005
"""A part is shown if it takes more than this share in any study."""


def section(findings: Findings) -> str:
    """The seconds of every study by part; empty where they were not recorded."""
    frame = time_spent(findings.tables).set_index("study")
    whole = frame["seconds"].sum()
    if not whole > 0:
        return ""
    shares = frame[list(PARTS)].div(frame["seconds"], axis="index")
    shown = [part for part in PARTS if (shares[part] > SHOWN).any()]
    rows = [
        [
            TableCell(html=key(study, findings.palette[study])),
            number(duration(mean := frame.loc[study, "seconds"] / frame.loc[study, "trials"]), mean),
            *(number(share(shares.loc[study, part]), shares.loc[study, part]) for part in shown),
        ]
        for study in findings.comparison["study"]
        if study in frame.index
    ]
    columns = ["Study", "One trial", *(f"{'the ' if part == REST else ''}{part}".capitalize() for part in shown)]
    rest = (
        f"Each part as a share of the seconds of all trials of a study, however they ended "
        f"({count(frame['trials'].sum())} trials in all); the column One trial is their mean length. "
        f"{recording_sentence(recording(findings.tables))}"
        f"{teacher_sentence(*(frame[name].sum() for name in IMAGES))}"
    ).rstrip()
    if findings.tables["environments"]["device"].eq("cuda").any():
        rest += (
            " On a GPU, the parts are measured on the host, which runs ahead of the GPU and waits for it now and then."
        )
    return figure(table(columns, rows), _claim(whole, frame[list(OUTSIDE)].to_numpy().sum()), rest)


def _claim(whole: float, outside: float) -> str:
    """The seconds of all trials, and those of them that are not training: the section Budget counts the rest alone."""
    if not outside > 0:
        return f"What the {duration(whole)} of training were spent on."
    parts = f"{duration(whole - outside)} of training, {duration(outside)} of starting and writing checkpoints"
    return f"What the {duration(whole)} of the trials were spent on: {parts}."


def recording_sentence(seconds: pd.Series) -> str:
    """The recording, done once for all trials; empty if nothing was recorded."""
    if not seconds[["record", "record_teacher"]].sum() > 0:
        return ""
    samples, maps, wait = (duration(seconds[part]) for part in ONCE)
    return (
        f"Not counted here, because it was done once for all trials: {samples} for recording samples, {maps} for "
        f"teacher maps, {wait} of waiting for trials that recorded. "
    )


def teacher_sentence(shown: float, recorded: float, replayed: float) -> str:
    """For how many images the teacher computed and for how many its recorded maps were read; empty if for none."""
    read = f"recorded maps were read for {count(replayed)}" if replayed > 0 else ""
    if not shown > 0:
        return f"The teacher was shown no image; {read}. " if read else ""
    many = "all" if recorded == shown else count(recorded)
    once = f", {many} of them once for all trials" if recorded > 0 else ""
    return f"The teacher was shown {count(shown)} images{once}{f'; {read}' if read else ''}. "
