"""The task alone: losses against the labels, and the methods of a student without a teacher."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from kdtrain.methods.base import Method, Term
from kdtrain.space import Choice, Range

if TYPE_CHECKING:
    from torch import Tensor

    from kdtrain.methods.modules.base import TermInput


class CrossEntropy(Term):
    """Cross-entropy of the logits, resized to the labels."""

    needs_teacher: ClassVar[bool] = False
    formula: ClassVar[str] = "mean over labelled pixels of -log softmax(s)[label]"
    source: ClassVar[str] = "The task itself, at the size of the labels."
    status: ClassVar[Mapping[str, str]] = {
        "align_corners": "stated: true in the code of SKD, IFVD, CWD, CIRKD, CSKD and DIST",
        "keep_hardest, hard_below": "secondary: OHEM keeps what is below 0.7, and 1/16 of the pixels in any case, in "
        "public code for BiSeNet; 100,000 pixels per image in mmseg's examples",
        "boundary_weight, boundary_radius": "inferred: FDNet's abstract says that pixels near a boundary count more",
    }

    loss: Literal["cross_entropy"] = "cross_entropy"
    align_corners: bool = True
    """How logits are resized to the labels."""
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of every target that is spread over all classes: a teacher who knows nothing."""
    keep_hardest: float = Field(default=1.0, ge=0, le=1)
    """OHEM: the least share of the batch's labelled pixels that counts, the hardest; 1 counts all."""
    hard_below: float = Field(default=0.7, ge=0, le=1)
    """OHEM: pixels where the true class has less than this probability count in any case."""
    boundary_weight: float = Field(default=0.0, ge=0)
    """Pixels near a boundary weigh 1 plus this; the sum is divided by the sum of the weights."""
    boundary_radius: int = Field(default=1, ge=1)
    """Near is what has a labelled pixel of another class within so many rows and columns."""

    def value(self, taps: "TermInput") -> "Tensor":
        """Return the (weighted) mean over the pixels that count."""
        from kdtrain.losses import cross_entropy

        return cross_entropy(
            taps.student,
            taps.labels,
            taps.ignore_index,
            self.align_corners,
            smoothing=self.smoothing,
            keep_hardest=self.keep_hardest,
            hard_below=self.hard_below,
            boundary_weight=self.boundary_weight,
            boundary_radius=self.boundary_radius,
        )


class Dice(Term):
    """Overlap of predicted and true regions, every class counting alike."""

    needs_teacher: ClassVar[bool] = False
    formula: ClassVar[str] = (
        "mean over classes of 1 - (2 Σ p g + 1) / (Σ p + Σ g + 1), p = softmax(s), g one-hot labels"
    )
    source: ClassVar[str] = "DenseUNet (Yang et al.), abstract; squared: V-Net, Milletari et al. 2016."
    status: ClassVar[Mapping[str, str]] = {
        "formula": "stated (abstracts): cross-entropy and Dice together; inferred: all else",
    }

    loss: Literal["dice"] = "dice"
    align_corners: bool = True
    """How logits are resized to the labels."""
    scope: Literal["batch", "image"] = "batch"
    """Sums over the batch, or over every image."""
    squared: bool = False
    """Squared probabilities in the denominator."""
    skip_absent: bool = True
    """Whether classes without a pixel in the scope are left out."""
    smooth: float = Field(default=1.0, gt=0)
    """Added above and below."""

    def value(self, taps: "TermInput") -> "Tensor":
        """Return the mean over classes."""
        from kdtrain.losses import dice

        return dice(
            taps.student,
            taps.labels,
            taps.ignore_index,
            self.align_corners,
            scope=self.scope,
            squared=self.squared,
            skip_absent=self.skip_absent,
            smooth=self.smooth,
        )


NONE = Method(
    name="none",
    title="No distillation",
    citation="",
    terms=(CrossEntropy(),),
    notes={"align_corners": "stated: true in the code of SKD, IFVD, CWD, CIRKD, CSKD and DIST"},
)

DICE_CE = Method(
    name="dice_ce",
    title="Dice beside cross-entropy",
    citation="Yang et al., DenseUNet (abstract); Cui et al., DsUnet, 2020 (abstract).",
    terms=(CrossEntropy(), Dice()),
    search={"dice.weight": Range(low=0.1, high=3, log=True)},
    pulls={"dice": Range(low=0.02, high=20, log=True)},
    former_pulls={"wide": {"dice": Range(low=0.02, high=2, log=True)}},
    notes={"weight": "inferred: 1, of 0.5, 1 and 2"},
)

OHEM = Method(
    name="ohem",
    title="Cross-entropy of hard pixels",
    citation="Shrivastava, Gupta, Girshick. Training Region-based Object Detectors with Online Hard Example Mining. "
    "CVPR 2016.",
    terms=(CrossEntropy(keep_hardest=1 / 16),),
    search={
        "cross_entropy.keep_hardest": Choice(choices=(1 / 16, 0.25, 0.5)),
        "cross_entropy.hard_below": Choice(choices=(0.5, 0.7, 0.9)),
    },
    notes={"keep_hardest, hard_below": "secondary: 1/16 and 0.7 in public code for BiSeNet"},
)

BOUNDARY_CE = Method(
    name="boundary_ce",
    title="Cross-entropy with heavier boundaries",
    citation="Zhen et al., FDNet (abstract).",
    terms=(CrossEntropy(boundary_weight=2.0, boundary_radius=3),),
    search={
        "cross_entropy.boundary_weight": Range(low=0.5, high=10, log=True),
        "cross_entropy.boundary_radius": Choice(choices=(1, 3, 5)),
    },
    notes={"boundary_weight, boundary_radius": "inferred: 2 and 3, of 1, 2, 5 and 1, 3, 5"},
)
