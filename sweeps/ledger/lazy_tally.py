"""A tally that counts a trial when somebody looks, so that a ledger is read without counting trials at each event."""

from collections.abc import Iterable

from sweeps.ledger.tally import Tally
from sweeps.ledger.trial_record import TrialRecord


class LazyTally:
    """The tally of a sweep that grows."""

    def __init__(self) -> None:
        self._tally = Tally[TrialRecord]()
        self._changed: dict[str, TrialRecord] = {}
        """By id, the trials to which something has happened since they were counted."""
        self._reported: dict[str, TrialRecord] = {}
        """By id, those of which an epoch has ended since."""

    def changed(self, trial: TrialRecord) -> None:
        """Something has happened to a trial."""
        self._changed[trial.id] = trial

    def reported(self, trial: TrialRecord) -> None:
        """An epoch of a trial has ended."""
        self._reported[trial.id] = trial

    def count_again(self, trials: Iterable[TrialRecord]) -> None:
        """Count all trials anew, in the order in which they were proposed."""
        self._tally, self._changed, self._reported = Tally.of(trials), {}, {}

    def now(self) -> Tally[TrialRecord]:
        """The tally of all that has happened."""
        if self._changed or self._reported:
            for trial in self._changed.values():
                self._tally.update(trial)
            for trial in self._reported.values():
                if trial.state.is_unfinished or trial.id not in self._changed:
                    self._tally.reported(trial)
            self._changed, self._reported = {}, {}
        return self._tally
