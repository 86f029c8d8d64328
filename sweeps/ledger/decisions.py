"""The table of decisions: which events have a row, and what the row says."""

from typing import NamedTuple

from kdtrain.deploy.speed import Cost
from sweeps.ledger import sweep_events, trial_events
from sweeps.ledger.events import Event
from sweeps.ledger.record import Record
from sweeps.ledger.trial_record import TrialRecord


class Decision(NamedTuple):
    """A row of the table of decisions: what happened, when, and to which trial or study."""

    n: int
    at: str
    kind: str
    detail: str = ""
    trial_id: str | None = None
    study: str | None = None
    epoch: int | None = None
    rung: int | None = None
    value: float | None = None


def decision_of(record: Record, event: Event, trial: TrialRecord | None) -> Decision | None:
    """The row of a record; none if it has no row.

    Args:
        record: The record.
        event: What it says.
        trial: The trial that it is about, after the event; none if it is about several or none.
    """
    detail = _of_trial(event, trial) if trial is not None else _of_sweep(event)
    if detail is None:
        return None
    row = Decision(record.n, record.at, event.kind, detail)
    if trial is not None:
        row = row._replace(trial_id=trial.id, study=trial.study)
    match event:
        case trial_events.Ended() if trial is not None:
            return row._replace(epoch=trial.epochs_run, value=trial.score)
        case trial_events.Promoted() | trial_events.Stopped():
            return row._replace(epoch=event.epoch, rung=event.rung, value=event.value)
        case trial_events.Infeasible() | sweep_events.Exhausted():
            return row._replace(study=event.study)
        case sweep_events.Frozen():
            return row._replace(study=event.chosen.study, trial_id=event.chosen.trial)
    return row


def _of_trial(event: Event, trial: TrialRecord) -> str | None:
    """What has happened to a trial, in words; None if that has no row."""
    match event:
        case trial_events.Proposed():
            return _of_search(trial.search, trial.phase)
        case trial_events.Started():
            return f"attempt {trial.attempts}"
        case trial_events.Promoted():
            return f"best {event.kept} of {event.entered} in the rung go on"
        case trial_events.Stopped():
            return event.reason or f"best {event.kept} of {event.entered} in the rung go on"
        case trial_events.Reused():
            return f"same config and seed as {event.source}"
        case trial_events.Retried():
            return event.reason.splitlines()[0]
        case trial_events.AttemptInterrupted():
            return "saved where it was"
        case trial_events.TestRead():
            return f"{event.images} images of role test, digest {event.digest}"
        case trial_events.Ended():
            return event.state.value if event.reason is None else f"{event.state}: {event.reason.splitlines()[0]}"
    return None


def _of_sweep(event: Event) -> str | None:
    """What has happened to a sweep, in words; None if that has no row."""
    match event:
        case sweep_events.PullsMeasured():
            return f"{len(event.terms)} losses at steps {', '.join(map(str, event.steps))}"
        case sweep_events.StudentMeasured():
            return f"{event.title}: {Cost.model_validate(event.cost).in_words}"
        case sweep_events.SessionBegun():
            return f"environment {event.environment['environment_id']}"
        case sweep_events.Grown():
            return "; ".join(event.changes)
        case trial_events.Infeasible():
            params = ", ".join(f"{path}={value}" for path, value in event.params.items())
            return _of_search(event.search, f"{params}: {event.reason}" if params else event.reason)
        case sweep_events.Exhausted():
            return _of_search(event.search, event.reason)
        case sweep_events.Aborted() | sweep_events.DriverStopped():
            return event.reason
        case sweep_events.Frozen():
            return event.why
        case sweep_events.Looked():
            return f"{event.seeds} seeds: {event.reason}; {'more seeds' if event.goes_on else 'no more seeds'}"
        case sweep_events.Finished():
            return ""
        case sweep_events.Note():
            return event.text
    return None


def _of_search(search: int, detail: str) -> str:
    """What happened in a search; the first search is not named, because most studies have no other."""
    return detail if search == 1 else f"search {search}: {detail}"
