"""Trials that need not be run: another trial has had the same config and seed."""

from collections.abc import Iterable

from sweeps.driver.running_code import code_here, has_same_code
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_record import TrialRecord
from sweeps.ledger.trial_state import TrialState


class RunBefore:
    """Which trial has run a config on a seed first.

    Args:
        trials: Trials so far.
    """

    def __init__(self, trials: Iterable[TrialRecord]) -> None:
        self._first: dict[tuple[str, int], str] = {}
        for trial in trials:
            self.add(trial)

    def add(self, trial: TrialRecord) -> None:
        """Add a trial, if it has ended by itself; other trials are ignored."""
        ran_to_its_end = trial.state in (TrialState.COMPLETE, TrialState.DIVERGED) and trial.reused_from is None
        if ran_to_its_end:
            self._first.setdefault((trial.config_id, trial.seed), trial.id)

    def source_for(self, trial: TrialRecord, state: SweepState) -> TrialRecord | None:
        """The trial whose outcome is that of a new trial; data and teacher are those of the sweep.

        Args:
            trial: The new trial; one that was started already is run to its end.
            state: The sweep so far.

        Only what the same code gave is taken over.
        """
        if trial.reused_from is not None:
            return state.trials[trial.reused_from]
        if trial.reports or trial.attempts:
            return None
        first = self._first.get((trial.config_id, trial.seed))
        if first is None or first == trial.id:
            return None
        source = state.trials[first]
        return source if has_same_code(source, state, code_here(trial)) else None
