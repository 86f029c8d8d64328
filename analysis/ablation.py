"""What each part of a config is worth: every cell of an ablation beside its reference, seed by seed."""

import numpy as np
import pandas as pd

from analysis.finalists import finalists

Tables = dict[str, pd.DataFrame]


def ablate(tables: Tables) -> pd.DataFrame:
    """One row per cell of every ablation design; the reference of a design first, then by difference.

    A difference is the cell minus the reference at the same seed: negative where the change hurts. No
    significance is computed.

    Returns:
        Columns ``design, cell, role, factor, level, family, seeds, scores, mean, paired_seeds, differences,
        difference, n`` (``n`` is the number of pairs, for the reference its number of seeds); NaN and empty
        lists where a cell has no complete trial. Empty if the sweep is no ablation.
    """
    columns = ["design", "cell", "role", "factor", "level", "family"]
    cells = tables["cells"][columns]
    tops = finalists(tables).drop_duplicates("study").set_index("study")
    scores = {
        study: dict(zip(map(int, top["seeds"]), map(float, top["scores"]), strict=True))
        for study, top in tops.iterrows()
    }
    rows = []
    for _, group in cells.groupby("design", sort=False):
        references = group.loc[group["role"] == "reference", "cell"]
        reference = scores.get(references.iloc[0], {}) if len(references) else {}
        for cell in group.to_dict("records"):
            mine = scores.get(cell["cell"], {})
            is_reference = cell["role"] == "reference"
            paired = [] if is_reference else sorted(set(mine) & set(reference))
            differences = [mine[seed] - reference[seed] for seed in paired]
            rows.append(
                {
                    **cell,
                    "seeds": sorted(mine),
                    "scores": [mine[seed] for seed in sorted(mine)],
                    "mean": float(np.mean(list(mine.values()))) if mine else np.nan,
                    "paired_seeds": paired,
                    "differences": differences,
                    "difference": float(np.mean(differences)) if differences else np.nan,
                    "n": len(mine) if is_reference else len(paired),
                }
            )
    if not rows:
        return pd.DataFrame(columns=[*columns, "seeds", "scores", "mean", "difference", "n"])
    frame = pd.DataFrame(rows)
    order = {name: position for position, name in enumerate(dict.fromkeys(frame["design"]))}
    frame = frame.assign(_design=frame["design"].map(order), _first=frame["role"] != "reference")
    frame = frame.sort_values(["_design", "_first", "difference"], kind="stable", ignore_index=True)
    return frame.drop(columns=["_design", "_first"])
