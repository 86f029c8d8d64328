"""KD: Hinton, Vinyals, Dean. Distilling the Knowledge in a Neural Network. arXiv 1503.02531, 2015."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from kdtrain.loss_forms import PixelReduction
from kdtrain.methods.base import FormerPulls, Method, Temperature, Term
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Choice, Range

if TYPE_CHECKING:
    from torch import Tensor

    from kdtrain.methods.modules.base import TermInput


class PixelKd(Term):
    """KL between the class distributions of every pixel."""

    zero_at_teacher: ClassVar[bool] = True
    formula: ClassVar[str] = "T² · mean over pixels of KL(softmax(t / T) ‖ softmax(s / T))"
    source: ClassVar[str] = "Hinton, Vinyals, Dean 2015, per pixel of the score map."
    status: ClassVar[Mapping[str, str]] = {
        "formula": "stated: in CIRKD's code, with weight 1 and temperature 1",
        "mask_ignored": "inferred: no public code leaves ignored pixels out",
        "confidence": "inferred: for unlabelled images; the mean is over the pixels that count",
    }
    disagreements: ClassVar[tuple[str, ...]] = (
        "With L the mean over pixels of the KL: CIRKD has T² L, IFVD and TorchDistiller L / classes, mmrazor T² H W L, "
        "SKD N (L + entropy of the teacher); 10 in SKD is about 150 times 10 in IFVD (`reduction`).",
    )

    loss: Literal["pixel_kd"] = "pixel_kd"
    temperature: Temperature = 1.0
    reduction: PixelReduction = "mean"
    """Whose multiple: `mean` (CIRKD), `ifvd`, `mmrazor` or `skd`."""
    mask_ignored: bool = False
    """Leave out pixels without a label."""
    confidence: float = Field(default=0.0, ge=0, le=1)
    """Leave out pixels where the teacher's largest probability, at this temperature, is lower; 0 for none."""

    @property
    def equal_channels(self) -> bool:
        """Both maps hold the same classes."""
        return True

    def value(self, taps: "TermInput") -> "Tensor":
        """Return the value in the chosen code's units."""
        from kdtrain.losses import pixel_kd

        return pixel_kd(
            *taps.pair(),
            self.temperature,
            reduction=self.reduction,
            labels=taps.labels if self.mask_ignored else None,
            ignore_index=taps.ignore_index,
            confidence=self.confidence,
        )


KD_PULLS = {"pixel_kd": Range(low=0.1, high=50, log=True)}
FORMER_KD_PULLS: FormerPulls = {"narrow": {"pixel_kd": Range(low=0.1, high=10, log=True)}}

KD = Method(
    name="kd",
    title="Pixel-wise KD",
    citation="Hinton, Vinyals, Dean. Distilling the Knowledge in a Neural Network. arXiv:1503.02531, 2015.",
    terms=(CrossEntropy(), PixelKd()),
    search={
        "pixel_kd.weight": Range(low=0.1, high=30, log=True),
        "pixel_kd.temperature": Choice(choices=(1.0, 2.0, 4.0, 8.0)),
    },
    pulls=KD_PULLS,
    former_pulls=FORMER_KD_PULLS,
    notes={
        "weight, temperature": "stated: 1 and 1 in CIRKD; 10 in SKD, IFVD and CWD, which reduce otherwise",
    },
)
