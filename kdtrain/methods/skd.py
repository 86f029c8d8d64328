"""SKD, structured knowledge distillation: Liu et al., CVPR 2019 and TPAMI 2020."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from kdtrain.loss_forms import Nodes, PoolKind
from kdtrain.methods.base import Layers, Method, Term
from kdtrain.methods.pixel import FORMER_KD_PULLS, KD_PULLS, PixelKd
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Choice, Range

if TYPE_CHECKING:
    from torch import Tensor

    from kdtrain.methods.modules.base import TermInput


class Pairwise(Term):
    """Cosines between all pairs of places of a map."""

    zero_at_teacher: ClassVar[bool] = True
    formula: ClassVar[str] = "mean over images and pairs of nodes of (cos(s_i, s_j) − cos(t_i, t_j))²"
    source: ClassVar[str] = "Liu et al., CVPR 2019"
    status: ClassVar[Mapping[str, str]] = {
        "formula": "stated: exact here, though no matrix of pairs is built",
        "nodes": "stated: official (4 to 9 nodes) in SKD's code, pool of 2 x 2 in CIRKD",
        "detach_norm": "stated: true in SKD's code, false in CIRKD",
        "pool_kind": "stated: max; inferred: average",
        "size": "inferred: a teacher map of another size is resized to the student's",
    }
    disagreements: ClassVar[tuple[str, ...]] = (
        "SKD's code compares 4 to 9 nodes per image with a detached norm, CIRKD's a quarter of the pixels without: "
        "these are not the same loss.",
        "The weight is 0.5 in SKD's script (1 by its default) and 10 in CIRKD.",
    )

    loss: Literal["pairwise"] = "pairwise"
    student_layer: Layers = "decoder"
    teacher_layer: Layers = "decoder"
    nodes: Nodes = "pool"
    """What is compared: squares of `pool` pixels, or parts of `scale` of each side, as in SKD's code (`official`)."""
    pool: Annotated[int, Field(ge=1)] = 2
    """Side of the squares."""
    scale: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of height and of width in a part."""
    pool_kind: PoolKind = "max"
    """How a node is made of its pixels."""
    detach_norm: bool = False
    """Whether the length of a vector counts as a constant."""

    def value(self, taps: "TermInput") -> "Tensor":
        """Return the loss between maps of any channels."""
        from kdtrain.losses import pairwise

        return pairwise(
            *taps.pair(), self.pool, self.detach_norm, nodes=self.nodes, scale=self.scale, pool_kind=self.pool_kind
        )


CITATION = (
    "Liu, Chen, Liu, Qin, Luo, Wang. Structured Knowledge Distillation for Semantic Segmentation. CVPR 2019, "
    "arXiv:1903.04197; Liu, Shu, Wang, Shen. Structured Knowledge Distillation for Dense Prediction. TPAMI 2020."
)

_PAIRS = Pairwise(weight=0.5, nodes="official", detach_norm=True)

SKD_PA = Method(
    name="skd_pa",
    title="Structured distillation: pixels and pairs, without the discriminator",
    citation=CITATION,
    terms=(CrossEntropy(), PixelKd(weight=3.0), _PAIRS),
    published=(CrossEntropy(), PixelKd(weight=10.0, reduction="skd"), _PAIRS),
    search={
        "pixel_kd.weight": Range(low=0.1, high=100, log=True),
        "pairwise.weight": Range(low=0.05, high=100, log=True),
        "pairwise.nodes": Choice(choices=("official", "pool")),
    },
    pulls={**KD_PULLS, "pairwise": Range(low=0.01, high=1, log=True)},
    former_pulls=FORMER_KD_PULLS,
    notes={
        "weights": "stated: 10 and 0.5 in the authors' script",
        "pixel_kd.reduction": "stated: a cross-entropy, summed over the images of a batch, in the authors' code; "
        "inferred: mean, with weight 3, because 10 times the 8 images of a batch drown the labels",
        "layer": "stated: what feeds the classifier",
        "parts": "stated: the row Pi + Pa of the authors' ablation",
    },
)
