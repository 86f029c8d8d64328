"""The failed trials of a sweep by their cause, for the end of its command."""

from collections.abc import Iterable
from dataclasses import dataclass

from sweeps.ledger.mending import runs_again
from sweeps.ledger.trial_record import TrialRecord
from sweeps.ledger.trial_state import TrialState


@dataclass(frozen=True)
class Failed:
    """Trials that failed for one cause.

    Attributes:
        cause: The first line of their error.
        trials: Their ids, in order.
        runs_again: Whether they run again when the sweep is resumed.
    """

    cause: str
    trials: tuple[str, ...]
    runs_again: bool

    def __str__(self) -> str:
        others = f" and {len(self.trials) - 1} more" if len(self.trials) > 1 else ""
        return f"{self.trials[0]}{others}: {self.cause}"


def failed_by_cause(trials: Iterable[TrialRecord], frozen: bool = False) -> tuple[Failed, ...]:
    """The trials that failed, those of the most frequent cause first.

    Args:
        trials: All trials of the sweep.
        frozen: Whether its selection is frozen.
    """
    by_cause: dict[tuple[str, bool], list[str]] = {}
    for trial in trials:
        if trial.state is TrialState.FAILED:
            cause = (trial.reason or "no reason is recorded").partition("\n")[0]
            by_cause.setdefault((cause, runs_again(trial, frozen)), []).append(trial.id)
    groups = (Failed(cause, tuple(ids), again) for (cause, again), ids in by_cause.items())
    return tuple(sorted(groups, key=lambda group: -len(group.trials)))
