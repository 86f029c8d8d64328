"""IFVD: Wang, Zhou, Jiang, Bai, Xu. Intra-class Feature Variation Distillation. ECCV 2020."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from kdtrain.loss_forms import PrototypeScope
from kdtrain.methods.base import Layers, Method, Term
from kdtrain.methods.holistic import HOLISTIC_PULLS, HOLISTIC_SEARCH, VIEW, Holistic
from kdtrain.methods.pixel import PixelKd
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Range

if TYPE_CHECKING:
    from torch import Tensor

    from kdtrain.methods.modules.base import TermInput


class IntraClassVariation(Term):
    """How alike every pixel is to its class."""

    zero_at_teacher: ClassVar[bool] = True
    formula: ClassVar[str] = "mean over pixels of (cos(f_i, m_y(i)) of s − of t)², m_k the mean feature of class k"
    source: ClassVar[str] = "Wang et al., ECCV 2020"
    status: ClassVar[Mapping[str, str]] = {
        "formula": "stated: with the gradient through the prototypes",
        "prototypes": "stated: image; inferred: batch",
        "ignored pixels": "stated: counted in the mean, with a difference of 0",
        "labels": "stated: brought to the map by nearest pixel",
        "size": "inferred: a teacher map of another size is resized to the student's",
    }
    disagreements: ClassVar[tuple[str, ...]] = ("The weight is 200 in the authors' code and 20 in CIRKD.",)

    loss: Literal["intra_class_variation"] = "intra_class_variation"
    student_layer: Layers = "decoder"
    teacher_layer: Layers = "decoder"
    prototypes: PrototypeScope = "image"
    """The mean feature of a class is that of each image, or of the whole batch."""

    def value(self, taps: "TermInput") -> "Tensor":
        """Return the loss between maps of any channels."""
        from kdtrain.losses import intra_class_variation

        return intra_class_variation(
            *taps.pair(), taps.labels, taps.num_classes, taps.ignore_index, prototypes=self.prototypes
        )


CITATION = (
    "Wang, Zhou, Jiang, Bai, Xu. Intra-class Feature Variation Distillation for Semantic Segmentation. ECCV 2020."
)

IFVD = Method(
    name="ifvd",
    title="Intra-class feature variation, with KD and a discriminator",
    citation=CITATION,
    terms=(
        CrossEntropy(),
        PixelKd(weight=0.53),
        IntraClassVariation(weight=200.0),
        Holistic(weight=1e-3, objective="wgan_gp", view=VIEW),
    ),
    published=(
        CrossEntropy(),
        PixelKd(weight=10.0, reduction="ifvd"),
        IntraClassVariation(weight=200.0),
        Holistic(weight=1e-3, objective="wgan_gp"),
    ),
    search={
        "pixel_kd.weight": Range(low=1, high=300, log=True),
        "intra_class_variation.weight": Range(low=2, high=2000, log=True),
        **HOLISTIC_SEARCH,
    },
    pulls={
        "pixel_kd": Range(low=0.05, high=50, log=True),
        "intra_class_variation": Range(low=0.02, high=19, log=True),
        **HOLISTIC_PULLS,
    },
    former_pulls={
        "narrow": {"pixel_kd": Range(low=0.05, high=5, log=True)},
        "wide": {"intra_class_variation": Range(low=0.2, high=19, log=True)},
    },
    notes={
        "weights": "stated: 200, 10 and 0.001 in the authors' scripts",
        "pixel_kd.reduction": "stated: the authors' mean over all numbers, so that 10 is 10 / classes per pixel; "
        "inferred: mean, with weight 0.53, which is that for 19 classes",
        "holistic": "stated: WGAN-GP with Adam, 0.0004, (0.9, 0.99); inferred: view 32",
        "layer": "stated: what feeds the classifier",
    },
)
