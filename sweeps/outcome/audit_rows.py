"""The table of audits: stopped trials that were trained to their end, to see what early stopping has lost."""

from collections.abc import Iterator

from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_record import TrialRecord
from sweeps.ledger.trial_state import Phase, TrialState

_ENDED = (TrialState.COMPLETE, TrialState.DIVERGED)


def audit_rows(state: SweepState) -> Iterator[dict[str, object]]:
    """A row for every audit; one whose trial has gone on itself since, because the sweep has grown, tells nothing."""
    for audit in state.of_phase(Phase.AUDIT):
        stopped = state.trials[audit.candidate_of or ""]
        if stopped.stopped_at is None or stopped.phase is not Phase.SEARCH or _went_on(stopped, audit):
            continue
        best = _best(state, stopped)
        yield {
            "study": stopped.study,
            "search": stopped.search,
            "trial_id": stopped.id,
            "audit_id": audit.id,
            "epoch": stopped.epochs_run,
            "state": audit.state,
            "score": audit.score,
            "best": best,
            "lost": _is_lost(audit, best),
            "epochs_run": max(0, audit.epochs_run - stopped.epochs_run),
            "seconds": max(0.0, audit.seconds - stopped.seconds) if audit.reports else None,
        }


def _went_on(stopped: TrialRecord, audit: TrialRecord) -> bool:
    """Whether a trial has been trained on since its audit began, and was stopped again."""
    return stopped.ended_at is not None and audit.started_at is not None and stopped.ended_at > audit.started_at


def _best(state: SweepState, stopped: TrialRecord) -> float | None:
    """The highest score of a complete trial of the same search."""
    searched = state.of_study(stopped.study, Phase.SEARCH, stopped.search)
    return max((trial.score for trial in searched if trial.score is not None), default=None)


def _is_lost(audit: TrialRecord, best: float | None) -> bool | None:
    """Whether the trial would have been the best of its search; none as long as that is not known."""
    if audit.state not in _ENDED or best is None:
        return None
    return audit.score is not None and audit.score > best
