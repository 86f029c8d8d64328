"""Which studies of a sweep are controls, and which config the controls stand beside."""

import pandas as pd

from analysis.tables.files import Tables
from analysis.tables.json_columns import read_config, read_levels
from analysis.tables.states import Control
from analysis.tables.subject import subject_of

_ALL = "all"
"""The factor of a design that adds terms one by one, in the cell with all of them."""


def controls_of(tables: Tables) -> dict[str, Control]:
    """The kind of every study that is a control, from the table ``studies``.

    In tables written before that column was added, the role ``control`` in the table ``cells`` decides.
    """
    studies = tables["studies"]
    known = studies.dropna(subset=["control"]) if "control" in studies else studies.iloc[:0]
    if len(known):
        return {str(study): Control(kind) for study, kind in zip(known["study"], known["control"], strict=True)}
    cells = tables["cells"]
    cells = cells[(cells["role"] == "control") & (cells["factor"] != _ALL)]
    return {
        str(cell): next((Control(word) for word in (factor, cell) if word in set(Control)), Control.OTHER)
        for cell, factor in zip(cells["cell"], cells["factor"], strict=True)
    }


def subject_of_group(group: pd.DataFrame) -> str | None:
    """``subject_of`` the rows of one design in the table ``cells``."""
    return subject_of(zip(group["cell"], group["role"], map(read_levels, group["levels_json"]), strict=True))


def distills(tables: Tables) -> bool:
    """Whether any training of a sweep learns from a teacher."""
    return any(read_config(text).uses_teacher for text in tables["trials"].groupby("study")["config_json"].first())
