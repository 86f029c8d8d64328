"""What computes a term: its input for one batch, and the modules that return its value."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kdtrain.errors import InputError
from kdtrain.losses.maps import precise, resize_map, resize_scores

if TYPE_CHECKING:
    from kdtrain.methods.base import Term


def _no_broadcast(_: Iterable[Tensor]) -> None:
    """One process has nothing to broadcast."""


@dataclass(frozen=True)
class TermInput:
    """The input of one term for one batch: the maps at its layers, and the labels."""

    students: tuple[Tensor, ...]
    """`(N, C_s, H, W)` for each of its layers, with gradient."""
    teachers: tuple[Tensor, ...]
    """`(N, C_t, H', W')` for each of its layers; empty for terms which need no teacher, or whose `kernel` is given."""
    labels: Tensor
    """`(N, H_label, W_label)` int64."""
    num_classes: int
    ignore_index: int
    generator: torch.Generator | None = None
    """The term's own stream of randomness, on the CPU."""
    broadcast_: Callable[[Iterable[Tensor]], None] = _no_broadcast
    """Gives tensors the values that they have in the first process, for modules that update tensors themselves."""
    kernel: Tensor | None = None
    """`(N, *parts, N)`: the value of the module's `TeacherKernel`, in place of the teacher's map."""

    @property
    def student(self) -> Tensor:
        """The student's (first) map."""
        return self.students[0]

    @property
    def teacher(self) -> Tensor:
        """The teacher's (first) map.

        Raises:
            InputError: If there is no teacher.
        """
        if not self.teachers:
            raise InputError("teacher: the terms of this config need a teacher, got none")
        return self.teachers[0]

    def pair(self) -> tuple[Tensor, Tensor]:
        """The (first) maps of student and teacher in float32, both of the student's size (inferred)."""
        return precise(self.student), resize_scores(precise(self.teacher), self.student.shape[-2:])

    def each(self) -> list["TermInput"]:
        """One input for every pair of layers."""
        return [
            replace(self, students=(student,), teachers=(teacher,))
            for student, teacher in zip(self.students, self.teachers, strict=True)
        ]

    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """The maps of every pair of layers, as `pair` gives them."""
        return [single.pair() for single in self.each()]


@dataclass(frozen=True)
class TeacherKernel:
    """What a loss needs of the teacher, if that is less than its map: how it relates the images of a batch.

    These are a few numbers per image, which can be recorded in place of the map. They depend on no trained weight.

    Attributes:
        layer: The teacher's layer.
        size: Height and width to which its map is resized.
        parts: Shape of the numbers per pair of images.
        facts: Everything else that the kernel depends on, except for randomness, as values for JSON.
        random: Whether it draws random numbers.
        make: From the map `(N, C, H, W)` and a random stream on the CPU, the kernel `(*parts, N, N)`.
    """

    layer: str
    size: tuple[int, ...]
    parts: tuple[int, ...]
    facts: Mapping[str, object]
    random: bool
    make: Callable[[Tensor, torch.Generator], Tensor]

    def rows(self, teacher: Tensor, stream: torch.Generator) -> Tensor:
        """One row per image of a whole batch, `(N, *parts, N)`, from its maps `(N, C, H', W')`."""
        with torch.no_grad():
            height, width = self.size
            return self.make(resize_map(precise(teacher), (height, width)), stream).movedim(-2, 0).contiguous()


class TermModule(nn.Module):
    """The module of a term: `forward` returns the raw value, before the weight. It may have trained layers."""

    kernel: TeacherKernel | None = None
    """What the module needs of the teacher, if that is less than the map."""

    @property
    def draws(self) -> bool:
        """Whether the value draws random numbers on the host; it then cannot be compiled or captured."""
        return any(isinstance(child, TermModule) and child.draws for child in self.modules() if child is not self)

    def forward(self, taps: TermInput) -> Tensor:
        """Return the loss as a float32 scalar."""
        raise NotImplementedError

    def kernel_of(self, taps: TermInput) -> Tensor:
        """The teacher's kernel, `(*parts, N, N)`: the recorded one, or one that is computed with the term's stream."""
        assert self.kernel is not None
        rows = taps.kernel
        if rows is None:
            rows = self.kernel.rows(taps.teacher, taps.generator or torch.default_generator)
        return rows.movedim(0, -2).contiguous()


class PlainModule(TermModule):
    """A term without trained layers: the pure function that its config describes."""

    def __init__(self, term: "Term") -> None:
        super().__init__()
        self.term = term

    def forward(self, taps: TermInput) -> Tensor:
        """Return the loss as a float32 scalar."""
        return self.term.value(taps)


class MeanModule(TermModule):
    """The same loss at several pairs of layers: their mean."""

    def __init__(self, modules: Iterable[TermModule]) -> None:
        super().__init__()
        self.pairs = nn.ModuleList(modules)

    def forward(self, taps: TermInput) -> Tensor:
        """Return the mean over the pairs."""
        return torch.stack([module(single) for module, single in zip(self.pairs, taps.each(), strict=True)]).mean()
