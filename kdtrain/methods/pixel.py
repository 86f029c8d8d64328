"""KD: Hinton, Vinyals, Dean. Distilling the Knowledge in a Neural Network. arXiv 1503.02531, 2015."""

from typing import Literal

from torch import Tensor

from kdtrain.losses import pixel_kd
from kdtrain.losses.pixel import PixelReduction
from kdtrain.methods.base import Method, Temperature, Term, TermInput
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Choice, Range


class PixelKd(Term):
    """KL between the class distributions of every pixel."""

    loss: Literal["pixel_kd"] = "pixel_kd"
    temperature: Temperature = 1.0
    reduction: PixelReduction = "mean"
    mask_ignored: bool = False

    @property
    def equal_channels(self) -> bool:
        """Both maps hold the same classes."""
        return True

    def value(self, taps: TermInput) -> Tensor:
        """Return the value in the chosen code's units."""
        return pixel_kd(
            *taps.pair(),
            self.temperature,
            reduction=self.reduction,
            labels=taps.labels if self.mask_ignored else None,
            ignore_index=taps.ignore_index,
        )


KD = Method(
    name="kd",
    title="Pixel-wise KD",
    citation="Hinton, Vinyals, Dean. Distilling the Knowledge in a Neural Network. arXiv:1503.02531, 2015.",
    terms=(CrossEntropy(), PixelKd()),
    search={
        "pixel_kd.weight": Range(low=0.1, high=30, log=True),
        "pixel_kd.temperature": Choice(choices=(1.0, 2.0, 4.0, 8.0)),
    },
    notes={
        "weight, temperature": "stated: 1 and 1 in CIRKD; 10 in SKD, IFVD and CWD, which reduce otherwise",
        "reduction": "stated: T^2 times the mean over pixels, as in CIRKD; those of other codes are options",
        "mask_ignored": "inferred: no public code leaves ignored pixels out of the KL",
    },
)
