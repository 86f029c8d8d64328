"""KA, knowledge adaptation: He, Shen, Tian, Gong, Sun, Yan. CVPR 2019; its affinity part alone."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from kdtrain.loss_forms import AffinityReduction
from kdtrain.methods.adapter import AdaptedTerm
from kdtrain.methods.base import Layers, Method
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Range

if TYPE_CHECKING:
    from torch import Tensor

    from kdtrain.methods.modules.base import TermInput


class KnowledgeAffinity(AdaptedTerm):
    """Products of all pairs of pixels, within each channel."""

    zero_at_teacher: ClassVar[bool] = True
    formula: ClassVar[str] = "mean over images and channels of ‖s_c s_cᵀ − t_c t_cᵀ‖² = 2 − 2 (s_c · t_c)², |s_c| = 1"
    source: ClassVar[str] = "He et al., CVPR 2019, as in torchdistill"
    status: ClassVar[Mapping[str, str]] = {
        "formula": "secondary: per channel, normalized over pixels, as torchdistill has it; exact here in one pass",
        "reduction": "secondary: torchdistill; inferred: mean, whose weight holds for maps of any size",
        "adapter": "stated: the paper adapts the student's features; inferred: by a 1x1 convolution",
        "size": "inferred: a teacher map of another size is resized to the student's",
    }
    disagreements: ClassVar[tuple[str, ...]] = (
        "The paper compares the teacher's features behind a trained auto-encoder, which is left out here.",
        "torchdistill sums norms over channels and divides by the pixels; the default here is the mean of squares.",
    )

    loss: Literal["knowledge_affinity"] = "knowledge_affinity"
    student_layer: Layers = "decoder"
    teacher_layer: Layers = "decoder"
    reduction: AffinityReduction = "mean"
    """`mean` of squares, or the sum over channels of norms divided by pixels (`torchdistill`)."""

    def value(self, taps: "TermInput") -> "Tensor":
        """Return the loss between maps of equal channels."""
        from kdtrain.losses import knowledge_affinity

        return knowledge_affinity(*taps.pair(), reduction=self.reduction)


KA = Method(
    name="ka",
    title="Affinity of pixels within channels",
    citation="He, Shen, Tian, Gong, Sun, Yan. Knowledge Adaptation for Efficient Semantic Segmentation. CVPR 2019.",
    terms=(CrossEntropy(), KnowledgeAffinity(weight=1.0)),
    search={"knowledge_affinity.weight": Range(low=0.01, high=100, log=True)},
    pulls={"knowledge_affinity": Range(low=0.03, high=3, log=True)},
    notes={
        "weight": "inferred: 1; the value lies between 0 and 2",
        "layer": "inferred: what feeds the classifier",
        "parts": "inferred: the affinity alone, without the paper's auto-encoder and its adapted features",
    },
)
