"""Terms (configs of losses), their modules, and methods (lists of terms)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from kdtrain.config_base import Strict
from kdtrain.errors import InputError
from kdtrain.foreign import called_by_reference, is_reference
from kdtrain.methods.schedule import WeightSchedule
from kdtrain.names import LONGEST, check_name
from kdtrain.space import Domain, Range

if TYPE_CHECKING:
    from torch import Tensor

    from kdtrain.methods.modules.base import TermInput, TermModule

Temperature = Annotated[float, Field(gt=0, description="Divides what a softmax is taken of.")]
Layers = Annotated[str, BeforeValidator(lambda value: ",".join(value) if isinstance(value, list | tuple) else value)]
"""`logits`, `decoder`, `encoder.4`, `aux` or the name of a module; several are separated by commas or a list."""
CLASS_MAPS = frozenset({"logits", "aux"})
"""Layers whose channels are the classes."""
Shape = tuple[int, ...]
"""Channels, height and width of a map."""
Shapes = Mapping[str, Shape]
"""By layer."""
Units = Literal["pull", "weight"]
"""How a method's defaults are meant: `pull`: reductions that depend on neither map nor batch size, and ranges of pulls;
`weight`: the published reductions with their weights, and ranges of weights."""
Ranges = Literal["narrow", "wide", "wider"]
"""Which ranges of pulls are a method's defaults: the first ones, those after, and today's. The best pulls of some terms
lie outside of their former ranges, which became wider."""
RANGES: tuple[Ranges, ...] = get_args(Ranges)
LATEST_RANGES: Ranges = RANGES[-1]
FormerPulls = Mapping[Ranges, Mapping[str, Range]]
"""See `Method.former_pulls`."""
LEAST_PULL, LARGEST_PULL = 0.001, 19.0
"""Below and above, a term has less than 0.1 % and more than 95 % of the gradient of it and the task."""
LARGEST_SEARCHED_PULL = 50.0
"""The largest end of a default range of pulls, 98 % of the gradient."""


class Term(Strict):
    """One loss at one pair of layers, or at several. A term of weight 0 is not computed."""

    needs_teacher: ClassVar[bool] = True
    joint: ClassVar[bool] = False
    """Whether the loss looks at several pairs of layers at once; others take the mean over them."""
    zero_at_teacher: ClassVar[bool] = False
    """Whether the loss is 0 where the student's maps equal the teacher's, which `kdtrain.testing` then checks."""
    formula: ClassVar[str] = ""
    """One line of plain text."""
    source: ClassVar[str] = ""
    """Paper, with the equation where it is known."""
    status: ClassVar[Mapping[str, str]] = {}
    """Piece -> `stated: ...`, `secondary: ...` or `inferred: ...`."""
    disagreements: ClassVar[tuple[str, ...]] = ()
    """Where paper and code, or codes, differ."""
    too_few_images: ClassVar[str] = ""
    """What is wrong with a batch of fewer images than `smallest_batch`, as the end of a sentence."""

    loss: str = ""
    """Which loss: a key of `TERMS` or an entry point, one literal per subclass; a third-party class that leaves
    the field out is called `package.module:Class`."""
    name: str = Field(
        pattern=r"^[A-Za-z0-9_-]+$", max_length=LONGEST, default_factory=lambda data: default_name(data["loss"])
    )
    """The name of the term in reports and search spaces; unique in a config."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """What the loss is multiplied by; 0 computes nothing."""
    pull: Annotated[float, Field(ge=0)] | None = None
    """The pull that a sweep has made the weight from; it changes nothing in a training, see `kdtrain.loop.pulls`."""
    student_layer: Layers = "logits"
    """The layer of the student, or several: `logits`, `decoder`, `encoder.4`, `aux` or the name of a module."""
    teacher_layer: Layers = "logits"
    """The layer of the teacher, or as many."""
    schedule: WeightSchedule = WeightSchedule()
    """How the weight changes during the training."""

    @model_validator(mode="before")
    @classmethod
    def _called_by_its_reference(cls, content: object) -> object:
        return called_by_reference(cls, "loss", content)

    @model_validator(mode="after")
    def _consistent(self) -> "Term":
        if self.weight < 0:  # also if a third-party class gives the field another default
            raise ValueError(f"weight: must be at least 0, got {self.weight:g}")
        if self.needs_teacher and len(self.student_layers) != len(self.teacher_layers):
            raise ValueError(
                f"student_layer and teacher_layer must name equally many layers, got {self.student_layer!r} "
                f"and {self.teacher_layer!r}"
            )
        if not self.needs_teacher and len(self.student_layers) > 1:
            raise ValueError(f"student_layer: {self.loss} looks at one layer, got {self.student_layer!r}")
        return self

    @property
    def lacks_weight(self) -> bool:
        """Whether a pull stands in place of the weight, which a sweep's calibration has yet to give."""
        return self.pull is not None and "weight" not in self.model_fields_set

    @property
    def student_layers(self) -> tuple[str, ...]:
        """The student's layers."""
        return _split(self.student_layer)

    @property
    def teacher_layers(self) -> tuple[str, ...]:
        """The teacher's layers, one for each of the student's; none for a term which needs no teacher."""
        return _split(self.teacher_layer) if self.needs_teacher else ()

    @property
    def compares_features(self) -> bool:
        """Whether the loss compares inner layers of student and teacher, and none whose channels are classes."""
        return self.needs_teacher and CLASS_MAPS.isdisjoint((*self.student_layers, *self.teacher_layers))

    @property
    def equal_channels(self) -> bool:
        """Whether student and teacher must have the same number of channels at their layers."""
        return False

    @property
    def smallest_batch(self) -> int:
        """The smallest batch on which the loss is defined and has a gradient."""
        return 1

    def value(self, taps: "TermInput") -> "Tensor":
        """The raw loss of one batch, for terms without trained layers."""
        raise NotImplementedError

    def build(self, students: Shapes, teachers: Shapes, num_classes: int) -> "TermModule":
        """Make the module that computes the term.

        Args:
            students: Shapes of the student's layers, at least the term's.
            teachers: Shapes of the teacher's.
            num_classes: Of the data.

        Raises:
            InputError: If the loss cannot compare such maps.
        """
        from kdtrain.methods.modules.base import MeanModule, PlainModule

        if not self.needs_teacher:
            return PlainModule(self)
        pairs = list(zip(self.student_layers, self.teacher_layers, strict=True))
        for student, teacher in pairs:
            if students[student][0] == teachers[teacher][0]:
                continue
            if self.equal_channels:
                raise InputError(
                    f"term {self.name!r} needs equal channels at its two layers, but the student has "
                    f"{students[student][0]} at {student!r} and the teacher {teachers[teacher][0]} at {teacher!r}"
                )
            if {student, teacher} <= CLASS_MAPS:
                raise InputError(
                    f"term {self.name!r}: {student!r} of the student and {teacher!r} of the teacher must have the same "
                    f"classes as channels, got {students[student][0]} and {teachers[teacher][0]}"
                )
        if self.joint:
            return PlainModule(self)
        modules = [self.module(students[student], teachers[teacher], num_classes) for student, teacher in pairs]
        return modules[0] if len(modules) == 1 else MeanModule(modules)

    def module(self, student: Shape, teacher: Shape, num_classes: int) -> "TermModule":
        """The module for one pair of layers whose channels fit; overridden by terms with trained layers."""
        from kdtrain.methods.modules.base import PlainModule

        return PlainModule(self)


