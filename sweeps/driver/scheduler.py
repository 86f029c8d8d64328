"""Which trials of a search are stopped before their end: a pure function of the search's trials so far.

A scheduler keeps nothing between two reports: it gets the trial that has just reported, and the places of all trials of
the same search in the lists in which it compares them. So a sweep that was resumed stops exactly the trials that an
uninterrupted one would.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol

from sweeps.driver.asha import HalvingRule
from sweeps.driver.hyperband import HyperbandRule
from sweeps.driver.median import MedianRule
from sweeps.driver.patience import PatienceRule
from sweeps.driver.verdict import GO_ON, Lists, Needs, Promotion, ScheduledTrial, StopsForGood, Verdict
from sweeps.spec import schedulers


class Scheduler(Protocol):
    """Decides after every report whether a training continues."""

    @property
    def needs(self) -> Needs:
        """The trials of a search without which it stops none."""

    @property
    def resumes(self) -> bool:
        """Whether a stopped trial may go on later."""

    def rungs(self, epochs: int, every: int = 1) -> list[int]:
        """The epochs at which a trial of so many epochs may be stopped, if it is evaluated after `every` so many."""

    def delays(self, every: int = 1) -> Mapping[str, int]:
        """By setting, the epoch before which it lets no trial be stopped, if trials are evaluated as in `rungs`."""

    def words(self, rungs: list[int], epochs: int, every: int = 1) -> str:
        """Where it stops trials, in words.

        Args:
            rungs: Those of `rungs` with an evaluation before the end, one at least.
            epochs: Of a trial.
            every: As in `rungs`.
        """

    def places(self, trial: ScheduledTrial) -> Mapping[Hashable, float]:
        """The lists in which a trial is compared with others of its search, and its value in each."""

    def judge(self, trial: ScheduledTrial, epoch: int, lists: Lists) -> Verdict:
        """What a report means for its trial.

        Args:
            trial: The trial, with this report.
            epoch: The epoch of the report, not the last one; one that was not evaluated decides nothing.
            lists: The places of all trials of its search up to now, this one's included.
        """

    def promotion(self, lists: Lists) -> Promotion | None:
        """The stopped trial of a search that goes on, before others; none if none is among the best of its rung."""


class NoRule(StopsForGood):
    """Stops no trial.

    Args:
        settings: Of the spec.
    """

    def __init__(self, settings: schedulers.NoScheduler) -> None:
        self.needs = Needs("name", float("inf"), "no trial is ever stopped")

    def rungs(self, epochs: int, every: int = 1) -> list[int]:
        """See `Scheduler`."""
        return []

    def delays(self, every: int = 1) -> Mapping[str, int]:
        """See `Scheduler`."""
        return {}

    def words(self, rungs: list[int], epochs: int, every: int = 1) -> str:
        """See `Scheduler`."""
        return ""

    def places(self, trial: ScheduledTrial) -> Mapping[Hashable, float]:
        """See `Scheduler`."""
        return {}

    def judge(self, trial: ScheduledTrial, epoch: int, lists: Lists) -> Verdict:
        """See `Scheduler`."""
        return GO_ON


_KINDS: Mapping[type, Callable[[Any], Scheduler]] = {
    schedulers.NoScheduler: NoRule,
    schedulers.Halving: HalvingRule,
    schedulers.Hyperband: HyperbandRule,
    schedulers.Median: MedianRule,
    schedulers.Patience: PatienceRule,
}


def make_scheduler(settings: schedulers.Scheduler) -> Scheduler:
    """The scheduler of a spec."""
    return _KINDS[type(settings)](settings)
