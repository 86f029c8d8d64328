"""Asynchronous successive halving, stopping variant, with rungs of its own for every search.

A trial enters a rung with its first evaluated report at or after the rung's epoch, and continues if its value
is among the best `ceil(n / factor)` of the `n` trials of its search that have entered so far. As long as fewer
than `factor` have entered, all continue: the first trials have no others to be compared with. Li et al. 2020
(ASHA); the stopping variant is that of Ray Tune and Syne Tune.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Curve = Mapping[int, float]
"""Value by epoch, evaluated epochs only."""


@dataclass(frozen=True)
class RungDecision:
    """What a report means for its trial. `rung` is the epoch of the rung that it enters, if it enters one."""

    action: Literal["continue", "stop"]
    rung: int | None = None
    entered: int = 0
    kept: int = 0


def milestones(grace: int, factor: int, epochs: int) -> list[int]:
    """The rungs below the last epoch: `grace * factor ** k`."""
    rungs = []
    rung = grace
    while rung < epochs:
        rungs.append(rung)
        rung *= factor
    return rungs


def entry(curve: Curve, rung: int) -> tuple[int, float] | None:
    """The epoch and value with which a trial entered a rung; none if it has not come so far."""
    epoch = min((epoch for epoch in curve if epoch >= rung), default=None)
    return None if epoch is None else (epoch, curve[epoch])


def decide(curve: Curve, epoch: int, rivals: Iterable[Curve], rungs: Iterable[int], factor: int) -> RungDecision:
    """Whether a trial that has just reported `epoch` continues.

    Args:
        curve: Its values so far, this epoch's included.
        epoch: The epoch; one at which nothing was evaluated decides nothing.
        rivals: The curves of the other trials of its search, up to now.
        rungs: From `milestones`.
        factor: One in `factor` trials continues.
    """
    entries = {rung: entry(curve, rung) for rung in rungs}
    entered = [rung for rung, first in entries.items() if first is not None and first[0] == epoch]
    if not entered:
        return RungDecision("continue")
    rung, value = max(entered), curve[epoch]
    values = [first[1] for rival in rivals if (first := entry(rival, rung)) is not None]
    count = len(values) + 1
    kept = count if count < factor else math.ceil(count / factor)
    better = sum(other > value for other in values)
    return RungDecision("continue" if better < kept else "stop", rung, count, kept)
