"""A trained network with what surrounds it, as one module of tensors that other runtimes take."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from kdtrain.config_base import Strict
from kdtrain.errors import InputError
from kdtrain.models import TappedNetwork
from kdtrain.models.mapped import MappedNetwork
from kdtrain.models.outputs import LOGITS, maps_of
from kdtrain.models.padding import Size, cut_back, padded, rounded_up
from kdtrain.models.scaling import ratio_of, resized, scaled_size

Output = Literal["classes", "logits", "raw"]
_MOST_SIDE = 8192
_MOST_BATCH = 1024
IMAGES = "images"
"""The name of the input of an exported file."""
Side = Field(ge=1, le=_MOST_SIDE)


class Inside(Strict):
    """What an exported file computes besides the network, and which images it takes."""

    height: int = Side
    """Of the images, in pixels; with `dynamic` of the example alone."""
    width: int = Side
    dynamic: bool = False
    """Whether height and width may differ from call to call; their multiples are then those that need no padding."""
    normalize: bool = True
    """Whether it takes RGB in [0, 1] and normalizes; otherwise images must be normalized already."""
    output: Output = "classes"
    """`classes`: ids `(N, H, W)`, int64; `logits`: `(N, C, H, W)` in the size of the images; `raw`: `(N, C, h, w)` as
    the network gives them."""

    @property
    def size(self) -> Size:
        """Height and width."""
        return (self.height, self.width)


class Deployed(nn.Module):
    """From images `(N, 3, H, W)`, float32, to what `Inside.output` says.

    It computes what the network gives at evaluation: images are resized by the scale of the network and padded as it
    needs it, logits are cut back and, but for `raw`, resized bilinearly with aligned corners.

    Args:
        network: In evaluation mode; a pass has shown to which size images of this one are padded.
        inside: What is computed besides.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: TappedNetwork, inside: Inside) -> None:
        super().__init__()
        self.net, self.inside = network.net, inside
        self.scale = ratio_of(network.scale)
        self.seen = scaled_size(inside.size, network.scale)
        self.padded_to = network.padded_size(inside.size)
        self.register_buffer("mean", network.mean.clone(), persistent=False)
        self.register_buffer("std", network.std.clone(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """The output for images."""
        logits = self.logits(images)
        return logits.argmax(dim=1) if self.inside.output == "classes" else logits

    def logits(self, images: Tensor) -> Tensor:
        """The logits for images: in their size, or as the network gives them."""
        size = (images.shape[-2], images.shape[-1])
        inputs = images if self.scale == 1 else resized(images, self._seen_of(size))
        if self.inside.normalize:
            inputs = (inputs - self.mean) / self.std
        if not self.inside.dynamic:
            inputs = padded(inputs, self.padded_to)
        logits = maps_of(self.net(inputs), "the network")[LOGITS]
        if not self.inside.dynamic and self.padded_to != self.seen:
            logits = cut_back(logits, self.seen, self.padded_to)
        if self.inside.output == "raw":
            return logits
        return functional.interpolate(logits, size=size, mode="bilinear", align_corners=True)

    def _seen_of(self, size: Size) -> Size:
        """The size to which images are resized; dynamic sides are multiples at which this is exact."""
        if not self.inside.dynamic:
            return self.seen
        height, width = (side * self.scale.numerator // self.scale.denominator for side in size)
        return height, width


def ready(network: TappedNetwork, inside: Inside) -> tuple[Deployed, Tensor]:
    """The module of a network, and images of noise that it takes, `(2, 3, H, W)`.

    Args:
        network: In evaluation mode.
        inside: What the module computes besides.

    Raises:
        InputError: If images of a dynamic size would have to be padded, or their resized sides would not be whole.
    """
    if isinstance(network, MappedNetwork):
        raise InputError("a network whose classes are mapped to those of other data can teach, but not be exported")
    example = noise(inside)
    with torch.inference_mode():
        network.logits(example)
    module = Deployed(network, inside).eval()
    if not inside.dynamic:
        return module, example
    _check_dynamic(network, module)
    least = 2 * multiple_of(network)  # torch takes a side of one multiple for one that never changes
    larger = inside.model_copy(update={"height": max(inside.height, least), "width": max(inside.width, least)})
    return module, noise(larger)


def _check_dynamic(network: TappedNetwork, module: Deployed) -> None:
    """Raise InputError if images of the size of the example would have to be padded, or resized to broken sides."""
    step, size = multiple_of(network), module.inside.size
    if step > _MOST_SIDE:
        raise InputError(
            f"--dynamic: images whose sides a scale of {network.scale:g} makes whole multiples of {network.divisor} "
            f"are larger than {_MOST_SIDE} pixels; leave --dynamic out"
        )
    if module.padded_to != module.seen or any(side % step for side in size):
        height, width = (rounded_up(math.ceil(side / module.scale), step) for side in module.padded_to)
        raise InputError(
            f"--dynamic: height and width must be multiples that this network takes without padding, such as {height} "
            f"{width}, got {size[0]} {size[1]}"
        )


def shapes(network: TappedNetwork, inside: Inside) -> dict[str, dict[int, Any]]:
    """Which sides of the input may differ from call to call, as `torch.export` takes it."""
    axes: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=_MOST_BATCH)}
    if inside.dynamic:
        step = multiple_of(network)
        sides = (torch.export.Dim(name, min=1, max=_MOST_SIDE // step) for name in ("height", "width"))
        axes |= {2 + i: step * side if step > 1 else side for i, side in enumerate(sides)}
    return {IMAGES: axes}


@contextmanager
def exporting(kind: str, inside: Inside) -> Iterator[None]:
    """Turn whatever an exporter raises into one sentence.

    Args:
        kind: Of the file.
        inside: What is exported.

    Raises:
        InputError: If the graph cannot be exported.
        OSError: If the file cannot be written.
    """
    try:
        yield
    except OSError:  # of the disk, and not of the graph
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        todo = "; leave --dynamic out" if inside.dynamic else ""
        raise InputError(f"the graph of this network cannot be exported to {kind}{todo}: {reason}") from error


def noise(inside: Inside) -> Tensor:
    """Images of noise, `(2, 3, H, W)`, always the same."""
    return torch.rand(2, 3, *inside.size, generator=torch.Generator().manual_seed(0))


def multiple_of(network: TappedNetwork) -> int:
    """Images whose sides are multiples of this need no padding, and have whole sides once they are resized."""
    ratio = ratio_of(network.scale)
    return ratio.denominator * network.divisor // math.gcd(ratio.numerator, ratio.denominator * network.divisor)
