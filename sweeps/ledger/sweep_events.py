"""Events of a sweep as a whole: its beginning and end, its spec, teacher and code, looks, and the final choice."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self, TypedDict

from kdtrain.loop.calibration import Calibration
from sweeps.ledger import former_names
from sweeps.ledger.event_base import Content, Environment, EventBase, Fields


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
class SweepBegun(EventBase):
    """The first record of a ledger.

    Attributes:
        foreign: What `sweeps.spec.recorded` says of the sweep's third-party objects; none if it has none, and in
            ledgers of earlier versions.
    """

    kind: ClassVar = "sweep"
    later: ClassVar = ("foreign",)
    sweep_id: str
    kdsweep_version: str
    spec: Content
    data: DataFacts
    foreign: Content | None = None

    @classmethod
    def from_json(cls, data: Content) -> Self:
        """The spec is brought to today's names."""
        return cls(**{**data, "spec": former_names.renamed_spec(data["spec"])})


@dataclass(frozen=True, slots=True)
class SessionBegun(EventBase):
    """A driver has opened the sweep; what was running has been cut short.

    Attributes:
        command: What began the driver; none where that was no command, and in ledgers of earlier versions.
    """

    kind: ClassVar = "session"
    later: ClassVar = ("command",)
    environment: Environment
    command: Command | None = None


@dataclass(frozen=True, slots=True)
class Grown(EventBase):
    """The spec has changed in a way that keeps all trials valid.

    Attributes:
        spec: The spec from now on.
        changes: How it has changed, in words.
        corrected: The studies whose space has changed, each with the trials that no longer belong to its search.
        foreign: As in `SweepBegun`.
    """

    kind: ClassVar = "grown"
    later: ClassVar = ("foreign",)
    spec: Content
    changes: list[str]
    corrected: Mapping[str, list[str]] = field(default_factory=dict)
    foreign: Content | None = None

    @classmethod
    def from_json(cls, data: Content) -> Self:
        """The spec is brought to today's names."""
        return cls(**{**data, "spec": former_names.renamed_spec(data["spec"])})


@dataclass(frozen=True, slots=True)
class TeacherKnown(EventBase):
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
class StudentMeasured(EventBase):
    """What a kind of student costs to run, because the sweep has a target.

    Attributes:
        network: The kind of network, whose weights do not matter.
        title: Its name in words.
        cost: See `kdtrain.deploy.speed.Cost`.
    """

    kind: ClassVar = "cost"
    network: Content
    title: str
    cost: Content


@dataclass(frozen=True, slots=True)
class PullsMeasured(EventBase):
    """How strongly terms pull at weight 1 in an untaught training, see `kdtrain.loop.pulls`.

    Attributes:
        config: The untaught training.
        config_id: Its `config_id`.
        steps: The steps at which gradients were measured.
        task: The length of cross-entropy's gradient at every step.
        terms: `options` of every term, see `kdtrain.methods.options_of`, and the `lengths` of its gradient.
    """

    kind: ClassVar = "pulls"
    config: Content
    config_id: str
    steps: list[int]
    task: list[float]
    terms: list[Content]

    @property
    def ratios(self) -> dict[str, float]:
        """By the options as one text, the pull of every term at weight 1."""
        lengths = {
            json.dumps(term["options"], sort_keys=True): tuple(map(float, term["lengths"])) for term in self.terms
        }
        measured = Calibration(tuple(self.steps), tuple(self.task), lengths)
        return {key: measured.ratio(key) for key in lengths}


@dataclass(frozen=True, slots=True)
class CodeKnown(EventBase):
    """A version of the training code that attempts run on, recorded before the first of them.

    Attributes:
        digest: Names it.
        parts: By part, the digest of each of its modules, see `kdtrain.code_digest`.
    """

    kind: ClassVar = "code"
    digest: str
    parts: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Exhausted(EventBase):
    """A search of a study proposes nothing more although it has budget left."""

    kind: ClassVar = "exhausted"
    later: ClassVar = ("search",)
    study: str
    reason: str
    search: int = 1


@dataclass(frozen=True, slots=True)
class Looked(EventBase):
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
class FrozenConfig(Fields):
    """A config of a frozen selection, by the searched trial that has it; none in a study that searches nothing."""

    study: str
    trial: str | None
    config_id: str


@dataclass(frozen=True, slots=True)
class Frozen(EventBase):
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
class Note(EventBase):
    """Something that a reader of the ledger should know."""

    kind: ClassVar = "note"
    text: str


@dataclass(frozen=True, slots=True)
class DriverStopped(EventBase):
    """The driver was stopped by a request."""

    kind: ClassVar = "left"
    reason: str


@dataclass(frozen=True, slots=True)
class Aborted(EventBase):
    """All trials failed for a cause outside of them."""

    kind: ClassVar = "aborted"
    reason: str


@dataclass(frozen=True, slots=True)
class Finished(EventBase):
    """Nothing is left to be run."""

    kind: ClassVar = "finished"
