"""Which of several configs to choose when seeds are noisy: pure functions of their scores and costs.

The one-standard-error rule (Breiman et al. 1984): whatever is within one standard error of the best mean cannot be
distinguished from it, so the cheapest of these is chosen.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.tables.json_columns import FrozenSelection

RULE = "cheapest of all that lie within one standard error of the best mean over fresh seeds, compared seed by seed"
CLEAR = 2.0
"""A training that takes so many times as long as the fastest is clearly slower. Smaller gaps decide nothing: the load
of a machine makes them, and the same sweep, run again, would choose another config."""


def decide(
    finalists: pd.DataFrame,
    timed: Callable[[pd.DataFrame], bool] = lambda tied: True,
    frozen: FrozenSelection | None = None,
) -> pd.DataFrame:
    """Rank the finalists of a sweep and choose one; see `analysis.selection.finalists.finalists`.

    Args:
        finalists: One row per config, with at least ``study, config_id, seeds, scores, mean, n, planned_seeds,
            confirmed, rounds, unstable, fastest_s, training_macs, params, distance``, and ``control`` where some of
            them are controls, which are ranked last and never chosen.
        timed: Takes the tie set and returns whether its training times can be compared.
        frozen: A selection that is final.

    Returns:
        The same rows, the chosen one first and then by rank, with ``rank, tie, chosen, why``. A config that went out
        in an early round never comes before one of a later round.
    """
    order = finalists.assign(
        method=~_is_control(finalists),
        stable=finalists["unstable"].isna(),
        whole=finalists["n"] >= finalists["planned_seeds"],
    ).sort_values(
        ["method", "rounds", "stable", "whole", "mean", "study", "config_id"],
        ascending=[False, False, False, False, False, True, True],
    )
    frame = finalists.loc[order.index].reset_index(drop=True)
    frame = frame.assign(rank=range(1, len(frame) + 1), tie=_ties(frame))
    choice = _choice(frame, timed, frozen)
    chosen = frame.index == (None if choice is None else choice.label)
    why = pd.Series(None if choice is None else choice.why, frame.index, dtype=object)
    frame = frame.assign(chosen=chosen, why=why.where(chosen))
    return frame.sort_values("chosen", ascending=False, kind="stable").reset_index(drop=True)


def pooled_sd(scores: Sequence[Sequence[float]]) -> float:
    """The standard deviation between seeds of one config, pooled over configs; NaN if none has two seeds."""
    spread, freedom = _spread(scores)
    return math.sqrt(spread / freedom) if freedom else math.nan


def within_one_se(scores: Sequence[Mapping[int, float]]) -> list[bool]:
    """Which configs are within one standard error of the best mean.

    The standard error of a mean is that of the difference to the best, seed by seed, over the square root of 2: right
    for two configs that are alike, and valid whatever their spreads and the correlation by seed. So nothing that is
    separated from the best is within it.

    Args:
        scores: By seed, of every config.
    """
    means = [float(np.mean(list(by_seed.values()))) for by_seed in scores]
    best = int(np.argmax(means))
    return [
        means[best] - mean <= _se_of_difference(scores[best], by_seed) / math.sqrt(2)
        for mean, by_seed in zip(means, scores, strict=True)
    ]


def _se_of_difference(best: Mapping[int, float], other: Mapping[int, float]) -> float:
    """Paired where two seeds are shared, else from both spreads; 0 where it is unknown."""
    each = [score - other[seed] for seed, score in best.items() if seed in other]
    if len(each) > 1:
        return _se_of_mean(each)
    if min(len(best), len(other)) < 2:
        return 0.0
    return math.hypot(*(_se_of_mean(list(scores.values())) for scores in (best, other)))


def _se_of_mean(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) / math.sqrt(len(values))


@dataclass(frozen=True)
class ConfigChoice:
    """The chosen config: its label in the frame, and why it was chosen."""

    label: Hashable
    why: str


def cheapest(tied: pd.DataFrame, timed: bool = True) -> ConfigChoice:
    """The cheapest of a tie set.

    Configs that are clearly slower than another are left out; then the least computation decides, then the fewest
    parameters, then the distance from the published values. Computation is counted, so that the same sweep makes the
    same choice on every machine.

    Args:
        tied: One row per config, with ``mean``, ``fastest_s`` (seconds of its fastest training), ``training_macs``
            (multiply-accumulates of one training), ``params`` and ``distance`` (from the published values); what is
            missing decides nothing.
        timed: Whether the times can be compared at all.
    """
    of = f"of {len(tied)} that are within one standard error of the best mean"
    if len(tied) == 1:
        return ConfigChoice(tied.index[0], "no other is within one standard error of it")
    left = tied
    for column, most, reason in (
        ("fastest_s", CLEAR, f"at least {CLEAR:g} times as fast to train as the others"),
        ("training_macs", 1.0, "the cheapest to train"),
        ("params", 1.0, "the smallest"),
        ("distance", 1.0, "the closest to its published values"),
    ):
        values = left[column].astype("float64")
        if values.isna().any() or (column == "fastest_s" and not timed):
            continue
        left = left[(values < values.min() * most) | (values == values.min())]
        if len(left) == 1:
            return ConfigChoice(left.index[0], f"{reason} {of}")
    return ConfigChoice(left["mean"].astype("float64").idxmax(), f"the highest mean {of}, which cost the same")


def contenders(frame: pd.DataFrame) -> pd.DataFrame:
    """The finalists among which the choice is made: of the last round, stable, and with a score on every seed."""
    methods = frame[frame["confirmed"] & ~_is_control(frame)]
    last = methods[methods["rounds"] == methods["rounds"].max()]
    able = last[last["unstable"].isna() & (last["n"] >= last["planned_seeds"])]
    return able[able["n"] == able["n"].max()]


def by_seed(frame: pd.DataFrame) -> list[dict[int, float]]:
    """The scores of every finalist by seed."""
    return [dict(zip(*row, strict=True)) for row in zip(frame["seeds"], frame["scores"], strict=True)]


def seed_sd(frame: pd.DataFrame) -> float:
    """The seeds' standard deviation pooled over the stable finalists; NaN if none has two seeds."""
    return pooled_sd(frame.loc[frame["confirmed"] & frame["unstable"].isna(), "scores"].tolist())


