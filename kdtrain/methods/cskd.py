"""CSKD, channel-spatial knowledge distillation: Karine, Napoleon, Jridi, PRL 180, 2024.

Stated, in the official code: all of the loss, its weights and temperatures. The switches beside it are fixes
for what the code does: re-drawn projections, and a CKA over the images of a batch, which is nearly 1 for any
features when the batch is small (exactly 1, without gradient, for two images).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from kdtrain.loss_forms import LEAST_SAMPLES, Distance, Estimator, Samples
from kdtrain.methods.base import Layers, Method, Shape, Temperature, Term
from kdtrain.methods.channel_wise import ChannelWise
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Choice, Range

if TYPE_CHECKING:
    from kdtrain.methods.modules.base import TermModule


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

    def module(self, student: Shape, teacher: Shape, num_classes: int) -> "TermModule":
        """The loss with its factor."""
        from kdtrain.methods.modules.cskd import CamModule

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

    def module(self, student: Shape, teacher: Shape, num_classes: int) -> "TermModule":
        """The loss with its factor and projections."""
        from kdtrain.methods.modules.cskd import GridPamModule

        return GridPamModule(self, student, teacher[0])


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
