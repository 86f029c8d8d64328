"""Which config to ship: the cheapest of the best finalists on fresh seeds, with what speaks for it."""

from typing import Any

import pandas as pd

from analysis.errors import AnalysisError
from analysis.selection.compare import compare
from analysis.selection.final_seeds import FinalScores, final_difference, final_scores
from analysis.selection.finalists import finalists
from analysis.selection.one_standard_error import RULE, by_seed, contenders, seed_sd
from analysis.selection.stage import Stage
from analysis.selection.standings import standings
from analysis.tables.files import Tables
from analysis.tables.json_columns import read_config, read_frozen_selection, score_in_words
from analysis.tables.ranges import crowded_edges
from analysis.tables.schemas import SCHEMAS

_SUCCESS = (("share_of_fresh_seeds", ""), ("low", "_low"), ("high", "_high"))


def select(tables: Tables) -> pd.DataFrame:
    """Every finalist by rank, as rows of the table ``selections`` (see ``analysis.selection.finalists``).

    ``rank`` goes by mean and counts over all studies; ``chosen`` is the cheapest of the ties for the first rank. Empty
    if no trial is complete.
    """
    return finalists(tables).sort_values("rank")[SCHEMAS["selections"].names].reset_index(drop=True)


def best(tables: Tables, comparison: pd.DataFrame | None = None, ranked: pd.DataFrame | None = None) -> dict[str, Any]:
    """The chosen config and what speaks for it, in plain values that YAML can hold.

    Args:
        tables: The tables of a sweep.
        comparison: From ``compare``, which is computed where it is not given.
        ranked: From ``finalists``, likewise.

    Returns:
        ``config`` (as it was trained, seed included) and ``evidence``: study, method, trial, screen score,
        every fresh seed with its score, mean, n, optimism, the ``selection`` (rule, why, tie set, pooled SD, rank
        interval), the baseline with the difference per seed, the runners-up, ranges that were too narrow, the teacher,
        ``test`` (the frozen config on seeds and images that were not used to choose) and the warnings. Scores are
        mIoU on role ``select`` as fractions 0..1, those in ``test`` on the role that it names. Wherever scores or a
        word stand, ``rests_on`` says by which seeds: after a freeze only *final seeds* are the result.

    Raises:
        AnalysisError: No trial is complete, so there is nothing to choose from.
    """
    ranked = finalists(tables) if ranked is None else ranked
    if ranked.empty:
        counts = tables["trials"]["state"].value_counts()
        states = ", ".join(f"{n} {state}" for state, n in counts.items()) or "no trials"
        raise AnalysisError(f"nothing to choose from: no trial of this sweep is complete ({states})")
    if not ranked["chosen"].any():
        studies = ", ".join(dict.fromkeys(ranked["study"]))
        raise AnalysisError(
            f"nothing to choose from: only controls have a complete trial ({studies}); run the sweep on"
        )
    winner = ranked.iloc[0]
    comparison = (compare(tables, ranked) if comparison is None else comparison).set_index("study")
    row = comparison.loc[winner["study"]]
    evidence = {
        "study": winner["study"],
        "method": row["method"],
        "trial": _plain(winner["trial_id"]),
        "config_id": winner["config_id"],
        "score": f"{score_in_words(tables)}, fraction 0..1",
        "confirmed_on_fresh_seeds": bool(winner["confirmed"]),
        "screen_score": _plain(winner["screen_score"]),
        **_seeds(winner),
        "success": {name: _plain(row[f"success{end}"]) for name, end in _SUCCESS},
        "optimism": _plain(winner["optimism"]),
        "selection": _selection(ranked, winner),
        "baseline": _baseline(comparison, row),
        "runners_up": [
            {
                "study": runner_up["study"],
                "config_id": runner_up["config_id"],
                **_control(runner_up),
                **_seeds(runner_up),
            }
            for _, runner_up in ranked.iloc[1:4].iterrows()
        ],
        "space_edges": crowded_edges(tables, winner["study"]),
        "test": _test(tables, winner),
        "teacher": _teacher(tables),
        "warnings": list(row["warnings"]),
    }
    return {"config": read_config(winner["config_json"]).content, "evidence": evidence}


