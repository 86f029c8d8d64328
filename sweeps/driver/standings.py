"""The places of the trials of each search in the lists in which a scheduler compares them, kept from report to report.

They follow from the trials alone. Because they are kept, a decision costs no more in a long search than in a short one.
"""

from bisect import bisect_left, insort
from collections.abc import Hashable, Mapping

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
    """

    def __init__(self, scheduler: Scheduler, state: SweepState) -> None:
        self._scheduler, self._state = scheduler, state
        self._of: dict[str, Standing] = {}

    def judge(self, trial: TrialRecord, epoch: int) -> Verdict:
        """What the report of an epoch, not the last one, means for a trial of a search."""
        return self._scheduler.judge(trial, epoch, self._of_search(trial.study, trial.search).lists)

    def promotion(self, study: str, search: int) -> Promotion | None:
        """The stopped trial of a search that is now among the best of its rung; none if there is no such trial."""
        return self._scheduler.promotion(self._of_search(study, search).lists) if self._scheduler.resumes else None

    def update(self, trial: TrialRecord) -> None:
        """Take in what has happened to a trial since it was seen last."""
        if trial.phase is Phase.SEARCH and search_name(trial.study, trial.search) in self._of:
            self._of_search(trial.study, trial.search).update(trial)

    def _of_search(self, study: str, search: int) -> Standing:
        name = search_name(study, search)
        if name not in self._of:
            standing = self._of[name] = Standing(self._scheduler)
            for each in self._state.of_study(study, Phase.SEARCH, search):
                standing.update(each)
        return self._of[name]
