"""CSC and ACE, channel and spatial correlation with adaptive cross-entropy: Park & Heo, Sensors 2020.

Only the abstract and claim 1 of the authors' patent US 11,756,202 B2 could be read. Stated: that both exist,
that CSC compares matrices of normalized pixel vectors and their circular shifts by a Euclidean norm, that
ACE mixes one-hot labels with the teacher's probabilities. Inferred: everything else, weights included. No
published number can be claimed for this reconstruction.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from kdtrain.loss_forms import AdaptiveForm, CscForm, needs_equal_channels
from kdtrain.methods.base import Method, Temperature, Term
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Choice, Domain, Range

if TYPE_CHECKING:
    from torch import Tensor

    from kdtrain.methods.modules.base import TermInput


class Csc(Term):
    """Channel and spatial correlation of the last layer."""

    zero_at_teacher: ClassVar[bool] = True
    formula: ClassVar[str] = (
        "mean of (M_s - M_t)², form A: M[i, j] = (f_i · f_j)² of unit pixel vectors f, "
        "which is the product of all circular shifts f ∘ R_k f"
    )
    source: ClassVar[str] = "Park & Heo, Sensors 2020: abstract, and claim 1 of patent US 11,756,202 B2."
    status: ClassVar[Mapping[str, str]] = {
        "M": "stated (patent): unit pixel vectors of the last layer, related to their circular shifts, concatenated",
        "difference": "stated (patent): a Euclidean norm; inferred: squared, and the mean over entries",
        "form": "inferred: A follows the claim as far as it could be read, the others are other readings",
        "pool, include_zero_shift, detach_norm, relation": "inferred",
    }
    disagreements: ClassVar[tuple[str, ...]] = (
        "None of the public code called CSCLoss is of these authors; no published number can be claimed for this.",
    )

    loss: Literal["csc"] = "csc"
    form: CscForm = "A"
    """`A`: squared cosines of pixels; `A0`: products of channels per pixel; `B`: circular autocorrelations; `C`: all
    shifts between all pixels; `D`: all products of two entries; `E`: SKD's matrix and that of the channels."""
    squared: bool = True
    """No: the root of the mean square, per image."""
    pool: Literal[1, 2, 4] = 1
    """Kernel and stride by which both maps are pooled before."""
    pool_kind: Literal["max", "average"] = "max"
    """How."""
    include_zero_shift: bool = True
    """Whether the shifts start at 0 (forms A, A0, B, C)."""
    detach_norm: bool = False
    """Whether the length of a vector counts as a constant, as in SKD's code."""
    relation: Literal["product", "vectors"] = "product"
    """Form B: compare products of the autocorrelations, or themselves."""

    @model_validator(mode="after")
    def _shifts(self) -> "Csc":
        if self.form in ("D", "E") and not self.include_zero_shift:
            raise ValueError(f"form {self.form} has no circular shifts: include_zero_shift must be true, got false")
        return self

    @property
    def equal_channels(self) -> bool:
        """Forms A, and B with products, compare pixels with pixels and so take any channels."""
        return needs_equal_channels(self.form, self.relation)

    def value(self, taps: "TermInput") -> "Tensor":
        """Return the mean squared difference of the matrices."""
        from kdtrain.losses import csc

        return csc(
            *taps.pair(),
            self.form,
            squared=self.squared,
            pool=self.pool,
            pool_kind=self.pool_kind,
            include_zero_shift=self.include_zero_shift,
            detach_norm=self.detach_norm,
            relation=self.relation,
        )


