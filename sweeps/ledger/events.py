"""What can happen in a sweep: one class for every kind of record in the ledger.

The names of the fields are the keys of a record's `data`, and `kind` is its kind. Records that an older version wrote
are brought to today's names when they are read; a record that a later version wrote is refused in one sentence.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self, TypedDict

from kdtrain.loop.reports import EpochReport
from sweeps.ledger import former_names
from sweeps.ledger.failure import Failure
from sweeps.ledger.trial_state import Phase, TrialState

Content = Mapping[str, Any]
"""A JSON object as it stands in a record; what is in it is checked where it is used."""
Environment = Mapping[str, object]
"""The software and hardware of a process: a row of the table of environments, and its node."""


class DataFacts(TypedDict):
    """The data of a sweep: classes, colors (`#rrggbb`), and the number and the digest of the images of every role."""

    name: str
    classes: list[str]
    palette: list[str]
    images: dict[str, int]
    digests: dict[str, str]


class Command(TypedDict):
    """The command that began a session: its line for a shell, the folder in which it ran, and its sweep's place."""

    line: str
    folder: str
    sweep: str


@dataclass(frozen=True, slots=True)
class _Event:
    kind: ClassVar[str]

    @classmethod
    def from_json(cls, data: Content) -> Self:
        """The event that a record's data describe."""
        return cls(**data)

    def to_json(self) -> dict[str, object]:
        """The data of its record."""
        return {name: _plain(getattr(self, name)) for name in self.field_names()}

    @classmethod
    def field_names(cls) -> Iterator[str]:
        """The keys of its record's data, in order."""
        return (each.name for each in fields(cls))


@dataclass(frozen=True, slots=True)
class SweepBegun(_Event):
    """The first record of a ledger.

    Attributes:
        foreign: What `sweeps.spec.recorded` says of the sweep's third-party objects; none if it has none, and in
            ledgers of earlier versions.
    """

    kind: ClassVar = "sweep"
    sweep_id: str
    kdsweep_version: str
    spec: Content
    data: DataFacts
    foreign: Content | None = None

    def to_json(self) -> dict[str, object]:
        """Without what is none."""
        return _without(_Event.to_json(self), "foreign", None)

    @classmethod
    def from_json(cls, data: Content) -> Self:
        """The spec is brought to today's names."""
        return cls(**{**data, "spec": former_names.renamed_spec(data["spec"])})


@dataclass(frozen=True, slots=True)
class SessionBegun(_Event):
    """A driver has opened the sweep; what was running has been cut short.

    Attributes:
        command: What began the driver; none where that was no command, and in ledgers of earlier versions.
    """

    kind: ClassVar = "session"
    environment: Environment
    command: Command | None = None

    def to_json(self) -> dict[str, object]:
        """Without what is none."""
        return _without(_Event.to_json(self), "command", None)


@dataclass(frozen=True, slots=True)
class Grown(_Event):
    """The spec has changed in a way that keeps all trials valid.

    Attributes:
        spec: The spec from now on.
        changes: How it has changed, in words.
        corrected: The studies whose space has changed, each with the trials that no longer belong to its search.
        foreign: As in `SweepBegun`.
    """

    kind: ClassVar = "grown"
    spec: Content
    changes: list[str]
    corrected: Mapping[str, list[str]] = field(default_factory=dict)
    foreign: Content | None = None

    def to_json(self) -> dict[str, object]:
        """Without what is none."""
        return _without(_Event.to_json(self), "foreign", None)

    @classmethod
    def from_json(cls, data: Content) -> Self:
        """The spec is brought to today's names."""
        return cls(**{**data, "spec": former_names.renamed_spec(data["spec"])})


@dataclass(frozen=True, slots=True)
class TeacherKnown(_Event):
    """The teacher of the sweep: a row of the table of teachers, without its sweep."""

    kind: ClassVar = "teacher"
    digest: str
    name: str
    arch: str
    encoder: str | None
    params: int
    macs: int | None
    trained_on: str | None
    miou: float | None
    role: str | None
    seconds: float | None
    source: str
    iou: list[float | None] | None = None
    config_json: str | None = None


@dataclass(frozen=True, slots=True)
class Proposed(_Event):
    """A new trial.

    Attributes:
        candidate_of: The searched trial whose config is trained again.
        params: What the search chose, by dotted path; empty where nothing is searched.
        search: The number of the search that proposed the config, among those of the study.
    """

    kind: ClassVar = "proposed"
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

    def to_json(self) -> dict[str, object]:
        """Without the number of a first search."""
        return _without(_Event.to_json(self), "search", 1)

    @classmethod
    def from_json(cls, data: Content) -> Self:
        """The phase is brought to today's name."""
        phase: str = data["phase"]
        return cls(**{**data, "phase": Phase(former_names.PHASES.get(phase, phase))})


@dataclass(frozen=True, slots=True)
class Infeasible(_Event):
    """A search proposed parameters that make no valid config: nothing is trained, and the study spends nothing.

    Attributes:
        study: The study.
        params: The parameters by dotted path; empty where they do not even lie in the space.
        reason: Why they make no valid config.
        search: The number of the search, among those of the study.
    """

    kind: ClassVar = "infeasible"
    study: str
    params: Content
    reason: str
    search: int = 1

    def to_json(self) -> dict[str, object]:
        """Without the number of a first search."""
        return _without(_Event.to_json(self), "search", 1)


