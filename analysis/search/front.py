"""The front of a sweep with several limits of cost: the best student below each, and whether it is on the front."""

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import special

from analysis.search.pareto import REPLICATES
from analysis.selection.finalists import finalists
from analysis.selection.one_standard_error import by_seed
from analysis.selection.standings import redrawn_means
from analysis.tables.files import Tables
from analysis.tables.fixed import once
from analysis.tables.json_columns import read_config, read_limits

COLUMNS = (
    *("limit", "student", "study", "config_id", "trial_id", "cost", "confirmed", "mean", "low", "high", "n"),
    *("p_front", "same_as"),
)


@once
def front(tables: Tables) -> pd.DataFrame:
    """The best student below each limit of a sweep with several.

    It is chosen among the configs within the limit as the config of a whole sweep is, see
    `analysis.selection.finalists.finalists`.

    Args:
        tables: The tables of a sweep.

    Returns:
        One row per limit, ascending: ``limit, student`` (the network in words), ``study, config_id, trial_id, cost``
        (in the unit of the limits, as measured), ``confirmed`` (whether the seeds are fresh), ``mean`` over its seeds
        (fraction of mIoU on role ``select``) with its 95 % interval ``low, high`` (Student's t of its seeds), ``n``
        (seeds), ``p_front`` (see `chances`) and ``same_as``, the smallest limit with the same config, where that is
        another one. A limit below which no trial is complete has nothing but itself. Empty for a sweep without several
        limits.
    """
    limits = read_limits(tables)
    if limits is None:
        return pd.DataFrame(columns=list(COLUMNS))
    chance = _chances_now(tables)
    rows: list[dict[str, object]] = []
    first: dict[Hashable, float] = {}
    for limit in limits.values:
        ranked = finalists_below(tables, limit)
        if ranked.empty or not ranked["chosen"].any():
            rows.append({"limit": limit, "confirmed": False, "n": 0})
            continue
        best = ranked.iloc[0]
        key = (best["study"], best["config_id"])
        low, high = mean_interval(best["scores"]) if best["confirmed"] else (math.nan, math.nan)
        rows.append(
            {
                "limit": limit,
                "student": read_config(best["config_json"]).student_title,
                **{name: best[name] for name in ("study", "config_id", "trial_id", "confirmed", "mean", "n")},
                "cost": cost_of(tables, best),
                "low": low,
                "high": high,
                "p_front": chance.get(key, math.nan) if best["confirmed"] else math.nan,
                "same_as": first.get(key, math.nan),
            }
        )
        first.setdefault(key, limit)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def finalists_below(tables: Tables, limit: float) -> pd.DataFrame:
    """The finalists within one of several limits, see `analysis.selection.finalists.finalists`.

    Those within the largest limit are all, and a frozen selection is theirs.
    """
    limits = read_limits(tables)
    return finalists(tables) if limits is None or limit >= limits.values[-1] else finalists(tables, limit)


def cost_of(tables: Tables, finalist: pd.Series) -> float:
    """What the student of a finalist costs, in the unit of the limits; NaN where it was not measured."""
    trials = tables["trials"]
    of_config = (trials["study"] == finalist["study"]) & (trials["config_id"] == finalist["config_id"])
    costs = trials.loc[of_config, "target_cost"].dropna()
    return float(costs.iloc[0]) if len(costs) else math.nan


def mean_interval(scores: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean of scores, by Student's t; NaN for one score."""
    if len(scores) < 2:
        return math.nan, math.nan
    mean, error = float(np.mean(scores)), float(np.std(scores, ddof=1)) / math.sqrt(len(scores))
    half = float(special.stdtrit(len(scores) - 1, 0.975)) * error
    return mean - half, mean + half


def chances(
    scores: Sequence[Mapping[int, float]], costs: Sequence[float], students: Sequence[Hashable], seed: int = 0
) -> list[float]:
    """The chance of each of several configs that no other student which is as cheap or cheaper is better.

    It is the share of redraws of all means in which that holds, see `analysis.selection.standings.redrawn_means`. It is
    assumed that scores of a config over seeds have a normal distribution, that nothing is known of a config before its
    seeds, and that costs are exact. Students of which no config was trained on fresh seeds are no rivals, nor is
    another config of the same student: whether that is better does not change what the device runs. The seeds have
    also chosen the student, for which nothing is corrected; in simulated sweeps with three to five seeds the chance is
    right or too low (`tests/analysis/test_front.py`).

    Args:
        scores: By seed, of every config.
        costs: Of each, the less the better.
        students: The identity of its student.
        seed: Of the redraws.

    Returns:
        One per config: 1 where no other student is as cheap, NaN where no config has two seeds.
    """
    draws = redrawn_means(scores, REPLICATES, seed)
    shares = []
    for place, (cost, student) in enumerate(zip(costs, students, strict=True)):
        rivals = [
            other
            for other, (its_cost, its_student) in enumerate(zip(costs, students, strict=True))
            if its_cost <= cost and its_student != student
        ]
        if not rivals:
            shares.append(1.0)
        elif len(draws):
            shares.append(float(np.mean(draws[:, place] > draws[:, rivals].max(axis=1))))
        else:
            shares.append(math.nan)
    return shares


def _chances_now(tables: Tables) -> dict[Hashable, float]:
    """By study and config, the chance of every config on fresh seeds to be on the front; controls are left out."""
    ranked = finalists(tables)
    frame = ranked[ranked["confirmed"].astype(bool) & ranked["control"].isna()]
    frame = frame.assign(cost=[cost_of(tables, row) for _, row in frame.iterrows()]).dropna(subset=["cost"])
    if frame.empty:
        return {}
    students = [str(sorted(read_config(text).student.items())) for text in frame["config_json"]]
    chance = chances(by_seed(frame), frame["cost"].tolist(), students)
    return dict(zip(zip(frame["study"], frame["config_id"], strict=True), chance, strict=True))
