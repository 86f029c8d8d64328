"""To which sizes images are padded for a network that does not take every size."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

Size = tuple[int, int]
"""Height and width."""
_USUAL = (2, 4, 7, 8, 14, 16, 28, 32)
"""The strides of encoders, and the patches of vision transformers."""
_RARE = (12, 20, 24, 48, 64, 128)
"""Multiples that few networks need: tried last."""


def padded_sizes(size: Size, net: nn.Module, divisor: int) -> Iterator[Size]:
    """The sizes to which an image may be padded, in the order in which they are tried.

    First the multiple that is known to be needed, and then, from small to large, the multiples that networks usually
    need and the patches that this network has. Of these, sizes of which more than half would be padding
    are left out.

    Args:
        size: Of the image.
        net: The network.
        divisor: The multiple that is known to be needed.
    """
    known = (rounded_up(size[0], divisor), rounded_up(size[1], divisor))
    yield known
    seen = {known}
    for multiple in (*sorted({*_USUAL, *_patches(net)}), *_RARE):
        padded = (rounded_up(size[0], multiple), rounded_up(size[1], multiple))
        if padded not in seen and math.prod(padded) <= 2 * math.prod(size):
            seen.add(padded)
            yield padded


def padded(images: Tensor, size: Size) -> Tensor:
    """Images `(N, C, H, W)` with zeros to the right and below, up to `size`."""
    height, width = images.shape[-2:]
    if (height, width) == size:
        return images
    return functional.pad(images, (0, size[1] - width, 0, size[0] - height))


def cut_back(value: Tensor, image: Size, padded_to: Size) -> Tensor:
    """The part of a map `(N, C, h, w)` that shows the image which was padded."""
    height, width = value.shape[-2:]
    rows, columns = (round(side * of / to) for side, of, to in zip((height, width), image, padded_to, strict=True))
    return value[..., : max(1, rows), : max(1, columns)]


def size_remedy(error: Exception) -> str:
    """The end of a sentence about a network that takes images of one size alone; empty for other errors."""
    if "match model" not in str(error):  # as timm says it
        return ""
    return (
        "; set train.augment.crop and take images of this size, or let the encoder take all sizes by an option "
        "(strict_img_size: false or dynamic_img_size: true)"
    )


def _patches(net: nn.Module) -> set[int]:
    """The sides of the patches into which parts of a network cut an image."""
    sides: set[int] = set()
    for module in net.modules():
        patch = getattr(module, "patch_size", None)
        for side in patch if isinstance(patch, list | tuple | torch.Size) else (patch,):
            if isinstance(side, int) and not isinstance(side, bool) and 1 < side <= 64:
                sides.add(side)
    return sides


def rounded_up(side: int, multiple: int) -> int:
    """The least multiple that is not below a side."""
    return side + -side % multiple
