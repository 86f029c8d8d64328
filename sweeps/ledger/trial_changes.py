"""What an event about a trial changes in the trial's record."""

from sweeps.ledger import trial_events
from sweeps.ledger.failure import recorded_failure
from sweeps.ledger.trial_events import TrialOutcome
from sweeps.ledger.trial_record import TrialRecord
from sweeps.ledger.trial_state import Phase, TrialState


def start(trial: TrialRecord, event: trial_events.Started, at: str, environment_id: str | None) -> None:
    """An attempt begins, at a time, in the environment of the driver until its worker reports another one."""
    trial.state, trial.share = TrialState.RUNNING, event.gpu
    trial.attempts += 1
    trial.started_at = trial.started_at or at
    trial.environment_id, trial.code = environment_id, event.code


def locate(trial: TrialRecord, event: trial_events.Located) -> None:
    """A worker has reported where an attempt runs."""
    trial.environment_id, trial.node = event.environment_id, event.node
    trial.code = event.code or trial.code


def take_over(trial: TrialRecord, source: TrialRecord) -> None:
    """The outcome of another trial counts for this one."""
    trial.reused_from = source.id
    trial.environment_id, trial.node, trial.code = source.environment_id, source.node, source.code


def end(trial: TrialRecord, event: trial_events.Ended, result: TrialOutcome, at: str) -> None:
    """The trial is over, with the result of the event."""
    trial.state, trial.reason, trial.result, trial.ended_at = event.state, event.reason, result, at
    trial.failure = None
    if event.state is TrialState.FAILED:
        trial.failure = recorded_failure(event.failure, event.reason)
        trial.crashes[trial.failure] = trial.crashes.get(trial.failure, 0) + 1


def go_on(trial: TrialRecord) -> None:
    """A trial that has ended at a rung is to be continued; one that runs simply goes on."""
    if trial.stopped_at is not None:
        trial.stopped = trial.reason = None
        plan_again(trial)


def retry(trial: TrialRecord, event: trial_events.Retried) -> None:
    """Another attempt is planned after an error."""
    trial.reason, trial.failure = event.reason, event.failure
    plan_again(trial)
    trial.retries += 1
    trial.crashes[event.failure] = trial.crashes.get(event.failure, 0) + 1
    trial.gpu = event.gpu or trial.gpu


def forget_crashes(trial: TrialRecord) -> None:
    """A trial that failed for a cause outside of it is still to be run."""
    trial.crashes, trial.gpu = {}, None
    plan_again(trial)


def leave_out(trial: TrialRecord, at: str) -> None:
    """A correction of the space has left out a trial; it does not run any more."""
    trial.phase = Phase.LEFT_OUT
    if trial.state.is_unfinished:
        trial.state, trial.ended_at = TrialState.FAILED, at
        trial.reason = "its parameters lie outside of the corrected space"


def plan_again(trial: TrialRecord) -> None:
    """A trial that was over is to be started again."""
    trial.state, trial.result, trial.ended_at = TrialState.PLANNED, TrialOutcome(), None