NOT_OPTIONS = ("name", "weight", "pull", "schedule")
"""The fields of a term that do not change its gradient at weight 1."""


def options_of(term: Term) -> dict[str, Any]:
    """What decides the gradient of a term at weight 1, in plain values: its loss, its layers and its own fields."""
    return term.model_dump(mode="json", exclude=set(NOT_OPTIONS))


def default_name(loss: str) -> str:
    """The name of a term that is given none: the loss, or the name of its class in lower case with underscores."""
    if not is_reference(loss):
        return loss
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", loss.rpartition(":")[2]).lower()


def _split(layers: str) -> tuple[str, ...]:
    return tuple(layer.strip() for layer in layers.split(","))


@dataclass(frozen=True)
class Method:
    """A named list of terms with its defaults, and the ranges worth searching."""

    name: str
    """See `kdtrain.names`: studies are named after their method."""
    title: str
    citation: str
    terms: tuple[Term, ...]
    """The defaults, in reductions that depend on neither map nor batch size."""
    search: Mapping[str, Domain] = field(default_factory=dict)
    """`<term name>.<field>` -> domain. Ranges of weights belong to the published terms."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Piece -> `stated: ...`, `secondary: ...` or `inferred: ...`."""
    published: tuple[Term, ...] = ()
    """The terms as published, by the same names in the same order, where they differ from `terms`; else empty."""
    pulls: Mapping[str, Range] = field(default_factory=dict)
    """Term name -> range of its pull: the length of its gradient beside that of cross-entropy."""
    former_pulls: FormerPulls = field(default_factory=dict)
    """The ranges of pulls that became wider after `narrow`, and after `wide`, as they were until then."""

    def __post_init__(self) -> None:
        try:
            check_name(self.name)
        except ValueError as error:
            raise InputError(f"method: {error}") from None
        terms = {term.name: term for term in self.terms}
        if len(terms) < len(self.terms):
            raise InputError(
                f"method {self.name!r}: the names of terms must differ, got {[t.name for t in self.terms]}"
            )
        if self.published and [(t.name, type(t)) for t in self.published] != [(t.name, type(t)) for t in self.terms]:
            raise InputError(
                f"method {self.name!r}: published must name the same losses as terms, {list(terms)}, got "
                f"{[term.name for term in self.published]}"
            )
        for key in self.search:
            name, _, option = key.partition(".")
            if name not in terms or option not in type(terms[name]).model_fields:
                raise InputError(f"method {self.name!r} searches {key!r}, which none of its terms has")
        former = [item for pulls in self.former_pulls.values() for item in pulls.items()]
        if other := dict(former).keys() - self.pulls.keys():
            raise InputError(f"method {self.name!r}: former_pulls has {min(other)!r}, which pulls has not")
        for name, pull in (*self.pulls.items(), *former):
            if name not in terms:
                raise InputError(f"method {self.name!r} has a range of pulls of {name!r}, which is none of its terms")
            if not (isinstance(pull, Range) and pull.log and not pull.integer):
                raise InputError(
                    f"method {self.name!r}: pulls of {name!r} must be a log range of numbers, got {pull.model_dump()}"
                )

    @property
    def needs_teacher(self) -> bool:
        """Whether any term that counts needs a teacher."""
        return any(term.needs_teacher and term.weight > 0 for term in self.terms)

    def defaults(self, units: Units, ranges: Ranges = LATEST_RANGES) -> tuple[tuple[Term, ...], dict[str, Domain]]:
        """The terms, and the domains by `<term name>.<field>`, that a study of this method starts from.

        Args:
            units: `weight`: the published terms and `search`. `pull`: `terms`, and `search` with the ranges of `pulls`
                at `<term name>.pull` in place of those at `<term name>.weight`; a term without one keeps its weights.
            ranges: Those of `pulls`, with what they were until these ranges in place of what became wider after.
        """
        if units == "weight":
            return self.published or self.terms, dict(self.search)
        searched = {self._by_pull(key): domain for key, domain in self.search.items()}
        pulls = dict(self.pulls)
        for former in reversed(RANGES[RANGES.index(ranges) :]):
            pulls |= self.former_pulls.get(former, {})
        return self.terms, searched | {f"{name}.pull": pull for name, pull in pulls.items()}

    def _by_pull(self, key: str) -> str:
        name, _, option = key.partition(".")
        return f"{name}.pull" if option == "weight" and name in self.pulls else key
