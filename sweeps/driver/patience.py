"""Patience: a trial is stopped that has not improved for several evaluations. It needs no rivals.

A stopped trial has no score, so a search in which all curves are flat at the end would choose from nothing: the trial
with the highest value of its search so far is never stopped.
"""

from collections.abc import Hashable, Mapping

from sweeps.driver.verdict import GO_ON, Lists, Needs, ScheduledTrial, StopsForGood, Verdict, count_better
from sweeps.spec import schedulers

_BEST = "best"
"""The list of the highest values of all trials."""


class PatienceRule(StopsForGood):
    """Stops a trial whose last evaluations were no better than an earlier one.

    Args:
        settings: Of the spec.
    """

    def __init__(self, settings: schedulers.Patience) -> None:
        self._grace, self._evaluations = settings.grace, settings.evaluations
        self.needs = Needs("name", 2, "patience never stops the best trial of a search")

    def rungs(self, epochs: int, every: int = 1) -> list[int]:
        """See `sweeps.driver.scheduler.Scheduler`."""
        return list(range(max(self.delays(every).values()), epochs))

    def delays(self, every: int = 1) -> Mapping[str, int]:
        """See `sweeps.driver.scheduler.Scheduler`."""
        return {"grace": self._grace, "evaluations": (self._evaluations + 1) * every}

    def words(self, rungs: list[int], epochs: int, every: int = 1) -> str:
        """See `sweeps.driver.scheduler.Scheduler`."""
        return f"from epoch {rungs[0]} on, after {self._evaluations} evaluations without a new best value"

    def places(self, trial: ScheduledTrial) -> Mapping[Hashable, float]:
        """See `sweeps.driver.scheduler.Scheduler`."""
        return {_BEST: max(trial.curve.values())} if trial.curve else {}

    def judge(self, trial: ScheduledTrial, epoch: int, lists: Lists) -> Verdict:
        """See `sweeps.driver.scheduler.Scheduler`."""
        curve = sorted((each, value) for each, value in trial.curve.items() if each <= epoch)
        if epoch < self._grace or not curve or curve[-1][0] != epoch or len(curve) <= self._evaluations:
            return GO_ON
        earlier, late = curve[: -self._evaluations], curve[-self._evaluations :]
        value, at = max((value, -each) for each, value in earlier)
        if max(value for _, value in late) > value:
            return GO_ON
        better = count_better(lists[_BEST], value)
        if not better:
            return GO_ON
        reason = f"no better than {value:.4g} at epoch {-at} for {self._evaluations} evaluations, at epoch {epoch}"
        return Verdict("stop", epoch, len(lists[_BEST]), better, reason)
