"""The config of a network."""

import json
from typing import Any

from pydantic import Field, field_validator

from kdtrain.config_base import Strict

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
ENSEMBLE = "ensemble"


class Network(Strict):
    """A segmentation network: its architecture and its starting weights."""

    arch: str = "FPN"
    """An architecture of segmentation-models-pytorch (`Unet`, `FPN`, `DeepLabV3Plus`, ...), or
    `module:function` of your own, called as `function(num_classes=..., **options)`; teachers made by
    `kdsweep teacher ensemble` are `ensemble`."""
    encoder: str = "tu-mobilenetv3_small_050"
    """An encoder of segmentation-models-pytorch, or any of timm's as `tu-<name>`; not used by
    `module:function` and `ensemble`."""
    weights: str = "none"
    """`none`, `library` (the encoder weights that the library publishes, taken from the machine's weights
    folder where they lie there), or the path of a safetensors file."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further keyword arguments of the architecture."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Mean of RGB in [0, 1] by channel, which is subtracted from the image."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Standard deviation of RGB by channel, by which the difference is divided."""

    @field_validator("options", mode="before")
    @classmethod
    def _plain(cls, value: object) -> object:
        try:
            return json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"must be values that JSON can hold ({error}), got {value!r}") from None

    @field_validator("std")
    @classmethod
    def _positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if min(value) <= 0:
            raise ValueError(f"must be positive, got {list(value)}")
        return value

    @property
    def is_custom(self) -> bool:
        """Whether the network is a function of the user's."""
        return ":" in self.arch

    @property
    def is_ensemble(self) -> bool:
        """Whether the network is made of other networks."""
        return self.arch == ENSEMBLE

    @property
    def title(self) -> str:
        """The name in reports."""
        if self.is_ensemble:
            members = self.options.get("members", ())
            return f"ensemble of {', '.join(Network.model_validate(member).title for member in members)}"
        return self.arch if self.is_custom else f"{self.arch} {self.encoder}"
