"""What a headline says where the trainings that it compares did not run on the same hardware, software or code."""

from collections.abc import Collection

from analysis.conditions.hardware import mixed
from analysis.report.line import Mark
from analysis.tables.files import Tables
from analysis.tables.states import Phase


def trained_on(tables: Tables, studies: Collection[str], final: bool) -> tuple[str, Mark]:
    """A clause with a semicolon in front, empty where all ran on the same, and how severe it is.

    Args:
        tables: The tables of a sweep.
        studies: Those that the headline compares.
        final: Whether it compares their final seeds; otherwise what led to the selection.
    """
    trials = tables["trials"]
    compared = trials["study"].isin(list(studies)) & ((trials["phase"] == Phase.FINAL) == final)
    mixes = mixed({**tables, "trials": trials[compared]})
    if not mixes:
        return "", ""
    different_code = any(mix.kind == "code" for mix in mixes)
    return f"; trained on {' and '.join(mix.doubt for mix in mixes)}", "red" if different_code else "amber"
