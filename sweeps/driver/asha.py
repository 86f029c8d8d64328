"""Asynchronous successive halving, with rungs of its own for every search.

A trial enters a rung with its first evaluated report at or after the rung's epoch, and continues if its value is among
the best of the trials of its search that have entered so far. Of `n` trials the best `ceil(n / factor)` continue.

With `mode: stop` the others end there. As long as fewer than `factor` have entered, all continue: the first trials have
no others to be compared with. Li et al. 2020 (ASHA); this stopping variant is that of Ray Tune and Syne Tune.

With `mode: pause` the others end there, too, but not for good: more trials enter the rung, and once a stopped trial is
among the best, it goes on from its checkpoint. So of the first trials only the best continue, and a trial that was
stopped beside better ones has another chance. This is ASHA as it was published, apart from rounding up: rounded
down, no trial would go on before `factor` have entered. Of equal values the earlier trial is the better.
"""

import math
from bisect import bisect_right
from collections.abc import Hashable, Iterable, Mapping
from typing import NamedTuple

from sweeps.driver.verdict import GO_ON, Curve, Lists, Needs, Promotion, ScheduledTrial, Verdict
from sweeps.spec import schedulers


class Rung(NamedTuple):
    """A list of the trials that have entered a rung, or of those that were stopped there."""

    epoch: int
    bracket: int = 0
    stopped: bool = False


class HalvingRule:
    """Stops a trial at a rung unless it is among the best there.

    Args:
        settings: Of the spec.
    """

    def __init__(self, settings: schedulers.Halving | schedulers.Hyperband) -> None:
        self._grace, self._factor, self._pauses = settings.grace, settings.factor, settings.mode == "pause"
        least = 2 if self._pauses else settings.factor
        self.needs = Needs("factor", least, f"a rung stops no trial before {least} have entered it")
        self.resumes = self._pauses

    def rungs(self, epochs: int, every: int = 1) -> list[int]:
        """See `sweeps.driver.scheduler.Scheduler`."""
        return milestones(self._grace, self._factor, epochs)

    def delays(self, every: int = 1) -> Mapping[str, int]:
        """See `sweeps.driver.scheduler.Scheduler`."""
        return {"grace": self._grace}

    def words(self, rungs: list[int], epochs: int, every: int = 1) -> str:
        """See `sweeps.driver.scheduler.Scheduler`."""
        pause = ", at which trials pause until they are among the best" if self._pauses else ""
        return f"rungs at epochs {', '.join(map(str, rungs))}{pause}"

    def places(self, trial: ScheduledTrial) -> Mapping[Hashable, float]:
        """See `sweeps.driver.scheduler.Scheduler`."""
        bracket, rungs = self._bracket(trial)
        values = values_at(trial.curve, rungs)
        places: dict[Hashable, float] = {Rung(rung, bracket): value for rung, value in values.items()}
        if self._pauses and (at := trial.stopped_at) is not None and at in values:
            places[Rung(at, bracket, stopped=True)] = values[at]
        return places

    def judge(self, trial: ScheduledTrial, epoch: int, lists: Lists) -> Verdict:
        """See `sweeps.driver.scheduler.Scheduler`."""
        bracket, rungs = self._bracket(trial)
        rung = entered_with(trial.curve, epoch, rungs)
        if rung is None:
            return GO_ON
        entered, value = lists[Rung(rung, bracket)], trial.curve[epoch]
        count = len(entered)
        kept, rank = self._kept(count), -trial.number if self._pauses else 1  # for good, a tie stops no trial
        better = count - bisect_right(entered, (value, rank))
        return Verdict("continue" if better < kept else "stop", rung, count, kept)

    def promotion(self, lists: Lists) -> Promotion | None:
        """See `sweeps.driver.scheduler.Scheduler`: the highest rung comes first, and at a rung the best trial."""
        stopped = [key for key, places in lists.items() if isinstance(key, Rung) and key.stopped and places]
        for key in sorted(stopped, key=lambda rung: (-rung.epoch, rung.bracket)):
            best, entered = lists[key][-1], lists[key._replace(stopped=False)]
            kept = self._kept(len(entered))
            if len(entered) - bisect_right(entered, best) < kept:
                return Promotion(-best[1], key.epoch, best[0], len(entered), kept)
        return None

    def _bracket(self, trial: ScheduledTrial) -> tuple[int, list[int]]:
        """The number of the trial's bracket, and the bracket's rungs: only trials of one bracket are compared."""
        return 0, self.rungs(trial.epochs)

    def _kept(self, count: int) -> int:
        """How many of the trials that have entered a rung continue."""
        return count if count < self._factor and not self._pauses else math.ceil(count / self._factor)


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


def values_at(curve: Curve, rungs: Iterable[int]) -> dict[int, float]:
    """By rung, the value with which a trial entered it, of the rungs that it has entered."""
    entries = {rung: entry(curve, rung) for rung in rungs}
    return {rung: first[1] for rung, first in entries.items() if first is not None}


def entered_with(curve: Curve, epoch: int, rungs: Iterable[int]) -> int | None:
    """The highest rung that a trial entered with the report of an epoch; none if it entered none."""
    return max((rung for rung in rungs if (entry(curve, rung) or (0,))[0] == epoch), default=None)
