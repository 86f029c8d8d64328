"""The attention of CSKD, with its learned factor and its projections."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kdtrain.losses import cam_cka, grid_pam_cka
from kdtrain.losses.attention import (
    ProjectionSource,
    Side,
    cam_cka_to,
    cam_kernel,
    count_blocks,
    draw_projections,
    grid_pam_cka_to,
    grid_pam_kernel,
    random_projections,
)
from kdtrain.methods.modules.base import TeacherKernel, TermInput, TermModule

if TYPE_CHECKING:
    from kdtrain.methods.base import Shape
    from kdtrain.methods.cskd import AttentionTerm, CamCka, GridPamCka

KERNEL_VERSION = 2
"""Of what is recorded of the teacher: to be raised when the same facts come to give other numbers."""


class CamModule(TermModule):
    """`cam_cka` with a factor that student and teacher share."""

    def __init__(self, term: "CamCka", size: tuple[int, ...]) -> None:
        super().__init__()
        self.term = term
        self.gamma = learned_factor(term)
        if term.samples == "batch":
            self.kernel = attention_kernel(term, size, (), {}, False, self._kernel)

    def forward(self, taps: TermInput) -> Tensor:
        """Return the distance."""
        term, gamma = self.term, 0.0 if self.gamma is None else self.gamma
        if self.kernel is not None:
            teacher_kernel = self.kernel_of(taps)
            return cam_cka_to(taps.student, teacher_kernel, term.temperature, gamma, term.estimator, term.distance)
        return cam_cka(
            *taps.pair(),
            term.temperature,
            gamma,
            samples=term.samples,
            estimator=term.estimator,
            distance=term.distance,
        )

    def _kernel(self, teacher: Tensor, _: torch.Generator) -> Tensor:
        return cam_kernel(teacher, self.term.temperature, attended=self.gamma is not None)


class GridPamModule(TermModule):
    """`grid_pam_cka` with a factor that student and teacher share, and projections of their own."""

    def __init__(self, term: "GridPamCka", student: "Shape", teacher_channels: int) -> None:
        super().__init__()
        self.term = term
        self.gamma = learned_factor(term)
        self.channels: dict[Side, int] = {"student": student[0], "teacher": teacher_channels}
        self.blocks = count_blocks(student[1], student[2], term.grid)
        self.projections: nn.ParameterList | None = None
        if self.gamma is not None and term.projection == "learned":
            self.projections = nn.ParameterList(random_projections(1, each, None) for each in self.channels.values())
        if term.samples == "batch" and self.projections is None:
            drawn = self.gamma is not None
            facts = {"grid": term.grid, **({"projection": term.projection} if drawn else {})}
            resampled = drawn and term.projection == "resampled"
            self.kernel = attention_kernel(term, student[1:], (self.blocks,), facts, resampled, self._kernel)

    @property
    def draws(self) -> bool:
        """Projections that are not learned are drawn, in every step."""
        return self.gamma is not None and self.projections is None

    def forward(self, taps: TermInput) -> Tensor:
        """Return the mean distance over the blocks."""
        term, gamma = self.term, 0.0 if self.gamma is None else self.gamma
        of_student = self._projections("student", taps.generator)
        if self.kernel is not None:
            teacher_kernel = self.kernel_of(taps)
            return grid_pam_cka_to(
                taps.student,
                teacher_kernel,
                term.temperature,
                gamma,
                term.grid,
                of_student,
                term.estimator,
                term.distance,
            )
        student, teacher = taps.pair()
        of_teacher = self._projections("teacher", taps.generator)
        return grid_pam_cka(
            student,
            teacher,
            term.temperature,
            gamma,
            term.grid,
            projection="fixed" if of_student is None or of_teacher is None else (of_student, of_teacher),
            samples=term.samples,
            estimator=term.estimator,
            distance=term.distance,
        )

    def _kernel(self, teacher: Tensor, stream: torch.Generator) -> Tensor:
        term = self.term
        return grid_pam_kernel(teacher, term.temperature, term.grid, self._projections("teacher", stream))

    def _projections(self, side: Side, generator: torch.Generator | None) -> Tensor | None:
        """The projections of this step; None if gamma is 0, which needs none."""
        if self.gamma is None:
            return None
        if self.projections is not None:
            of_student, of_teacher = self.projections
            projections: Tensor | None = of_student if side == "student" else of_teacher
            return projections
        source: ProjectionSource = "fixed" if self.term.projection == "fixed" else "resampled"
        return draw_projections(self.blocks, self.channels[side], source, generator, side)


def attention_kernel(
    term: "AttentionTerm",
    size: tuple[int, ...],
    blocks: tuple[int, ...],
    facts: Mapping[str, object],
    random: bool,
    make: Callable[[Tensor, torch.Generator], Tensor],
) -> TeacherKernel:
    """What an attention term that compares the images of a batch needs of the teacher."""
    content: dict[str, object] = {"loss": term.loss, "version": KERNEL_VERSION, "gamma": term.gamma, **facts}
    if term.gamma == "learned":
        content["temperature"] = term.temperature
    parts = (*blocks, 3 if term.gamma == "learned" else 1)
    return TeacherKernel(term.teacher_layers[0], size, parts, content, random, make)


def learned_factor(term: "AttentionTerm") -> nn.Parameter | None:
    """The factor of the attention, starting at 0; None if it stays there."""
    return nn.Parameter(torch.zeros(())) if term.gamma == "learned" else None
