"""FitNet, also called hints or MIMIC: Romero et al. FitNets: Hints for Thin Deep Nets. ICLR 2015."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from kdtrain.loss_forms import FitReduction
from kdtrain.methods.adapter import AdaptedTerm
from kdtrain.methods.base import Layers, Method
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Range

if TYPE_CHECKING:
    from torch import Tensor

    from kdtrain.methods.modules.base import TermInput


class FitNet(AdaptedTerm):
    """Squared differences between features."""

    zero_at_teacher: ClassVar[bool] = True
    formula: ClassVar[str] = "mean over images, channels and pixels of (W f_s − f_t)²"
    source: ClassVar[str] = "Romero et al., ICLR 2015, equation 3"
    status: ClassVar[Mapping[str, str]] = {
        "formula": "stated: squared differences behind a trained regressor",
        "adapter": "stated: a 1x1 convolution without bias in CIRKD; one of any size in the paper",
        "normalize": "stated: none in CIRKD, map in mmrazor",
        "reduction": "stated: mean in CIRKD, image in mmrazor",
        "size": "inferred: a teacher map of another size is resized to the student's",
    }
    disagreements: ClassVar[tuple[str, ...]] = (
        "The paper first trains the lower half of the student by hints alone; the codes for segmentation add the loss "
        "throughout.",
        "CIRKD takes the mean over all numbers; mmrazor normalizes every image's map to length 1 and sums: "
        "normalize=map, reduction=image.",
    )

    loss: Literal["fitnet"] = "fitnet"
    student_layer: Layers = "decoder"
    teacher_layer: Layers = "decoder"
    normalize: Literal["none", "map"] = "none"
    """`map`: the whole map of every image has the length 1."""
    reduction: FitReduction = "mean"
    """`mean` over all numbers, or their sum, as a mean over images (`image`)."""

    def value(self, taps: "TermInput") -> "Tensor":
        """Return the loss between maps of equal channels."""
        from kdtrain.losses import fitnet

        return fitnet(*taps.pair(), normalize=self.normalize, reduction=self.reduction)


CITATION = (
    "Romero, Ballas, Kahou, Chassang, Gatta, Bengio. FitNets: Hints for Thin Deep Nets. ICLR 2015, arXiv:1412.6550."
)

FITNET = Method(
    name="fitnet",
    title="FitNet hints at the penultimate features",
    citation=CITATION,
    terms=(CrossEntropy(), FitNet(weight=10.0)),
    search={"fitnet.weight": Range(low=0.1, high=100, log=True)},
    pulls={"fitnet": Range(low=0.1, high=10, log=True)},
    notes={
        "weight": "stated: 10 in CIRKD, beside pixel-wise KD (zoo_fitnet)",
        "layer": "stated: what feeds the classifier, in CIRKD; the middle of the network in the paper",
        "alone": "inferred: without the pixel-wise KD that the zoo adds",
    },
)
