"""Methods beside each other: each study's best finalist against the searched baseline, with its doubts."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.conditions.hardware import Mix, mixed
from analysis.errors import AnalysisError
from analysis.formats import points
from analysis.selection.claims import NOTHING, claim_columns, config_claim
from analysis.selection.finalists import finalists, trials_of
from analysis.selection.refusals import TOLERANCE, granted_unit, refused
from analysis.stats.seed_contrasts import Effects, smallest_effect
from analysis.tables.files import Tables
from analysis.tables.ranges import edges
from analysis.tables.states import BROKEN, Phase, Role, State

SMALLEST_GAP = 0.02
"""With a teacher less than this above the baseline, a share of the gap would be noise over noise."""


def compare(tables: Tables) -> pd.DataFrame:
    """One row per study, represented by its best finalist, best first; a study without one comes last.

    Scores are mIoU on role ``select`` (fractions 0..1). What is claimed is claimed about these configs (see
    ``analysis.stats.seed_contrasts``): one model of all best finalists over their fresh seeds. Nothing is claimed
    while the sweep is unfinished, nor where the comparison is refused (see ``analysis.selection.refusals``): there
    the seeds are all there is.


    Returns:
        Columns ``study, method, citation, is_baseline, searched_parameters, budget_trials, budget_epochs``;
        ``finalists`` (how many the study has); of the best one ``config_id, trial_id, screen_score, optimism,
        seeds, scores, mean, minimum, maximum, n, planned_seeds, confirmed, chosen`` (of all);
        ``paired_seeds, differences, difference`` to the baseline's best finalist, seed by seed; the claim ``low, high,
        p_holm, word, mde, unstable`` as in ``seeds.Effects``, and ``refused``, sentences that say why there is none;
        ``gap_closed, gap_low, gap_high``, the share of the way from baseline to teacher (NaN below ``SMALLEST_GAP``);
        ``budget_ratio, time_ratio``, what the search spent relative to the baseline's, in the unit that was granted
        and in seconds;
        ``test_scores, test_mean`` on role ``test``, if evaluated; ``params, latency_ms``;
        ``search_trials, search_epochs, search_s, confirm_s`` and one count of trials per state;
        ``warnings``, a list of sentences.

    Raises:
        AnalysisError: The tables hold no study.
    """
    if tables["studies"].empty or tables["sweeps"].empty:
        raise AnalysisError("the tables hold no study: nothing was planned or they are incomplete; rebuild them")
    ranked = finalists(tables)
    tops = ranked.drop_duplicates("study").set_index("study", drop=False)
    spent = _spent(tables["trials"])
    rows = [
        {
            **_identity(study),
            "finalists": int((ranked["study"] == study["study"]).sum()),
            **_scores(tables, tops.loc[study["study"]] if study["study"] in tops.index else None),
            **spent.get(study["study"], _spent_nothing()),
        }
        for _, study in tables["studies"].iterrows()
    ]
    baseline = next((row for row in rows if row["is_baseline"]), None)
    teacher = teacher_miou(tables)
    refusals = refused(tables, rows)
    found = config_claim(rows, smallest_effect(tables["sweeps"])) if tables["sweeps"]["finished"].all() else None
    for row in rows:
        row["refused"] = refusals[row["study"]]
        row.update(_against(row, baseline, teacher))
        row.update(_claim(row, baseline, teacher, found))
    mixes = mixed(tables)
    at_edge = edges(tables, [row["trial_id"] for row in rows if isinstance(row["trial_id"], str)])
    for row in rows:
        row["warnings"] = _warnings(tables, row, baseline, at_edge.get(row["trial_id"], [])) + _mixed(
            mixes, row, baseline
        )
    place = {study: position for position, study in enumerate(tops.index)}
    rows.sort(key=lambda row: place.get(row["study"], len(place)))
    return pd.DataFrame(rows).assign(chosen=[bool(row["n"]) and place[row["study"]] == 0 for row in rows])


def teacher_miou(tables: Tables) -> float:
    """The teacher's mIoU on role ``select``; NaN if it is not known on that role."""
    teachers = tables["teachers"]
    known = teachers.loc[teachers["role"] == Role.SELECT, "miou"].dropna()
    return float(known.iloc[0]) if len(known) else float("nan")


