"""A frozen network with a trained head on one of its layers: what an encoder that knows no classes needs to predict."""

from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from kdtrain.config_base import Strict
from kdtrain.models.network import Network
from kdtrain.models.normalization import NO_NORMALIZATION
from kdtrain.models.outputs import LOGITS
from kdtrain.models.tapped import TappedNetwork

Head = Literal["linear", "light"]
"""`linear`: a 1 x 1 convolution. `light`: a hidden 1 x 1 and a hidden 3 x 3 convolution before it."""


class Probed(Strict):
    """The options of a network with arch `probed`."""

    network: Network
    """The frozen network."""
    classes: int = Field(default=0, ge=0)
    """Of the frozen network; 0 for an encoder that knows none."""
    layer: str = "features"
    """The layer that the head sees."""
    head: Head = "linear"
    """What is trained; batch norm without weights comes before it, so that the scale of the layer does not matter."""
    width: int = Field(default=256, gt=0)
    """Hidden channels of the head `light`."""


class ProbedNetwork(TappedNetwork):
    """A network whose logits are those of a head, in the size of the head's layer; it has the layers of the frozen one.

    Args:
        frozen: The frozen network, which normalizes and pads images itself.
        config: Of the head.
        channels: Of the layer that the head sees.
        num_classes: Channels of the logits.
    """

    def __init__(self, frozen: TappedNetwork, config: Probed, channels: int, num_classes: int) -> None:
        super().__init__(Probe(frozen, config, channels, num_classes), *NO_NORMALIZATION)
        self._probe_layer = config.layer
        self.tap(())

    def tap(self, layers: Iterable[str]) -> "ProbedNetwork":
        """Choose the layers that `forward` hands out besides the logits.

        Raises:
            InputError: If the frozen network has no such layer.
        """
        self._layers = tuple(layer for layer in dict.fromkeys(layers) if layer != LOGITS)
        frozen: TappedNetwork = self.net.frozen  # type: ignore[assignment]
        frozen.tap((self._probe_layer, *self._layers))
        return self

    def _read(self, output: dict[str, Tensor]) -> dict[str, Tensor]:  # type: ignore[override]
        return {layer: output[layer] for layer in (*self._layers, LOGITS)}


class Probe(nn.Module):
    """A frozen network and the head on one of its layers."""

    def __init__(self, frozen: TappedNetwork, config: Probed, channels: int, num_classes: int) -> None:
        super().__init__()
        self.frozen = frozen.eval().requires_grad_(False)
        self.head = _head(config, channels, num_classes)
        self._layer = config.layer

    def train(self, mode: bool = True) -> "Probe":
        """Set the mode of the head; the frozen network always evaluates."""
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The maps of the frozen network, with the logits of the head."""
        with torch.no_grad():
            maps: dict[str, Tensor] = self.frozen(images)
        return maps | {LOGITS: self.head(maps[self._layer])}


def _head(config: Probed, channels: int, num_classes: int) -> nn.Sequential:
    scaled = nn.BatchNorm2d(channels, affine=False)
    if config.head == "linear":
        return nn.Sequential(scaled, nn.Conv2d(channels, num_classes, 1))
    width = config.width
    return nn.Sequential(
        scaled,
        *(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
        *(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
        nn.Conv2d(width, num_classes, 1),
    )
