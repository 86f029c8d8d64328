"""Which failed trials run again when a sweep is resumed."""

from sweeps.ledger.failure import MENDABLE
from sweeps.ledger.trial_record import TrialRecord
from sweeps.ledger.trial_state import Phase, TrialState


def runs_again(trial: TrialRecord, frozen: bool) -> bool:
    """Whether a failed trial runs again when the sweep is resumed, because its cause lay outside of it.

    On a fresh or final seed so does one that its machine stopped (memory, a lost process or node): its score is
    missing, and no word is said before it is there. In a search another trial takes its place. After a selection is
    frozen, only the final trainings run again.
    """
    if trial.state is not TrialState.FAILED or (frozen and trial.phase is not Phase.FINAL):
        return False
    by_machine = trial.phase.is_fresh and trial.failure is not None and trial.failure != "error"
    return by_machine or trial.failure in MENDABLE
