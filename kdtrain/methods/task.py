"""The task alone: cross-entropy against the labels, and the method `none`, a student without a teacher."""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from kdtrain.losses import cross_entropy
from kdtrain.methods.base import Method, Term, TermInput


class CrossEntropy(Term):
    """Cross-entropy of the logits, resized to the labels."""

    needs_teacher: ClassVar[bool] = False

    loss: Literal["cross_entropy"] = "cross_entropy"
    align_corners: bool = True
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of every target that is spread over all classes: a teacher who knows nothing."""

    def value(self, taps: TermInput) -> Tensor:
        """Return the mean over labelled pixels."""
        return cross_entropy(taps.student, taps.labels, taps.ignore_index, self.align_corners, smoothing=self.smoothing)


NONE = Method(
    name="none",
    title="No distillation",
    citation="",
    terms=(CrossEntropy(),),
    notes={"align_corners": "stated: true in the code of SKD, IFVD, CWD, CIRKD, CSKD and DIST"},
)
