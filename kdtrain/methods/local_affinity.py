"""Local affinity: Xie et al. Improving Fast Segmentation With Teacher-student Learning. BMVC 2018."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from kdtrain.loss_forms import AffinityContrast, Neighbours
from kdtrain.methods.base import Method, Term
from kdtrain.methods.pixel import FORMER_KD_PULLS, KD_PULLS, PixelKd
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Choice, Range

if TYPE_CHECKING:
    from torch import Tensor

    from kdtrain.methods.modules.base import TermInput


class LocalAffinity(Term):
    """How much every pixel differs from its neighbours."""

    zero_at_teacher: ClassVar[bool] = True
    formula: ClassVar[str] = "mean over pixels of (c_i(s) − c_i(t))², c_i(x) = Σ over neighbours j of |x_i − x_j|²"
    source: ClassVar[str] = "Xie et al., BMVC 2018, as described by Shu et al., ICCV 2021 (LOCAL in their table 2)"
    status: ClassVar[Mapping[str, str]] = {
        "formula": "secondary: a map of Euclidean distances between the centre pixel and its 8 neighbours",
        "of": "inferred: logits; probabilities is the other reading",
        "neighbours": "secondary: 8; inferred: 24",
        "contrast": "secondary: absolute; inferred: relative",
        "border": "inferred: continued by copies",
        "size": "inferred: a teacher map of another size is resized to the student's",
    }

    loss: Literal["local_affinity"] = "local_affinity"
    neighbours: Neighbours = 8
    """8 or 24: the pixels of a window of 3 x 3 or 5 x 5."""
    of: Literal["logits", "probabilities"] = "logits"
    """The maps as they are, or behind a softmax over channels."""
    contrast: AffinityContrast = "absolute"
    """As they are, or divided by the mean square of both maps' contrasts, and so of no size (`relative`)."""

    def value(self, taps: "TermInput") -> "Tensor":
        """Return the loss between maps of any channels."""
        from kdtrain.losses import local_affinity

        return local_affinity(*taps.pair(), neighbours=self.neighbours, of=self.of, contrast=self.contrast)


LOCAL = Method(
    name="local_affinity",
    title="Local affinity of the probabilities, beside pixel-wise KD",
    citation="Xie, Shuai, Hu, Lin, Zheng. Improving Fast Segmentation With Teacher-student Learning. BMVC 2018, "
    "arXiv:1810.08476.",
    terms=(CrossEntropy(), PixelKd(), LocalAffinity(weight=3.0, of="probabilities", contrast="relative")),
    published=(CrossEntropy(), PixelKd(), LocalAffinity(weight=1.0, of="probabilities")),
    search={
        "pixel_kd.weight": Range(low=0.1, high=30, log=True),
        "local_affinity.weight": Range(low=0.01, high=10, log=True),
        "local_affinity.neighbours": Choice(choices=(8, 24)),
    },
    pulls={**KD_PULLS, "local_affinity": Range(low=0.1, high=10, log=True)},
    former_pulls=FORMER_KD_PULLS,
    notes={
        "local_affinity": "secondary: first-order consistency of neighbouring pixels",
        "pixel_kd": "inferred: stands for the paper's zero-order term on probabilities",
        "local_affinity.of": "inferred: on logits the loss grows with their fourth power, and can diverge",
        "weight": "inferred: 1 and 1, as no published ones could be read",
        "local_affinity.contrast": "inferred: relative, because neighbours differ the less the larger a map is; its "
        "weight 3 pulls as the absolute form does at 64 x 128",
    },
)