class AdaptiveCrossEntropy(Term):
    """Cross-entropy that trusts the teacher where it is right."""

    formula: ClassVar[str] = (
        "mean over labelled pixels of -Σ_c q_c log softmax(s)_c, form hard: q = softmax(t) where its largest class is "
        "the label, else the label's one-hot"
    )
    source: ClassVar[str] = "Park & Heo, Sensors 2020: abstract."
    status: ClassVar[Mapping[str, str]] = {
        "q": "stated (abstract): one-hot labels and the teacher's probabilities, adaptively; inferred: how",
        "temperature, ignored, resize": "inferred",
    }
    disagreements: ClassVar[tuple[str, ...]] = (
        "Several unrelated losses are called ACE (aggregation cross-entropy, PaddlePaddle's ACELoss).",
    )

    loss: Literal["adaptive_cross_entropy"] = "adaptive_cross_entropy"
    form: AdaptiveForm = "hard"
    """`hard`: trust the teacher where it is right; `threshold`: and sure; `soft`: as far as it is sure of the label;
    `swap`: exchange the probabilities of the label and of its guess."""
    threshold: float = Field(default=0.5, ge=0, le=1)
    """Of form `threshold`: the least probability of the label."""
    temperature: Temperature = 1.0
    ignored: Literal["mask", "teacher"] = "mask"
    """Pixels without a label: left out, or learnt from the teacher."""
    resize: Literal["labels", "map"] = "labels"
    """Compare at the size of the labels, or of the map (cheaper)."""
    align_corners: bool = True
    """How logits are resized to the labels."""

    @property
    def equal_channels(self) -> bool:
        """Both maps hold the same classes."""
        return True

    def value(self, taps: "TermInput") -> "Tensor":
        """Return the mean over the pixels that count."""
        from kdtrain.losses import adaptive_cross_entropy

        student, teacher = taps.pair() if self.resize == "map" else (taps.student, taps.teacher)
        return adaptive_cross_entropy(
            student,
            teacher,
            taps.labels,
            self.form,
            threshold=self.threshold,
            temperature=self.temperature,
            ignore_index=taps.ignore_index,
            ignored=self.ignored,
            resize=self.resize,
            align_corners=self.align_corners,
        )


CITATION = (
    "Park, Heo. Knowledge Distillation for Semantic Segmentation Using Channel and Spatial Correlations "
    "and Adaptive Cross Entropy. Sensors 2020, 20(16), 4616. Reconstructed from abstract and patent claim."
)

CSC_WEIGHT = 10.0
CSC_SEARCH: dict[str, Domain] = {"csc.weight": Range(low=0.1, high=1000, log=True)}
ACE_SEARCH: dict[str, Domain] = {"adaptive_cross_entropy.temperature": Choice(choices=(1.0, 2.0))}
CSC_PULLS = {"csc": Range(low=0.1, high=10, log=True)}
CSC_NOTES = {"csc.weight": "inferred: 10, as CIRKD weighs SKD's pairwise loss, which has the same scale"}

CSC_ACE = Method(
    name="csc_ace",
    title="CSC + ACE",
    citation=CITATION,
    terms=(AdaptiveCrossEntropy(), Csc(weight=CSC_WEIGHT)),
    search=CSC_SEARCH | ACE_SEARCH,
    pulls=CSC_PULLS,
    notes=CSC_NOTES | {"role": "inferred: ACE replaces the cross-entropy; csc_ace_add is the list of terms with both"},
)

CSC_ACE_ADD = Method(
    name="csc_ace_add",
    title="CSC + ACE beside cross-entropy",
    citation=CITATION,
    terms=(CrossEntropy(), AdaptiveCrossEntropy(), Csc(weight=CSC_WEIGHT)),
    search=CSC_SEARCH | ACE_SEARCH | {"adaptive_cross_entropy.weight": Range(low=0.1, high=3, log=True)},
    pulls={term: Range(low=0.1, high=50, log=True) for term in ("csc", "adaptive_cross_entropy")},
    former_pulls={"wide": {term: Range(low=0.1, high=10, log=True) for term in ("csc", "adaptive_cross_entropy")}},
    notes=CSC_NOTES | {"role": "inferred: ACE is added to the cross-entropy"},
)

CSC = Method(
    name="csc",
    title="CSC alone",
    citation=CITATION,
    terms=(CrossEntropy(), Csc(weight=CSC_WEIGHT)),
    search=CSC_SEARCH,
    pulls=CSC_PULLS,
    notes=CSC_NOTES,
)

ACE = Method(
    name="ace",
    title="ACE alone",
    citation=CITATION,
    terms=(AdaptiveCrossEntropy(),),
    search=ACE_SEARCH,
    notes={"role": "inferred: ACE replaces the cross-entropy"},
)
