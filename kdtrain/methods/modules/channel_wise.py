"""The module of CWD where the loss is divided by the channels before the adapter."""

from torch import Tensor

from kdtrain.methods.modules.base import TermInput, TermModule


class Rescaled(TermModule):
    """A module whose value is multiplied by a constant."""

    def __init__(self, inner: TermModule, factor: float) -> None:
        super().__init__()
        self.inner, self.factor = inner, factor

    def forward(self, taps: TermInput) -> Tensor:
        """Return the multiple."""
        loss: Tensor = self.factor * self.inner(taps)
        return loss
