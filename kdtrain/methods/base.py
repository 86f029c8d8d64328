"""What a method is made of: terms (configs of losses), their modules, and the method that lists them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from kdtrain.config_base import Strict
from kdtrain.errors import InputError
from kdtrain.losses.maps import precise, resize_map
from kdtrain.space import Domain

Temperature = Annotated[float, Field(gt=0)]
"""Divides the logits before a softmax."""


@dataclass(frozen=True)
class TermInput:
    """What one term sees of one batch: the maps at its two layers, and the labels."""

    student: Tensor
    """`(N, C_s, H, W)`, with gradient."""
    teacher: Tensor | None
    """`(N, C_t, H', W')`, None for terms which need no teacher."""
    labels: Tensor
    """`(N, H_label, W_label)` int64."""
    num_classes: int
    ignore_index: int
    generator: torch.Generator | None = None
    """The term's own stream of randomness, on the CPU."""

    def pair(self) -> tuple[Tensor, Tensor]:
        """Student and teacher maps in float32 and of one size: the student's (inferred)."""
        return precise(self.student), resize_map(precise(self.taught()), self.student.shape[-2:])

    def taught(self) -> Tensor:
        """The teacher's map, which must be there."""
        if self.teacher is None:
            raise InputError("the terms of this config need a teacher, but the config names none")
        return self.teacher


class TermModule(nn.Module):
    """One term at work: `forward` returns the raw value, before the weight. May own trained layers."""

    def forward(self, taps: TermInput) -> Tensor:
        """Return the loss as a float32 scalar."""
        raise NotImplementedError


class PlainModule(TermModule):
    """A term without trained layers: the pure function that its config describes."""

    def __init__(self, term: "Term") -> None:
        super().__init__()
        self.term = term

    def forward(self, taps: TermInput) -> Tensor:
        """Return the loss as a float32 scalar."""
        return self.term.value(taps)


class Term(Strict):
    """One loss at one pair of layers. A weight of 0 means that nothing is computed."""

    needs_teacher: ClassVar[bool] = True

    loss: str
    """Which loss: a key of the registry, one literal per subclass."""
    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$", default_factory=lambda data: data["loss"])
    """What reports and search spaces call the term; unique in a config."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    student_layer: str = "logits"
    teacher_layer: str = "logits"

    @property
    def equal_channels(self) -> bool:
        """Whether student and teacher must have the same number of channels at their layers."""
        return False

    @property
    def smallest_batch(self) -> int:
        """The smallest batch on which the loss is defined."""
        return 1

    def value(self, taps: TermInput) -> Tensor:
        """The raw loss of one batch, for terms without trained layers."""
        raise NotImplementedError

    def build(self, student_channels: int, teacher_channels: int) -> TermModule:
        """Make the module that computes the term.

        Args:
            student_channels: Channels of the student at `student_layer`.
            teacher_channels: Channels of the teacher at `teacher_layer`; ignored by terms without a teacher.

        Raises:
            InputError: If the loss cannot compare these numbers of channels.
        """
        if self.needs_teacher and self.equal_channels and student_channels != teacher_channels:
            raise InputError(
                f"term {self.name!r} needs equal channels at its two layers, but the student has "
                f"{student_channels} at {self.student_layer!r} and the teacher {teacher_channels} at "
                f"{self.teacher_layer!r}"
            )
        return self.module(student_channels, teacher_channels)

    def module(self, student_channels: int, teacher_channels: int) -> TermModule:
        """The module itself, once the channels are known to fit; overridden by terms with trained layers."""
        return PlainModule(self)


@dataclass(frozen=True)
class Method:
    """A named list of terms with published defaults, and the ranges worth searching."""

    name: str
    title: str
    citation: str
    terms: tuple[Term, ...]
    search: Mapping[str, Domain] = field(default_factory=dict)
    """`<term name>.<field>` -> domain."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Piece -> `stated: ...`, `secondary: ...` or `inferred: ...`."""

    def __post_init__(self) -> None:
        terms = {term.name: term for term in self.terms}
        if len(terms) < len(self.terms):
            raise InputError(f"method {self.name!r} names two terms alike: {[t.name for t in self.terms]}")
        for key in self.search:
            name, _, option = key.partition(".")
            if name not in terms or option not in type(terms[name]).model_fields:
                raise InputError(f"method {self.name!r} searches {key!r}, which none of its terms has")

    @property
    def needs_teacher(self) -> bool:
        """Whether any term that counts needs a teacher."""
        return any(term.needs_teacher and term.weight > 0 for term in self.terms)
