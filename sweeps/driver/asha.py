"""Asynchronous successive halving, stopping variant, with rungs of its own for every search.

A trial enters a rung with its first evaluated report at or after the rung's epoch, and continues if its value
is among the best `ceil(n / factor)` of the `n` trials of its search that have entered so far. As long as fewer
than `factor` have entered, all continue: the first trials have no others to be compared with. Li et al. 2020
(ASHA); the stopping variant is that of Ray Tune and Syne Tune.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence

from sweeps.driver.verdict import GO_ON, Curve, Lists, Place, ScheduledTrial, Verdict, count_better
from sweeps.spec import schedulers


class HalvingRule:
    """Stops a trial at a rung unless it is among the best there.

    Args:
        settings: Of the spec.
    """

    def __init__(self, settings: schedulers.Halving) -> None:
        self._grace, self._factor = settings.grace, settings.factor
        self.needs = ("factor", settings.factor)

    def rungs(self, epochs: int, every: int = 1) -> list[int]:
        """See `sweeps.driver.scheduler.Scheduler`."""
        return milestones(self._grace, self._factor, epochs)

    def words(self, rungs: list[int]) -> str:
        """See `sweeps.driver.scheduler.Scheduler`."""
        return f"rungs at epochs {', '.join(map(str, rungs))}"

    def places(self, trial: ScheduledTrial) -> Mapping[Hashable, float]:
        """See `sweeps.driver.scheduler.Scheduler`."""
        return values_at(trial.curve, self.rungs(trial.epochs))

    def judge(self, trial: ScheduledTrial, epoch: int, lists: Lists) -> Verdict:
        """See `sweeps.driver.scheduler.Scheduler`."""
        rung = entered_with(trial.curve, epoch, self.rungs(trial.epochs))
        return GO_ON if rung is None else decide(trial.curve[epoch], rung, lists[rung], self._factor)


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


def values_at(curve: Curve, rungs: Iterable[int]) -> dict[Hashable, float]:
    """By rung, the value with which a trial entered it, of the rungs that it has entered."""
    entries = {rung: entry(curve, rung) for rung in rungs}
    return {rung: first[1] for rung, first in entries.items() if first is not None}


def entered_with(curve: Curve, epoch: int, rungs: Iterable[int]) -> int | None:
    """The highest rung that a trial entered with the report of an epoch; none if it entered none."""
    return max((rung for rung in rungs if (entry(curve, rung) or (0,))[0] == epoch), default=None)


def decide(value: float, rung: int, entered: Sequence[Place], factor: int) -> Verdict:
    """Whether a trial that has just entered a rung continues.

    Args:
        value: With which it entered.
        rung: The rung.
        entered: The places of all trials that have entered it up to now, this one included, ascending.
        factor: One in `factor` trials continues.
    """
    count = len(entered)
    kept = count if count < factor else math.ceil(count / factor)
    return Verdict("continue" if count_better(entered, value) < kept else "stop", rung, count, kept)
