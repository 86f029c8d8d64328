"""What quality costs: configs of which no other is better in mIoU, training time, size and latency at once."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.selection.finalists import finalists, trials_of
from analysis.selection.latency import latency_of
from analysis.selection.one_standard_error import by_seed
from analysis.selection.standings import redrawn_means
from analysis.tables.files import Tables

COSTS = ("cost_s", "params", "latency_ms")
"""Less is better."""
REPLICATES = 4000
LIKELY = 0.2
"""A config that is on the front with at least this probability is shown as a candidate."""


def pareto(tables: Tables, seed: int = 0) -> pd.DataFrame:
    """The configs that were trained on fresh seeds, with the front of mIoU against what each costs.

    With a few seeds the front itself is uncertain: ``p_front`` is the share of redraws of all means (see
    `analysis.selection.standings.redrawn_means`) in which the config is on the front. Costs are taken as known. Configs
    whose search score is all there is are not on any front.

    Args:
        tables: The tables of a sweep.
        seed: Of the redraws.

    Returns:
        One row per config, best mean first: ``study, config_id, mean`` (mIoU on role ``select``, fraction), ``n``
        (seeds), ``cost_s`` (seconds of one training, with its share of fitting the teacher and of
        recording its answers), ``params, latency_ms`` (the least that was measured of the same student on the same
        device), ``on_front, p_front``. A cost that is not known of every config, or a latency measured on several
        devices, decides nothing.
    """
    ranked = finalists(tables)
    frame = ranked[ranked["confirmed"].astype(bool)].sort_values("mean", ascending=False, kind="stable")
    frame = frame.reset_index(drop=True)
    trials = [trials_of(tables, row) for _, row in frame.iterrows()]
    latency, devices = _latencies(tables, trials)
    frame = frame.assign(latency_ms=latency)
    decided = [name for name in COSTS if len(frame) and frame[name].notna().all()]
    if devices > 1 and "latency_ms" in decided:
        decided.remove("latency_ms")
    costs = frame[decided].to_numpy(dtype=float)
    means = frame["mean"].to_numpy(dtype=float)
    redrawn = redrawn_means(by_seed(frame), REPLICATES, seed)
    chance = np.mean([on_front(draw, costs) for draw in redrawn], axis=0) if len(redrawn) else np.nan
    frame = frame.assign(on_front=on_front(means, costs), p_front=chance)
    return frame[["study", "config_id", "mean", "n", *COSTS, "on_front", "p_front"]]


def on_front(scores: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Which of several configs are beaten by no other.

    Args:
        scores: More is better (K,).
        costs: Less is better (K, M).

    Returns:
        ``(K,)``; False where another is at least as good in everything and better in something.
    """
    losses = np.column_stack([-scores, costs])
    no_worse = np.all(losses[None] <= losses[:, None], axis=2)
    better = np.any(losses[None] < losses[:, None], axis=2)
    return ~np.any(no_worse & better, axis=1)


def _latencies(tables: Tables, trials: Sequence[pd.DataFrame]) -> tuple[list[float], int]:
    """Per config, and on how many devices they were measured."""
    devices = {device for group in trials for device in group.dropna(subset=["latency_ms"])["latency_device"]}
    return [latency_of(tables, group) for group in trials], len(devices)
