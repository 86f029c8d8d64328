"""A trained network with what surrounds it, as one module of tensors that other runtimes take."""

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
from kdtrain.models.padding import Size, cut_back, padded

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

    It computes what the network gives at evaluation: images are padded as the network needs it, logits are cut back
    and, but for `raw`, resized bilinearly with aligned corners.

    Args:
        network: In evaluation mode; a pass has shown to which size images of this one are padded.
        inside: What is computed besides.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: TappedNetwork, inside: Inside) -> None:
        super().__init__()
        self.net, self.inside = network.net, inside
        self.padded_to = network.padded_size(inside.size)
        self.register_buffer("mean", network.mean.clone(), persistent=False)
        self.register_buffer("std", network.std.clone(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """The output for images."""
        logits = self.logits(images)
        return logits.argmax(dim=1) if self.inside.output == "classes" else logits

    def logits(self, images: Tensor) -> Tensor:
        """The logits for images: in their size, or as the network gives them."""
        inputs = (images - self.mean) / self.std if self.inside.normalize else images
        if not self.inside.dynamic:
            inputs = padded(inputs, self.padded_to)
        logits = maps_of(self.net(inputs), "the network")[LOGITS]
        if not self.inside.dynamic and self.padded_to != self.inside.size:
            logits = cut_back(logits, self.inside.size, self.padded_to)
        if self.inside.output == "raw":
            return logits
        size = (images.shape[-2], images.shape[-1])
        return functional.interpolate(logits, size=size, mode="bilinear", align_corners=True)


def ready(network: TappedNetwork, inside: Inside) -> tuple[Deployed, Tensor]:
    """The module of a network, and images of noise that it takes, `(2, 3, H, W)`.

    Args:
        network: In evaluation mode.
        inside: What the module computes besides.

    Raises:
        InputError: If images of a dynamic size would have to be padded.
    """
    if isinstance(network, MappedNetwork):
        raise InputError("a network whose classes are mapped to those of other data can teach, but not be exported")
    example = noise(inside)
    with torch.inference_mode():
        network.logits(example)
    module = Deployed(network, inside).eval()
    if inside.dynamic and module.padded_to != inside.size:
        height, width = module.padded_to
        raise InputError(
            f"--dynamic: height and width must be multiples that this network takes without padding, such as {height} "
            f"{width}, got {inside.height} {inside.width}"
        )
    return module, example


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
    """Images whose sides are multiples of this need no padding."""
    return network.divisor
