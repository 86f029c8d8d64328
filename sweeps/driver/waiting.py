"""The trials that wait for a worker."""

import heapq

from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_record import TrialRecord


class Waiting:
    """The unfinished trials that no worker has, kept from event to event.

    Args:
        state: The sweep; it grows while it is looked at.
    """

    def __init__(self, state: SweepState) -> None:
        self._state = state
        self._handed_out: set[str] = set()
        self._trials: dict[int, TrialRecord] = {}
        self._places: list[int] = []
        for trial in state.tally.unfinished:
            self.update(trial)

    def update(self, trial: TrialRecord) -> None:
        """Take in what has happened to a trial."""
        place = self._state.tally.place(trial)
        if self._waits(trial) and place not in self._trials:
            self._trials[place] = trial
            heapq.heappush(self._places, place)

    def hand_out(self, trial: TrialRecord) -> None:
        """A worker has a trial now."""
        self._handed_out.add(trial.id)

    def take_back(self, trial: TrialRecord) -> None:
        """The worker of a trial has ended."""
        self._handed_out.discard(trial.id)
        self.update(trial)

    def first(self) -> TrialRecord | None:
        """The first of them in the order in which they were proposed."""
        while self._places:
            trial = self._trials[self._places[0]]
            if self._waits(trial):
                return trial
            del self._trials[heapq.heappop(self._places)]
        return None

    def _waits(self, trial: TrialRecord) -> bool:
        return trial.state.is_unfinished and trial.id not in self._handed_out
