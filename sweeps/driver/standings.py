"""The places of the trials of each search in the lists in which a scheduler compares them, kept from report to report.

In a sweep with several limits of cost, trials are compared with those whose smallest limit is the same: beside larger
students the small ones would be stopped although they may be the best below their limit.

The places follow from the trials alone. Because they are kept, a decision costs no more in a long search than in a
short one.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Mapping

from sweeps.driver.scheduler import Scheduler
from sweeps.driver.verdict import Lists, Place, Promotion, ScheduledTrial, Verdict
from sweeps.ledger.search_name import search_name
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_record import TrialRecord
from sweeps.ledger.trial_state import Phase


class Standing:
    """The places of the trials of one search.

    Args:
        scheduler: Compares them.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._places: dict[int, Mapping[Hashable, float]] = {}
        self._lists: dict[Hashable, list[Place]] = {}

    @property
    def lists(self) -> Lists:
        """The places in each list, ascending."""
        return self._lists

    def update(self, trial: ScheduledTrial) -> None:
        """Take in what has happened to a trial."""
        before, now = self._places.get(trial.number, {}), self._scheduler.places(trial)
        self._places[trial.number] = now
        for key in before.keys() | now.keys():
            was, value = before.get(key), now.get(key)
            if was == value:
                continue
            places = self._lists.setdefault(key, [])
            if was is not None:
                del places[bisect_left(places, (was, -trial.number))]
            if value is not None:
                insort(places, (value, -trial.number))


class Standings:
    """The places of the trials of all searches.

    Args:
        scheduler: Compares the trials of a search.
        state: The sweep; it grows while it is looked at.
        step_of: The place of the smallest limit of cost that the student of a trial is within.
    """

    def __init__(
        self, scheduler: Scheduler, state: SweepState, step_of: Callable[[TrialRecord], int] = lambda trial: 0
    ) -> None:
        self._scheduler, self._state, self._step_of = scheduler, state, step_of
        self._of: dict[str, dict[int, Standing]] = {}

    def judge(self, trial: TrialRecord, epoch: int) -> Verdict:
        """What the report of an epoch, not the last one, means for a trial of a search."""
        return self._scheduler.judge(trial, epoch, self._beside(trial).lists)

    def promotion(self, study: str, search: int) -> Promotion | None:
        """The stopped trial of a search that is now among the best of its rung; none if there is no such trial."""
        if not self._scheduler.resumes:
            return None
        of_steps = (self._scheduler.promotion(each.lists) for _, each in sorted(self._of_search(study, search).items()))
        return max((each for each in of_steps if each is not None), key=lambda each: each.rung, default=None)

    def update(self, trial: TrialRecord) -> None:
        """Take in what has happened to a trial since it was seen last."""
        if trial.phase is Phase.SEARCH and search_name(trial.study, trial.search) in self._of:
            self._beside(trial).update(trial)

    def _beside(self, trial: TrialRecord) -> Standing:
        """The trials that a trial is compared with."""
        return self._at_step(self._of_search(trial.study, trial.search), trial)

    def _of_search(self, study: str, search: int) -> dict[int, Standing]:
        name = search_name(study, search)
        if name not in self._of:
            self._of[name] = {}
            for each in self._state.of_study(study, Phase.SEARCH, search):
                self._at_step(self._of[name], each).update(each)
        return self._of[name]

    def _at_step(self, of_search: dict[int, Standing], trial: TrialRecord) -> Standing:
        return of_search.setdefault(self._step_of(trial), Standing(self._scheduler))