def per_class(tables: Tables, comparison: pd.DataFrame) -> pd.DataFrame:
    """IoU per class of the baseline, the chosen config and the teacher, on role ``select``.

    Baseline and best are means over their seeds; a class that is absent from the images is NaN.

    Returns:
        Indexed by class name, columns ``baseline, best, teacher``, the classes in the order of the data.
    """
    classes = list(tables["sweeps"]["classes"].iloc[0])
    columns = dict.fromkeys(("baseline", "best", "teacher"), np.nan)
    frame = pd.DataFrame(columns, index=pd.Index(classes, name="class"))
    for column, flag in (("baseline", "is_baseline"), ("best", "chosen")):
        rows = comparison[comparison[flag] & (comparison["n"] > 0)]
        if len(rows):
            frame[column] = _mean_iou(tables, rows.iloc[0], len(classes))
    teachers = tables["teachers"]
    known = teachers[(teachers["role"] == Role.SELECT) & teachers["iou"].notna()]
    if len(known) and len(known["iou"].iloc[0]) == len(classes):
        frame["teacher"] = np.asarray(known["iou"].iloc[0], dtype=float)
    return frame


def _identity(study: pd.Series) -> dict[str, Any]:
    names = ("study", "method", "citation", "is_baseline", "searched_parameters")
    return {name: study[name] for name in (*names, "budget_trials", "budget_epochs")}


def _scores(tables: Tables, top: pd.Series | None) -> dict[str, Any]:
    if top is None:
        numbers = ("screen_score", "optimism", "mean", "minimum", "maximum", "test_mean", "params")
        return {
            **dict.fromkeys((*numbers, "latency_ms"), float("nan")),
            **{name: [] for name in ("seeds", "scores", "test_scores")},
            **{"config_id": None, "trial_id": None, "n": 0, "planned_seeds": 0, "confirmed": False},
        }
    trials = trials_of(tables, top)
    everywhere = tables["trials"]
    same = everywhere[(everywhere["study"] == top["study"]) & (everywhere["config_id"] == top["config_id"])]
    held_out = _last_evaluations(tables, same["trial_id"], Role.TEST)["miou"].dropna().tolist()
    return {
        **{name: top[name] for name in ("config_id", "trial_id", "screen_score", "optimism", "mean")},
        **{name: top[name] for name in ("n", "planned_seeds", "confirmed")},
        "seeds": [int(seed) for seed in top["seeds"]],
        "scores": [float(score) for score in top["scores"]],
        "minimum": min(top["scores"]),
        "maximum": max(top["scores"]),
        "test_scores": held_out,
        "test_mean": float(np.mean(held_out)) if held_out else float("nan"),
        "params": trials["params"].max(),
        "latency_ms": trials["latency_ms"].median(),
    }


def _against(row: dict[str, Any], baseline: dict[str, Any] | None, teacher: float) -> dict[str, Any]:
    nan = float("nan")
    empty: dict[str, Any] = {"paired_seeds": [], "differences": [], "difference": nan, "gap_closed": nan}
    empty |= {"budget_ratio": nan, "time_ratio": nan}
    if baseline is None or row is baseline:
        return empty
    unit = granted_unit(row)
    ratios = {
        "budget_ratio": _ratio(row[f"search_{unit}"], baseline[f"search_{unit}"]),
        "time_ratio": _ratio(row["search_s"], baseline["search_s"]),
    }
    theirs = dict(zip(baseline["seeds"], baseline["scores"], strict=True))
    pairs = [(seed, score) for seed, score in zip(row["seeds"], row["scores"], strict=True) if seed in theirs]
    if not pairs:
        return empty | ratios
    differences = [score - theirs[seed] for seed, score in pairs]
    return {
        "paired_seeds": [seed for seed, _ in pairs],
        "differences": differences,
        "difference": float(np.mean(differences)),
        "gap_closed": (row["mean"] - baseline["mean"]) / _gap(baseline, teacher),
        **ratios,
    }


def _claim(
    row: dict[str, Any], baseline: dict[str, Any] | None, teacher: float, found: Effects | None
) -> dict[str, Any]:
    """What is claimed of a study; a refused comparison loses its difference too, only the seeds stay."""
    if baseline is None or row is baseline:
        return NOTHING
    if row["refused"]:
        return {**NOTHING, "difference": float("nan"), "gap_closed": float("nan")}
    return claim_columns(found, row, _gap(baseline, teacher))


def _gap(baseline: dict[str, Any], teacher: float) -> float:
    gap = teacher - baseline["mean"]
    return gap if gap >= SMALLEST_GAP else float("nan")


