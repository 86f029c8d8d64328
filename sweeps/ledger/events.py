"""What can happen in a sweep: one class for every kind of record in the ledger.

Records that an older version wrote are brought to today's names when they are read; a record that a later version wrote
is refused in one sentence.
"""

from sweeps.ledger.sweep_events import (
    Aborted,
    CodeKnown,
    DriverStopped,
    Exhausted,
    Finished,
    Frozen,
    Grown,
    Looked,
    Note,
    PullsMeasured,
    SessionBegun,
    StudentMeasured,
    SweepBegun,
    TeacherKnown,
)
from sweeps.ledger.trial_events import (
    AttemptInterrupted,
    Ended,
    EpochReported,
    Infeasible,
    Located,
    Promoted,
    Proposed,
    Retried,
    Reused,
    Started,
    Stopped,
    TestRead,
)

Event = (
    SweepBegun
    | SessionBegun
    | Grown
    | TeacherKnown
    | PullsMeasured
    | StudentMeasured
    | Proposed
    | Infeasible
    | CodeKnown
    | Started
    | Located
    | Reused
    | EpochReported
    | Promoted
    | Stopped
    | Ended
    | Retried
    | AttemptInterrupted
    | DriverStopped
    | Exhausted
    | Aborted
    | Note
    | Frozen
    | TestRead
    | Looked
    | Finished
)
"""What happened."""

MAY_WAIT = (EpochReported, Started, Promoted, Located)
"""Events whose records may be written a second later: should they be lost, the trial reports them again."""


def trial_of(event: Event) -> str | None:
    """The trial that an event is about; none if it is about several or none."""
    trial: str | None = event.id if isinstance(event, Proposed) else getattr(event, "trial", None)
    return trial
