"""CSKD, channel-spatial knowledge distillation: Karine, Napoleon, Jridi, PRL 180, 2024.

Stated, in the official code: all of the loss, its weights and temperatures. The switches beside it are fixes
for what the code does: re-drawn projections, and a CKA over the images of a batch, which is nearly 1 for any
features when the batch is small (exactly 1, without gradient, for two images).
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
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
from kdtrain.losses.cka import LEAST_SAMPLES, Distance, Estimator, Samples
from kdtrain.methods.base import Layers, Method, Shape, TeacherKernel, Temperature, Term, TermInput, TermModule
from kdtrain.methods.channel_wise import ChannelWise
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Choice, Range

KERNEL_VERSION = 2
"""Of what is recorded of the teacher: to be raised when the same facts come to give other numbers."""


class AttentionTerm(Term):
    """What the two attention terms share."""

    source: ClassVar[str] = "Karine, Napoleon, Jridi, PRL 180 (2024), official code."
    status: ClassVar[Mapping[str, str]] = {
        "formula, temperature": "stated",
        "gamma": "stated: one learned factor for both networks, from 0 on; inferred: zero",
        "samples": "stated: the images of a batch, of which few saturate CKA (two: no gradient); inferred: pixels",
        "estimator, distance": "stated: biased and -log(CKA + 1e-8); inferred: unbiased and 1 - CKA",
    }
    disagreements: ClassVar[tuple[str, ...]] = (
        "Abstract and figure speak of matching attention; the code compares how the nearly raw features arrange the "
        "images of a batch.",
    )

    too_few_images: ClassVar[str] = "the CKA of two images is 1 whatever they show, without a gradient"

    student_layer: Layers = "decoder"
    teacher_layer: Layers = "decoder"
    temperature: Temperature = 2.0
    gamma: Literal["learned", "zero"] = "learned"
    """The attention's factor: learned from 0 on (official), or 0 for good, which skips the attention."""
    samples: Samples = "batch"
    """What CKA compares: the images of the batch, or the pixels of every image."""
    estimator: Estimator = "biased"
    """Of CKA: `biased` or `unbiased` (needs 4 samples)."""
    distance: Distance = "neg_log"
    """`neg_log`: -log(CKA + 1e-8); `one_minus`: 1 - CKA."""

    @model_validator(mode="after")
    def _positive(self) -> "AttentionTerm":
        if self.estimator == "unbiased" and self.distance == "neg_log":
            raise ValueError("the unbiased CKA can be negative: distance must be 'one_minus', got 'neg_log'")
        return self

    @property
    def smallest_batch(self) -> int:
        """CKA over images needs several of them; of any two images it is 1, without a gradient."""
        return max(3, LEAST_SAMPLES[self.estimator]) if self.samples == "batch" else 1


class CamCka(AttentionTerm):
    """CKA between channel attention maps."""

    zero_at_teacher: ClassVar[bool] = True
    formula: ClassVar[str] = "-log CKA(γ softmax(-X Xᵀ / T) X + X) over channels, of student and teacher"

    loss: Literal["cam_cka"] = "cam_cka"

    def module(self, student: Shape, teacher: Shape, num_classes: int) -> TermModule:
        """The loss with its factor."""
        return CamModule(self, student[1:])


class GridPamCka(AttentionTerm):
    """CKA between position attention maps, block by block."""

    zero_at_teacher: ClassVar[bool] = True
    formula: ClassVar[str] = (
        "mean over the blocks of a grid of -log CKA(γ V softmax(Qᵀ K / T)ᵀ + X) over positions, of student and teacher"
    )
    status: ClassVar[Mapping[str, str]] = {
        **AttentionTerm.status,
        "projection": "stated: drawn anew at every step for every block; inferred: fixed and learned",
    }
    disagreements: ClassVar[tuple[str, ...]] = (
        *AttentionTerm.disagreements,
        "The code draws the projections to Q, K and V anew at every call and never trains them (`projection`).",
    )

    loss: Literal["grid_pam_cka"] = "grid_pam_cka"
    grid: int = Field(default=5, ge=1)
    """Parts into which height and width are each cut; 1 for the whole map at once."""
    projection: Literal["resampled", "fixed", "learned"] = "resampled"
    """To queries, keys, values: drawn every step (official; the teacher's for every batch of a view), drawn once,
    learned; unused if gamma is zero."""

    def module(self, student: Shape, teacher: Shape, num_classes: int) -> TermModule:
        """The loss with its factor and projections."""
        return GridPamModule(self, student, teacher[0])


class CamModule(TermModule):
    """`cam_cka` with a factor that student and teacher share."""

    def __init__(self, term: CamCka, size: tuple[int, ...]) -> None:
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

    def __init__(self, term: GridPamCka, student: Shape, teacher_channels: int) -> None:
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
    term: AttentionTerm,
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


def learned_factor(term: AttentionTerm) -> nn.Parameter | None:
    """The factor of the attention, starting at 0; None if it stays there."""
    return nn.Parameter(torch.zeros(())) if term.gamma == "learned" else None


CSKD = Method(
    name="cskd",
    title="Channel-spatial distillation",
    citation=(
        "Karine, Napoleon, Jridi. Channel-Spatial Knowledge Distillation for Efficient Semantic "
        "Segmentation. Pattern Recognition Letters 180 (2024) 48-54."
    ),
    terms=(
        CrossEntropy(),
        ChannelWise(weight=3.0, temperature=2.0),
        CamCka(weight=0.3),
        GridPamCka(weight=0.8),
    ),
    search={
        "channel_wise.weight": Range(low=0.3, high=30, log=True),
        "channel_wise.temperature": Choice(choices=(1.0, 2.0, 4.0)),
        "cam_cka.weight": Range(low=0.03, high=3, log=True),
        "grid_pam_cka.weight": Range(low=0.08, high=8, log=True),
    },
    pulls={
        "channel_wise": Range(low=0.2, high=19, log=True),
        "cam_cka": Range(low=0.03, high=3, log=True),
        "grid_pam_cka": Range(low=0.05, high=5, log=True),
    },
    notes={
        "weights, temperatures": "stated: 3, 0.3, 0.8 and 2 in the official scripts, for all data",
        "layer": "stated: what feeds the classifier",
    },
)
