"""PKD, Pearson distillation: Cao, Zhang, Gao, Cheng, Cheng, Cheng. NeurIPS 2022."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from kdtrain.methods.adapter import AdaptedTerm
from kdtrain.methods.base import Layers, Method
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Range

if TYPE_CHECKING:
    from torch import Tensor

    from kdtrain.methods.modules.base import TermInput


class Pearson(AdaptedTerm):
    """Channels of features, each standardized over the batch."""

    zero_at_teacher: ClassVar[bool] = True
    formula: ClassVar[str] = "½ · mean over numbers of (ŝ − t̂)² ≈ 1 − r, ŝ standardized per channel over all pixels"
    source: ClassVar[str] = "Cao et al., NeurIPS 2022, as in mmrazor"
    status: ClassVar[Mapping[str, str]] = {
        "formula": "stated: mmrazor, with the unbiased deviation plus 1e-6",
        "adapter": "inferred: a 1x1 convolution where channels differ; in the paper both have as many",
        "size": "inferred: a teacher map of another size is resized to the student's; the other way round in mmrazor",
    }

    loss: Literal["pearson"] = "pearson"
    student_layer: Layers = "decoder"
    teacher_layer: Layers = "decoder"

    def value(self, taps: "TermInput") -> "Tensor":
        """Return the loss between maps of equal channels."""
        from kdtrain.losses import pearson

        return pearson(*taps.pair())


PKD = Method(
    name="pkd",
    title="Pearson correlation of the features",
    citation=(
        "Cao, Zhang, Gao, Cheng, Cheng, Cheng. PKD: General Distillation Framework for Object Detectors via "
        "Pearson Correlation Coefficient. NeurIPS 2022, arXiv:2207.02039."
    ),
    terms=(CrossEntropy(), Pearson(weight=6.0)),
    search={"pearson.weight": Range(low=0.1, high=100, log=True)},
    pulls={"pearson": Range(low=0.1, high=50, log=True)},
    former_pulls={"narrow": {"pearson": Range(low=0.1, high=10, log=True)}},
    notes={
        "weight": "stated: 6 for each level of a detector's pyramid, in mmrazor; inferred: for segmentation",
        "layer": "inferred: what feeds the classifier",
    },
)
