"""ICKD, inter-channel correlation: Liu, Huang, Lin, Xie, Wang, Chang, Liang. ICCV 2021."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from kdtrain.loss_forms import CorrelationReduction
from kdtrain.methods.adapter import AdaptedTerm
from kdtrain.methods.base import Layers, Method
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Range

if TYPE_CHECKING:
    from torch import Tensor

    from kdtrain.methods.modules.base import TermInput


class ChannelCorrelation(AdaptedTerm):
    """Products of all pairs of channels."""

    zero_at_teacher: ClassVar[bool] = True
    formula: ClassVar[str] = "1 / (N C) · sum over images and entries of (G_s − G_t)², G = X Xᵀ with rows of length 1"
    source: ClassVar[str] = "Liu et al., ICCV 2021"
    status: ClassVar[Mapping[str, str]] = {
        "formula": "stated: on raw features, rows normalized",
        "reduction": "stated: mean in the authors' code for CIFAR, zoo in that for ImageNet",
        "adapter": "stated: a 1x1 convolution with batch norm, always; inferred: only where channels differ, no norm",
        "size": "inferred: a teacher map of another size is resized to the student's",
    }
    disagreements: ClassVar[tuple[str, ...]] = (
        "The authors' code for ImageNet divides by the batch size twice (reduction=zoo), that for CIFAR once.",
    )

    loss: Literal["channel_correlation"] = "channel_correlation"
    student_layer: Layers = "decoder"
    teacher_layer: Layers = "decoder"
    reduction: CorrelationReduction = "mean"
    """`mean` over images, or that divided by the batch size once more (`zoo`)."""

    def value(self, taps: "TermInput") -> "Tensor":
        """Return the loss between maps of equal channels."""
        from kdtrain.losses import channel_correlation

        return channel_correlation(*taps.pair(), reduction=self.reduction)


ICKD = Method(
    name="ickd",
    title="Inter-channel correlation of the features",
    citation=(
        "Liu, Huang, Lin, Xie, Wang, Chang, Liang. Exploring Inter-Channel Correlation for Diversity-Preserved "
        "Knowledge Distillation. ICCV 2021."
    ),
    terms=(CrossEntropy(), ChannelCorrelation(weight=1.0)),
    search={"channel_correlation.weight": Range(low=0.01, high=100, log=True)},
    pulls={"channel_correlation": Range(low=0.03, high=3, log=True)},
    notes={
        "weight": "inferred: no published one for segmentation was found",
        "layer": "inferred: what feeds the classifier",
        "parts": "secondary: the paper cuts maps into a grid of patches for segmentation, which is left out",
    },
)
