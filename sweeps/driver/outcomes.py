"""What a verdict or the end of a trial leaves in the ledger."""

from kdtrain.loop.reports import TrainResult
from sweeps.driver.verdict import Promotion, Verdict
from sweeps.ledger.trial_events import Promoted, Stopped, TrialOutcome
from sweeps.ledger.trial_record import TrialRecord


def of_verdict(trial: TrialRecord, epoch: int, verdict: Verdict) -> Promoted | Stopped:
    """The event of a verdict that compares the trial, at an epoch that was evaluated."""
    assert verdict.rung is not None
    value = trial.curve[epoch]
    if verdict.action == "continue":
        return Promoted(trial.id, epoch, verdict.rung, value, verdict.entered, verdict.kept)
    return Stopped(trial.id, epoch, verdict.rung, value, verdict.entered, verdict.kept, verdict.reason)


def of_promotion(trial: TrialRecord, promotion: Promotion) -> Promoted:
    """The event of a stopped trial that goes on."""
    assert trial.stopped is not None
    rung, value = promotion.rung, promotion.value
    return Promoted(trial.id, trial.stopped.epoch, rung, value, promotion.entered, promotion.kept)


def trained(result: TrainResult) -> TrialOutcome:
    """The outcome of a training that ended by itself."""
    return TrialOutcome(
        epochs_run=result.epochs_run,
        seconds=result.seconds,
        teacher_s=result.teacher_seconds,
        student=result.student,
        evaluation=result.evaluation.to_dict() if result.evaluation else None,
        held_out=result.held_out.to_dict() if result.held_out else None,
    )


def pruned(trial: TrialRecord) -> TrialOutcome:
    """The outcome of a trial that was stopped early, from its reports alone.

    So it does not matter whether the attempt lived to report its result. Only epochs up to the decision count: the
    attempt may have run for a while before it received the stop.
    """
    assert trial.stopped is not None
    last = trial.stopped.epoch
    seconds = [report.seconds for epoch, report in trial.reports.items() if epoch <= last]
    return TrialOutcome(
        epochs_run=last,
        seconds=sum(parts.get("total", 0.0) for parts in seconds),
        teacher_s=sum(parts.get("teacher", 0.0) for parts in seconds),
    )


def why_pruned(trial: TrialRecord) -> str:
    """The reason of a trial that was stopped early, in words."""
    assert trial.stopped is not None
    decision = trial.stopped
    return (
        decision.reason
        or f"not among the best {decision.kept} of {decision.entered} at the rung of epoch {decision.rung}"
    )
