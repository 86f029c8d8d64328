"""Roles of the data that lack classes: what a score on them does not measure."""

import pandas as pd

from analysis.tables.files import Tables
from analysis.tables.states import Role

_NAMED = 10


def absent_classes(tables: Tables) -> dict[Role, list[str]]:
    """By role that was evaluated, the classes without a labelled pixel; they have no recall.

    Args:
        tables: The tables of a sweep.
    """
    names = list(tables["sweeps"]["classes"].iloc[0])
    absent = {}
    for role in (Role.SELECT, Role.TEST):
        evaluations = tables["evaluations"]
        recalls = evaluations.loc[evaluations["role"] == role, "recall"].dropna()
        if len(recalls):
            absent[role] = [name for name, recall in zip(names, recalls.iloc[0], strict=True) if pd.isna(recall)]
    return absent


def single_class(tables: Tables) -> list[str]:
    """A sentence for every role whose mIoU is over one class."""
    names = list(tables["sweeps"]["classes"].iloc[0])
    return [
        f"the mIoU on the role {role} is over one class, {next(name for name in names if name not in absent)}: a "
        "network that always predicts this class scores 100"
        for role, absent in absent_classes(tables).items()
        if len(absent) == len(names) - 1
    ]


def missing_classes(tables: Tables) -> list[str]:
    """A sentence for every role that lacks some classes."""
    names, sentences = list(tables["sweeps"]["classes"].iloc[0]), []
    for role, absent in absent_classes(tables).items():
        if absent:
            more = ", ..." if len(absent) > _NAMED else ""
            sentences.append(
                f"The role {role} has no labelled pixel of {len(absent)} of {len(names)} classes "
                f"({', '.join(absent[:_NAMED])}{more}): its mIoU does not measure them."
            )
    return sentences
