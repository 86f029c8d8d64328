"""MGD: Yang, Li, Shao, Shi, Yuan, Yuan. Masked Generative Distillation. ECCV 2022."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from kdtrain.loss_forms import FitReduction
from kdtrain.methods.base import Layers, Method, Shape, Term
from kdtrain.methods.channel_wise import ChannelWise
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Choice, Range

if TYPE_CHECKING:
    from torch import Tensor

    from kdtrain.methods.modules.base import TermInput, TermModule


class MaskedGeneration(Term):
    """The teacher's features, generated from what a mask leaves of the student's."""

    formula: ClassVar[str] = "1 / N · sum over images, channels and pixels of (G(m · W f_s) − f_t)²"
    source: ClassVar[str] = "Yang et al., ECCV 2022"
    status: ClassVar[Mapping[str, str]] = {
        "generator": "stated: convolution 3x3, ReLU, convolution 3x3, all with the teacher's channels",
        "align": "stated: a 1x1 convolution where the channels differ",
        "reduction": "stated: image; inferred: mean",
        "masked": "stated: 0.75 for segmentation, drawn anew at every step, for all channels of a pixel at once",
        "size": "inferred: a teacher map of another size is resized to the student's",
    }
    disagreements: ClassVar[tuple[str, ...]] = (
        "The published results include channel-wise distillation of the logits, which the paper's equations do not.",
        "The sum grows with the map and its channels: a weight holds for one crop size and one teacher only; "
        "reduction=mean divides by both.",
    )

    loss: Literal["masked_generation"] = "masked_generation"
    student_layer: Layers = "encoder.last"
    teacher_layer: Layers = "encoder.last"
    masked: Annotated[float, Field(ge=0, lt=1)] = 0.75
    """Share of the pixels that the generator does not see."""
    reduction: FitReduction = "image"
    """The sum over all numbers, as a mean over images (`image`), or the `mean` over all numbers, which depends on no
    size."""

    def value(self, taps: "TermInput") -> "Tensor":
        """Return the loss of what was generated."""
        from kdtrain.losses import fitnet

        return fitnet(*taps.pair(), reduction=self.reduction)

    def module(self, student: Shape, teacher: Shape, num_classes: int) -> "TermModule":
        """The loss behind its generator."""
        from kdtrain.methods.modules.mgd import MaskedGenerationModule

        return MaskedGenerationModule(self, student[0], teacher[0])


MGD = Method(
    name="mgd",
    title="Masked generation of features, with CWD of the logits",
    citation="Yang, Li, Shao, Shi, Yuan, Yuan. Masked Generative Distillation. ECCV 2022, arXiv:2205.01529.",
    terms=(
        CrossEntropy(),
        MaskedGeneration(weight=10.0, reduction="mean"),
        ChannelWise(weight=3.0, temperature=4.0),
    ),
    published=(CrossEntropy(), MaskedGeneration(weight=2e-5), ChannelWise(weight=3.0, temperature=4.0)),
    search={
        "masked_generation.weight": Range(low=2e-6, high=2e-4, log=True),
        "masked_generation.masked": Choice(choices=(0.25, 0.5, 0.75)),
        "channel_wise.weight": Range(low=0.3, high=30, log=True),
    },
    pulls={"masked_generation": Range(low=0.05, high=5, log=True), "channel_wise": Range(low=0.2, high=19, log=True)},
    notes={
        "weights, temperature": "stated: 0.00002, and 3 and 4 for the logits, in the authors' code; inferred: 10 for "
        "reduction mean; 0.00002 times 2048 channels and 64 x 64 pixels, 168, pulls 15 times as hard as the labels",
        "layer": "stated: the last stage of the encoder",
    },
)