def _selection(ranked: pd.DataFrame, winner: pd.Series) -> dict[str, object]:
    """Why this config: the rule, and what it was applied to."""
    able = contenders(ranked)
    selection: dict[str, object] = {"rule": RULE if len(able) else "highest score", "why": winner["why"]}
    if len(able):
        selection["pooled_sd"] = _plain(seed_sd(ranked))
        selection["tie_set"] = [
            {
                "study": row["study"],
                "config_id": row["config_id"],
                "mean": float(row["mean"]),
                "cost_s": _plain(row["cost_s"]),
                "training_macs": _plain(row["training_macs"]),
            }
            for _, row in ranked[ranked["tie"]].sort_values("rank").iterrows()
        ]
        places, ranks = list(able.index), standings(by_seed(able))
        if ranks is not None and winner.name in places:
            standing = ranks[places.index(winner.name)]
            selection["standing"] = "no verdict: rank and chance of being best, from redrawn seeds, without a test"
            selection["rank_interval"] = f"{standing.low} to {standing.high} of {len(able)}"
            selection["probability_of_best"] = round(standing.best, 2)
    unstable = ranked[ranked["unstable"].notna()]
    if len(unstable):
        selection["unstable"] = [
            f"{row['study']} {row['config_id']}: {row['unstable']}" for _, row in unstable.iterrows()
        ]
    return selection


def _test(tables: Tables, winner: pd.Series) -> dict[str, object] | str:
    """The frozen config on the final seeds, beside the baseline."""
    frozen, chosen = read_frozen_selection(tables), final_scores(tables)
    if frozen is None or chosen is None:
        return "role test is read once the selection is frozen: `kdsweep best D --freeze`, D being its folder"
    baseline = final_scores(tables, "baseline")
    evidence: dict[str, object] = {"frozen_at": frozen.at, **_final_scores(chosen)}
    if chosen.seeds and pd.notna(winner["screen_score"]):
        screen = float(winner["screen_score"])
        gaps = {"screen_score_minus_role_select": screen - chosen.select_mean}
        evidence["optimism_gap"] = gaps | (
            {"screen_score_minus_role_test": screen - chosen.mean} if chosen.test else {}
        )
    if baseline is None:
        return evidence
    if (baseline.study, baseline.config_id) == (chosen.study, chosen.config_id):
        return {**evidence, "baseline": "the chosen config is the baseline"}
    evidence["baseline"] = {"study": baseline.study, "config_id": baseline.config_id, **_final_scores(baseline)}
    if (difference := final_difference(tables)) is not None:
        evidence["difference"] = {
            "on": f"role {chosen.role}, chosen minus baseline",
            "seeds": list(difference.seeds),
            "each": list(difference.each),
            "mean": difference.mean,
            "low": _plain(difference.low),
            "high": _plain(difference.high),
            "word": difference.word,
            **({"withheld": difference.withheld} if difference.withheld else {}),
            **({"weakened": difference.weakened} if difference.weakened else {}),
        }
    return evidence


def _final_scores(scores: FinalScores) -> dict[str, object]:
    return {
        "rests_on": Stage.HELD_OUT.value,
        "seeds": list(scores.seeds),
        "planned_seeds": scores.planned,
        "failed_seeds": list(scores.broken),
        "scores_on_role_test": list(scores.test),
        "scores_on_role_select": list(scores.select),
        "mean": _plain(scores.mean),
        "role": scores.role,
    }


def _plain(value: Any) -> object:
    """A numpy or pandas scalar as a plain Python value; None where it is missing."""
    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value


def _seeds(row: pd.Series) -> dict[str, object]:
    return {
        "rests_on": (Stage.PROVISIONAL if row["confirmed"] else Stage.SEARCH).value,
        "seeds": [int(seed) for seed in row["seeds"]],
        "scores": [float(score) for score in row["scores"]],
        "mean": _plain(row["mean"]),
        "n": int(row["n"]),
        **({"unstable": str(row["unstable"])} if pd.notna(row["unstable"]) else {}),
    }


def _control(row: pd.Series) -> dict[str, object]:
    return {} if pd.isna(row["control"]) else {"control": str(row["control"])}


def _baseline(comparison: pd.DataFrame, row: pd.Series) -> dict[str, object] | None:
    baselines = comparison[comparison["is_baseline"]]
    if baselines.empty:
        return None
    baseline = baselines.iloc[0]
    return {
        "study": baseline.name,
        "config_id": _plain(baseline["config_id"]),
        **_seeds(baseline),
        "difference": _plain(row["difference"]),
        "low": _plain(row["low"]),
        "high": _plain(row["high"]),
        "word": None if pd.isna(row["low"]) else _plain(row["word"]),
        "differences": [float(value) for value in row["differences"]],
        "paired_seeds": [int(seed) for seed in row["paired_seeds"]],
    }


def _teacher(tables: Tables) -> dict[str, object] | None:
    if tables["teachers"].empty:
        return None
    teacher = tables["teachers"].iloc[0]
    return {name: _plain(teacher[name]) for name in ("name", "digest", "miou", "role")}