def _ratio(mine: float, theirs: float) -> float:
    return mine / theirs if theirs else float("nan")


def _spent_nothing() -> dict[str, Any]:
    return {
        **dict.fromkeys(State, 0),
        "search_trials": 0,
        "search_epochs": 0,
        "search_s": 0.0,
        "confirm_s": 0.0,
    }


def _spent(trials: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """What each study used: trials per state over both phases, epochs and seconds of each phase."""
    spent = {}
    for study, group in trials.groupby("study"):
        search = group[(group["phase"] == Phase.SEARCH) & (group["state"] != State.PLANNED)]
        confirm = group[group["phase"] == Phase.CONFIRM]
        spent[str(study)] = {
            **{state.value: int((group["state"] == state).sum()) for state in State},
            "search_trials": len(search),
            "search_epochs": int(search["epochs_run"].sum()),
            "search_s": float(search["seconds"].sum()),
            "confirm_s": float(confirm["seconds"].sum()),
        }
    return spent


def _warnings(tables: Tables, row: dict[str, Any], baseline: dict[str, Any] | None, at_edge: list[str]) -> list[str]:
    found = []
    if not row["n"]:
        found.append("no finalist: none of its trials is complete")
    elif not row["confirmed"]:
        found.append("n=1, not confirmed: the score that found it, optimistic")
    elif row["n"] == 1:
        found.append("n=1")
    if row["n"] < row["planned_seeds"]:
        found.append(f"{row['planned_seeds'] - row['n']} of {row['planned_seeds']} fresh seeds missing")
    if baseline is None:
        found.append("no baseline study")
    elif row is not baseline:
        if row["searched_parameters"] and not baseline["searched_parameters"]:
            found.append("baseline was not searched")
        if row["n"] and baseline["n"] and not row["differences"]:
            found.append("no seed in common with the baseline")
        found += _unequal_budget(row, baseline)
        found += _low_teacher(tables, baseline)
    found += at_edge
    total = sum(row[state] for state in State)
    found += [f"{row[state]} of {total} trials {state}" for state in BROKEN if row[state]]
    if not tables["sweeps"]["finished"].all():
        found.append("the sweep has not finished")
    return found


def _mixed(mixes: list[Mix], row: dict[str, Any], baseline: dict[str, Any] | None) -> list[str]:
    """Whether a study and the baseline ran on one and the same."""
    compared = {row["study"], row["study"] if baseline is None else baseline["study"]}
    return [mix.doubt for mix in mixes if mix.spans(compared)]


def _low_teacher(tables: Tables, baseline: dict[str, Any]) -> list[str]:
    gap = teacher_miou(tables) - baseline["mean"]
    return [f"the teacher leads the baseline by only {points(gap)} points"] if gap < SMALLEST_GAP else []


def _unequal_budget(row: dict[str, Any], baseline: dict[str, Any]) -> list[str]:
    """Budgets are compared in the unit in which the sweep grants them; if equal, then in the time that they took."""
    unit = granted_unit(row)
    mine, theirs = row[f"search_{unit}"], baseline[f"search_{unit}"]
    if mine and theirs and abs(mine - theirs) > TOLERANCE * max(mine, theirs):
        return [f"budgets differ by more than 10 %: {mine} {unit}, baseline {theirs}"]
    if baseline["search_s"] < (1 - TOLERANCE) * row["search_s"]:
        share = baseline["search_s"] / row["search_s"]
        return [f"equal {unit}, not equal time: the baseline's search took {share:.0%} of its time"]
    return []


def _last_evaluations(tables: Tables, trial_ids: pd.Series, role: str) -> pd.DataFrame:
    evaluations = tables["evaluations"]
    mine = evaluations[evaluations["trial_id"].isin(trial_ids) & (evaluations["role"] == role)]
    return mine.sort_values("epoch").drop_duplicates("trial_id", keep="last")


def _mean_iou(tables: Tables, row: pd.Series, classes: int) -> np.ndarray:
    """Mean IoU per class over the seeds of one config, NaN where no seed has the class."""
    last = _last_evaluations(tables, trials_of(tables, row)["trial_id"], Role.SELECT)
    stacked = [np.asarray(iou, dtype=float) for iou in last["iou"] if len(iou) == classes]
    if not stacked:
        return np.full(classes, np.nan)
    values = np.stack(stacked)
    known = np.isfinite(values)
    return np.where(known.any(0), np.where(known, values, 0).sum(0) / np.maximum(known.sum(0), 1), np.nan)
