"""CSC and ACE, channel and spatial correlation with adaptive cross-entropy: Park & Heo, Sensors 2020.

Only the abstract and claim 1 of the authors' patent US 11,756,202 B2 could be read. Stated: that both exist,
that CSC compares matrices of normalised pixel vectors and their circular shifts by a Euclidean norm, that
ACE mixes one-hot labels with the teacher's probabilities. Inferred: everything else, weights included. No
published number can be claimed for this reconstruction.
"""

from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor

from kdtrain.losses import adaptive_cross_entropy, csc
from kdtrain.losses.adaptive import AdaptiveForm
from kdtrain.losses.correlation import CscForm, needs_equal_channels
from kdtrain.methods.base import Method, Temperature, Term, TermInput
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Choice, Domain, Range


class Csc(Term):
    """Channel and spatial correlation of the last layer."""

    loss: Literal["csc"] = "csc"
    form: CscForm = "A"
    squared: bool = True
    pool: Literal[1, 2, 4] = 1
    pool_kind: Literal["max", "average"] = "max"
    include_zero_shift: bool = True
    detach_norm: bool = False
    relation: Literal["product", "vectors"] = "product"

    @model_validator(mode="after")
    def _shifts(self) -> "Csc":
        if self.form in ("D", "E") and not self.include_zero_shift:
            raise ValueError(
                f"form {self.form} has no circular shifts: include_zero_shift must be true, but came false"
            )
        return self

    @property
    def equal_channels(self) -> bool:
        """Forms A, and B with products, compare pixels with pixels and so take any channels."""
        return needs_equal_channels(self.form, self.relation)

    def value(self, taps: TermInput) -> Tensor:
        """Return the mean squared difference of the matrices."""
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

    loss: Literal["adaptive_cross_entropy"] = "adaptive_cross_entropy"
    form: AdaptiveForm = "hard"
    threshold: float = Field(default=0.5, ge=0, le=1)
    temperature: Temperature = 1.0
    ignored: Literal["mask", "teacher"] = "mask"
    resize: Literal["labels", "map"] = "labels"
    align_corners: bool = True

    @property
    def equal_channels(self) -> bool:
        """Both maps hold the same classes."""
        return True

    def value(self, taps: TermInput) -> Tensor:
        """Return the mean over the pixels that count."""
        student, teacher = taps.pair() if self.resize == "map" else (taps.student, taps.taught())
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
CSC_NOTES = {
    "csc": "stated (patent): pixel vectors of the last layer are normalised and related to their circular "
    "shifts; the loss is a Euclidean norm of the difference",
    "csc.form": "inferred: A follows the claim as far as it could be read; the others are other readings",
    "csc.weight": "inferred: 10, as CIRKD weighs SKD's pairwise loss, which has the same scale",
    "csc.squared": "inferred: mean of squares, as in SKD",
}
ACE_NOTES = {
    "adaptive_cross_entropy": "stated (abstract): one-hot labels and the teacher's probabilities, adaptively",
    "adaptive_cross_entropy.form": "inferred: the teacher's probabilities where it is right, else one-hot",
    "adaptive_cross_entropy.temperature": "inferred: 1, as none is mentioned",
}

CSC_ACE = Method(
    name="csc_ace",
    title="CSC + ACE",
    citation=CITATION,
    terms=(AdaptiveCrossEntropy(), Csc(weight=CSC_WEIGHT)),
    search=CSC_SEARCH | ACE_SEARCH,
    notes=CSC_NOTES
    | ACE_NOTES
    | {"role": "inferred: ACE replaces the cross-entropy; csc_ace_add is the list of terms with both"},
)

CSC_ACE_ADD = Method(
    name="csc_ace_add",
    title="CSC + ACE beside cross-entropy",
    citation=CITATION,
    terms=(CrossEntropy(), AdaptiveCrossEntropy(), Csc(weight=CSC_WEIGHT)),
    search=CSC_SEARCH | ACE_SEARCH | {"adaptive_cross_entropy.weight": Range(low=0.1, high=3, log=True)},
    notes=CSC_NOTES | ACE_NOTES | {"role": "inferred: ACE is added to the cross-entropy"},
)

CSC = Method(
    name="csc",
    title="CSC alone",
    citation=CITATION,
    terms=(CrossEntropy(), Csc(weight=CSC_WEIGHT)),
    search=CSC_SEARCH,
    notes=CSC_NOTES,
)

ACE = Method(
    name="ace",
    title="ACE alone",
    citation=CITATION,
    terms=(AdaptiveCrossEntropy(),),
    search=ACE_SEARCH,
    notes=ACE_NOTES | {"role": "inferred: ACE replaces the cross-entropy"},
)
