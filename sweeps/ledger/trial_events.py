"""Events of one trial: its proposal, its attempts, epochs and rungs, and its outcome."""

from dataclasses import dataclass, field, fields
from typing import ClassVar, Self

from kdtrain.loop.reports import EpochReport
from sweeps.ledger import former_names
from sweeps.ledger.event_base import Content, Environment, EventBase, Fields
from sweeps.ledger.failure import Failure
from sweeps.ledger.trial_state import Phase, TrialState

_LACKING = {"asked": None, "recorded": None, "replayed": None}
"""Counts that old reports do not have."""


@dataclass(frozen=True, slots=True)
class Proposed(EventBase):
    """A new trial.

    Attributes:
        candidate_of: The searched trial whose config is trained again.
        params: What the search chose, by dotted path; empty where nothing is searched.
        search: The number of the search that proposed the config, among those of the study.
    """

    kind: ClassVar = "proposed"
    later: ClassVar = ("search",)
    id: str
    study: str
    number: int
    phase: Phase
    candidate_of: str | None
    seed: int
    params: Content
    config: Content
    config_id: str
    search: int = 1

    @classmethod
    def from_json(cls, data: Content) -> Self:
        """The phase is brought to today's name."""
        phase: str = data["phase"]
        return cls(**{**data, "phase": Phase(former_names.PHASES.get(phase, phase))})


@dataclass(frozen=True, slots=True)
class Infeasible(EventBase):
    """A search proposed parameters that make no valid config: nothing is trained, and the study spends nothing.

    Attributes:
        study: The study.
        params: The parameters by dotted path; empty where they do not even lie in the space.
        reason: Why they make no valid config.
        search: The number of the search, among those of the study.
    """

    kind: ClassVar = "infeasible"
    later: ClassVar = ("search",)
    study: str
    params: Content
    reason: str
    search: int = 1


@dataclass(frozen=True, slots=True)
class Started(EventBase):
    """An attempt at a trial has begun.

    Attributes:
        code: The digest of the code that it runs on; none in ledgers of earlier versions.
        gpu: The share of a GPU that it gets, with `resources: {gpu: auto}`.
    """

    kind: ClassVar = "started"
    later: ClassVar = ("gpu",)
    trial: str
    code: str | None = None
    gpu: float | None = None


@dataclass(frozen=True, slots=True)
class Located(EventBase):
    """Where an attempt runs; the environment is recorded in full the first time.

    Attributes:
        code: The digest of the code that is there, where it is not that of the driver's process.
    """

    kind: ClassVar = "located"
    trial: str
    environment_id: str
    node: str | None
    environment: Environment | None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Reused(EventBase):
    """A trial takes over the outcome of `source`, which had the same config and seed."""

    kind: ClassVar = "reused"
    trial: str
    source: str


@dataclass(frozen=True, slots=True)
class EpochReported(EventBase):
    """An epoch of a trial has ended."""

    kind: ClassVar = "report"
    trial: str
    report: EpochReport

    @classmethod
    def from_json(cls, data: Content) -> Self:
        """With a typed report."""
        return cls(**{**data, "report": EpochReport.from_dict({**_LACKING, **data["report"]})})


@dataclass(frozen=True, slots=True)
class _RungEntered(EventBase):
    """A trial has entered a rung: an epoch at which it is compared with others of its search.

    Attributes:
        epoch: The epoch whose report entered it.
        rung: The epoch of the rung.
        value: The trial's score there.
        entered: Trials of the search that were compared there so far.
        kept: How many of them continue.
    """

    trial: str
    epoch: int
    rung: int
    value: float
    entered: int
    kept: int


@dataclass(frozen=True, slots=True)
class Promoted(_RungEntered):
    """The trial that has entered a rung continues: at once, or after it was stopped there and has ended."""

    kind: ClassVar = "promoted"


@dataclass(frozen=True, slots=True)
class Stopped(_RungEntered):
    """The trial that has entered a rung is stopped there; with `mode: pause` a later `Promoted` may continue it.

    Attributes:
        reason: Why, in words; empty if it is not among the best `kept` of `entered`.
    """

    kind: ClassVar = "stopped"
    later: ClassVar = ("reason",)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Retried(EventBase):
    """An attempt ended in an error, and another one follows.

    Attributes:
        reason: The error, and its traceback behind the first line.
        failure: The kind of the error.
        gpu: The larger share of a GPU that the trial gets from now on; none for the share that it has.
    """

    kind: ClassVar = "retried"
    trial: str
    reason: str
    failure: Failure = "error"
    gpu: float | None = None


@dataclass(frozen=True, slots=True)
class AttemptInterrupted(EventBase):
    """An attempt was stopped by a request, and has saved itself."""

    kind: ClassVar = "interrupted"
    trial: str


@dataclass(frozen=True, slots=True)
class TrialOutcome(Fields):
    """What a trial ended with; everything is none for a trial that failed.

    Attributes:
        epochs_run: Epochs that count.
        seconds: Seconds of training, all attempts.
        teacher_s: Seconds of these in which the teacher computed.
        student: Size and speed of the student, see `kdtrain.TrainResult`; none unless complete.
        evaluation: The last evaluation on role select, for `Evaluation.from_dict`; none unless complete.
        held_out: The same on role test, for a frozen config.
    """

    epochs_run: int | None = None
    seconds: float | None = None
    teacher_s: float | None = None
    student: Content | None = None
    evaluation: Content | None = None
    held_out: Content | None = None

    @classmethod
    def from_json(cls, data: Content) -> Self:
        """Roles are brought to today's names."""
        if data.get("held_out"):
            role = data["held_out"]["role"]
            data = {**data, "held_out": {**data["held_out"], "role": former_names.ROLES.get(role, role)}}
        return cls(**data)

    def to_json(self) -> dict[str, object]:
        """The fields that are not none."""
        values = ((each.name, getattr(self, each.name)) for each in fields(self))
        return {name: value for name, value in values if value is not None}


@dataclass(frozen=True, slots=True)
class Ended(EventBase):
    """A trial is over.

    Attributes:
        reason: Why it is not complete; behind the first line the traceback of an error.
        failure: The kind of the error of a failed trial.
    """

    kind: ClassVar = "ended"
    trial: str
    state: TrialState
    reason: str | None
    result: TrialOutcome = field(default_factory=TrialOutcome)
    failure: Failure | None = None

    @classmethod
    def from_json(cls, data: Content) -> Self:
        """With a typed state and outcome."""
        return cls(**{**data, "state": TrialState(data["state"]), "result": TrialOutcome.from_json(data["result"])})


@dataclass(frozen=True, slots=True)
class TestRead(EventBase):
    """A student was evaluated on the role test."""

    __test__: ClassVar = False  # not a class of tests, whatever pytest takes its name for
    kind: ClassVar = "test_read"
    trial: str
    digest: str
    images: int