def _ties(frame: pd.DataFrame) -> pd.Series:
    able = contenders(frame)
    if able.empty:
        return pd.Series(False, index=frame.index)
    tied = within_one_se(by_seed(able))
    return pd.Series(frame.index.isin(able.index[tied]), index=frame.index)


def _choice(
    frame: pd.DataFrame, timed: Callable[[pd.DataFrame], bool], frozen: FrozenSelection | None
) -> ConfigChoice | None:
    """The choice; None where there are only controls."""
    if frozen is not None:
        chosen = frame[(frame["study"] == frozen.chosen.study) & (frame["config_id"] == frozen.chosen.config_id)]
        if len(chosen):
            return ConfigChoice(chosen.index[0], frozen.why)
    tied = frame[frame["tie"]]
    if tied.empty and _is_control(frame.iloc[:1]).all():
        return None
    if tied.empty:
        return ConfigChoice(frame.index[0], _first(frame.iloc[0]))
    return cheapest(tied, len(tied) > 1 and timed(tied))


def _is_control(frame: pd.DataFrame) -> pd.Series:
    return frame["control"].notna() if "control" in frame else pd.Series(False, frame.index)


def _first(best: pd.Series) -> str:
    """Why the first config is chosen although there is no tie set."""
    if best["confirmed"] and pd.notna(best["unstable"]) and best["n"] >= best["planned_seeds"]:
        return "the highest mean of the last round, in which a fresh seed of every config failed"
    return "the best so far, because no config has a score on every fresh seed"


def _spread(scores: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Sum of squares within configs, and its degrees of freedom."""
    samples = [np.asarray(sample, dtype=float) for sample in scores if len(sample) > 1]
    squares = sum(((sample - sample.mean()) ** 2).sum() for sample in samples)
    return float(squares), sum(len(sample) - 1 for sample in samples)