@dataclass(frozen=True, slots=True)
class CodeKnown(_Event):
    """A version of the training code that attempts run on, recorded before the first of them.

    Attributes:
        digest: Names it.
        parts: By part, the digest of each of its modules, see `kdtrain.code_digest`.
    """

    kind: ClassVar = "code"
    digest: str
    parts: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Started(_Event):
    """An attempt at a trial has begun.

    Attributes:
        code: The digest of the code that it runs on; none in ledgers of earlier versions.
    """

    kind: ClassVar = "started"
    trial: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Located(_Event):
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
class Reused(_Event):
    """A trial takes over the outcome of `source`, which had the same config and seed."""

    kind: ClassVar = "reused"
    trial: str
    source: str


@dataclass(frozen=True, slots=True)
class EpochReported(_Event):
    """An epoch of a trial has ended."""

    kind: ClassVar = "report"
    trial: str
    report: EpochReport

    @classmethod
    def from_json(cls, data: Content) -> Self:
        """With a typed report."""
        report = {"asked": None, "recorded": None, **data["report"]}  # old reports do not have these counts
        return cls(**{**data, "report": EpochReport.from_dict(report)})


@dataclass(frozen=True, slots=True)
class _RungEntered(_Event):
    """A trial has entered a rung.

    Attributes:
        epoch: The epoch whose report entered it.
        rung: The epoch of the rung.
        value: The trial's score there.
        entered: Trials of the search that have entered the rung so far.
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
    """The trial that has entered a rung continues."""

    kind: ClassVar = "promoted"


@dataclass(frozen=True, slots=True)
class Stopped(_RungEntered):
    """The trial that has entered a rung is stopped there."""

    kind: ClassVar = "stopped"


@dataclass(frozen=True, slots=True)
class TrialOutcome:
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
class Ended(_Event):
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
class Retried(_Event):
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
class AttemptInterrupted(_Event):
    """An attempt was stopped by a request, and has saved itself."""

    kind: ClassVar = "interrupted"
    trial: str


@dataclass(frozen=True, slots=True)
class DriverStopped(_Event):
    """The driver was stopped by a request."""

    kind: ClassVar = "left"
    reason: str


@dataclass(frozen=True, slots=True)
class Exhausted(_Event):
    """A search of a study proposes nothing more although it has budget left."""

    kind: ClassVar = "exhausted"
    study: str
    reason: str
    search: int = 1

    def to_json(self) -> dict[str, object]:
        """Without the number of a first search."""
        return _without(_Event.to_json(self), "search", 1)


@dataclass(frozen=True, slots=True)
class Aborted(_Event):
    """All trials failed for a cause outside of them."""

    kind: ClassVar = "aborted"
    reason: str


@dataclass(frozen=True, slots=True)
class Note(_Event):
    """Something that a reader of the ledger should know."""

    kind: ClassVar = "note"
    text: str


@dataclass(frozen=True, slots=True)
class FrozenConfig:
    """A config of a frozen selection, by the searched trial that has it; none in a study that searches nothing."""

    study: str
    trial: str | None
    config_id: str


@dataclass(frozen=True, slots=True)
class Frozen(_Event):
    """The selection is final.

    Attributes:
        chosen: The chosen config.
        baseline: The baseline's; none where the sweep has no baseline.
        tie: The configs among which the choice was made.
        why: Why it was made, in words.
        seeds: The seeds on which both are trained.
        role: The data role that they are evaluated on.
        records: As many records of the ledger have decided the selection.
    """

    kind: ClassVar = "frozen"
    chosen: FrozenConfig
    baseline: FrozenConfig | None
    tie: tuple[FrozenConfig, ...]
    why: str
    seeds: tuple[int, ...]
    role: str
    records: int

    @classmethod
    def from_json(cls, data: Content) -> Self:
        """With typed configs, and the role in today's name."""
        return cls(
            **{
                **data,
                "chosen": FrozenConfig(**data["chosen"]),
                "baseline": FrozenConfig(**data["baseline"]) if data["baseline"] else None,
                "tie": tuple(FrozenConfig(**config) for config in data["tie"]),
                "seeds": tuple(data["seeds"]),
                "role": former_names.ROLES.get(data["role"], data["role"]),
            }
        )


@dataclass(frozen=True, slots=True)
class TestRead(_Event):
    """A student was evaluated on the role test."""

    __test__: ClassVar = False  # not a class of tests, whatever pytest takes its name for
    kind: ClassVar = "test_read"
    trial: str
    digest: str
    images: int


@dataclass(frozen=True, slots=True)
class Looked(_Event):
    """A planned number of fresh seeds is reached, and it is decided whether more are trained.

    Attributes:
        seeds: Fresh seeds of every study's best config.
        most: Those at the last planned look.
        goes_on: Whether more are trained.
        reason: Why, in words.
        words: What was said of every study, see `analysis.selection.decided.Said`.
    """

    kind: ClassVar = "look"
    seeds: int
    most: int
    goes_on: bool
    reason: str
    words: list[Content] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Finished(_Event):
    """Nothing is left to be run."""

    kind: ClassVar = "finished"


Event = (
    SweepBegun
    | SessionBegun
    | Grown
    | TeacherKnown
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


def _without(data: dict[str, object], name: str, default: object) -> dict[str, object]:
    """A record's data without a field that has its default, which earlier versions do not know."""
    return {key: value for key, value in data.items() if key != name or value != default}


def _plain(value: Any) -> object:
    """A field as JSON has it."""
    if isinstance(value, EpochReport):
        return value.to_dict()
    if isinstance(value, TrialOutcome):
        return value.to_json()
    if isinstance(value, FrozenConfig):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
