"""A network of segmentation-models-pytorch with an auxiliary head on an inner stage of its encoder, as PSPNet has."""

from typing import Any

import segmentation_models_pytorch as smp
from torch import Tensor, nn

STAGE = -2
"""Of the encoder's maps: the last but one, as in the networks of the papers."""


class WithAux(nn.Module):
    """Args: see `segmentation_models_pytorch.create_model`."""

    def __init__(self, num_classes: int, architecture: str, encoder: str, **options: Any) -> None:
        super().__init__()
        self.network = smp.create_model(architecture, encoder, encoder_weights=None, classes=num_classes, **options)
        channels = self.network.encoder.out_channels[STAGE]
        self.head = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, num_classes, 1),
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits before they are resized as `out`, those of the auxiliary head as `aux`."""
        maps = self.network.encoder(images)
        logits = self.network.segmentation_head[0](self.network.decoder(maps))
        return {"out": logits, "aux": self.head(maps[STAGE])}
