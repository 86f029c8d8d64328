"""The config that an ablation takes apart, beside the controls of the design."""

import pandas as pd

from analysis.selection.control_contrasts import ControlContrast, control_names
from analysis.tables.controls import controls_of, subject_of_group
from analysis.tables.files import Tables
from analysis.tables.states import Control


def ablation_contrasts(tables: Tables, ablation: pd.DataFrame) -> list[ControlContrast]:
    """The config minus every control, with the words of the rows of ``ablation``; each pair once.

    Args:
        tables: The tables of a sweep.
        ablation: From ``analysis.ablation.effects.ablate``.
    """
    controls = controls_of(tables)
    made: dict[tuple[str, str], ControlContrast] = {}
    for design, group in tables["cells"].groupby("design", sort=False):
        subject = subject_of_group(group)
        if subject is None:
            continue
        names = control_names(tables, controls, subject)
        for _, row in ablation[ablation["design"] == design].iterrows():
            cell, against = str(row["cell"]), row["against"]
            if cell in controls and against == subject:
                control, sign = cell, -1
            elif cell == subject and against in controls:  # the design's reference is a control
                control, sign = str(against), 1
            else:
                continue
            contrast = ControlContrast(subject, control, controls[control], names[control])
            made.setdefault((subject, control), _filled(contrast, row, sign))
    return sorted(made.values(), key=lambda contrast: list(Control).index(contrast.kind))


def _filled(contrast: ControlContrast, row: pd.Series, sign: int) -> ControlContrast:
    low, high = (float(row["low"]), float(row["high"])) if sign > 0 else (-float(row["high"]), -float(row["low"]))
    word = row["word"] if isinstance(row["word"], str) and pd.notna(low) else None
    difference = sign * float(row["difference"])
    return ControlContrast(
        contrast.subject, contrast.control, contrast.kind, contrast.name, difference, low, high, word, int(row["n"])
    )
