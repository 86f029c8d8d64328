"""Which config to ship: the best finalist on fresh seeds, with what speaks for it."""

import json
from typing import Any

import pandas as pd

from analysis.compare import compare
from analysis.errors import InputError
from analysis.finalists import finalists
from analysis.schemas import SCHEMAS

Tables = dict[str, pd.DataFrame]


def select(tables: Tables) -> pd.DataFrame:
    """Every finalist, best first, as rows of the table ``selections`` (see ``analysis.finalists``).

    ``rank`` counts over all studies; rank 1 is ``chosen``: the highest mean over fresh seeds among configs
    of which every planned seed is complete. Empty if no trial is complete.
    """
    frame = finalists(tables)
    rank = pd.Series(range(1, len(frame) + 1), index=frame.index, dtype="int64")
    return frame.assign(rank=rank, chosen=rank == 1)[SCHEMAS["selections"].names]


def best(tables: Tables) -> dict[str, Any]:
    """The chosen config and what speaks for it, in plain values that YAML can hold.

    Returns:
        ``config`` (as it was trained, seed included) and ``evidence``: study, method, trial, screen score,
        every fresh seed with its score, mean, n, optimism, the baseline with the difference per seed, the
        runners-up, the teacher and the warnings. Scores are mIoU on role ``select`` as fractions 0..1.

    Raises:
        InputError: No trial is complete, so there is nothing to choose from.
    """
    ranked = finalists(tables)
    if ranked.empty:
        counts = tables["trials"]["state"].value_counts()
        states = ", ".join(f"{n} {state}" for state, n in counts.items()) or "no trials"
        raise InputError(f"nothing to choose from: no trial of this sweep is complete ({states})")
    winner = ranked.iloc[0]
    comparison = compare(tables).set_index("study")
    row = comparison.loc[winner["study"]]
    evidence = {
        "study": winner["study"],
        "method": row["method"],
        "trial": plain(winner["trial_id"]),
        "config_id": winner["config_id"],
        "score": "mIoU on role select at the last evaluated epoch, fraction 0..1",
        "confirmed_on_fresh_seeds": bool(winner["confirmed"]),
        "screen_score": plain(winner["screen_score"]),
        **_seeds(winner),
        "optimism": plain(winner["optimism"]),
        "baseline": _baseline(comparison, row),
        "runners_up": [
            {"study": other["study"], "config_id": other["config_id"], **_seeds(other)}
            for _, other in ranked.iloc[1:4].iterrows()
        ],
        "teacher": _teacher(tables),
        "warnings": list(row["warnings"]),
    }
    return {"config": json.loads(winner["config_json"]), "evidence": evidence}


def plain(value: Any) -> Any:
    """A numpy or pandas scalar as a plain Python value; None where it is missing."""
    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value


def _seeds(row: pd.Series) -> dict[str, Any]:
    return {
        "seeds": [int(seed) for seed in row["seeds"]],
        "scores": [float(score) for score in row["scores"]],
        "mean": plain(row["mean"]),
        "n": int(row["n"]),
    }


def _baseline(comparison: pd.DataFrame, row: pd.Series) -> dict[str, Any] | None:
    baselines = comparison[comparison["is_baseline"]]
    if baselines.empty:
        return None
    baseline = baselines.iloc[0]
    return {
        "study": baseline.name,
        "config_id": plain(baseline["config_id"]),
        **_seeds(baseline),
        "difference": plain(row["difference"]),
        "differences": [float(value) for value in row["differences"]],
        "paired_seeds": [int(seed) for seed in row["paired_seeds"]],
    }


def _teacher(tables: Tables) -> dict[str, Any] | None:
    if tables["teachers"].empty:
        return None
    teacher = tables["teachers"].iloc[0]
    return {name: plain(teacher[name]) for name in ("name", "digest", "miou", "role")}
