"""Crops on their way to the device: bytes as they lie in a store until they are there, where their colors are changed.

This is the one definition of the pixels that a network sees, for samples that are made and for recorded ones.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdtrain.data.source import Pixels


class Crops(NamedTuple):
    """A batch of samples before their colors change."""

    images: Tensor
    """RGB, uint8 `(B, h, w, 3)`."""
    labels: Tensor
    """Uint8 `(B, h, w)`."""
    colors: Tensor
    """The factors of brightness, contrast and saturation, float32 `(B, 3)`; `(B, 0)` if colors stay as they are."""

    def with_tensors(self, change: Callable[[Tensor], Tensor]) -> "Crops":
        """The crops with all their tensors changed."""
        return Crops(*map(change, self))


def stacked(pairs: Sequence[tuple[Pixels, Pixels]], colors: Sequence[npt.NDArray[np.float64]]) -> Crops:
    """Samples as a batch.

    Args:
        pairs: RGB `(h, w, 3)` and labels `(h, w)` of each sample, uint8.
        colors: The three factors of each, or none.
    """
    images, labels = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*pairs, strict=True))
    return Crops(images, labels, stacked_colors(colors))


def stacked_colors(colors: Sequence[npt.NDArray[np.float64]]) -> Tensor:
    """`Crops.colors` of a batch, from the factors of each sample."""
    return torch.from_numpy(np.stack(colors).astype(np.float32))


def finished(crops: Crops) -> tuple[Tensor, Tensor]:
    """The samples themselves, made on the device of the crops.

    Returns:
        Images, float32 `(B, 3, h, w)` in [0, 1], in channels-last order, and labels, int64 `(B, h, w)`.
    """
    images, labels = crops.images.permute(0, 3, 1, 2), crops.labels.long()
    if crops.colors.shape[1] == 0:
        return to_unit(images), labels
    if images.device.type != "cpu":
        return recolored(to_unit(images), *crops.colors.T[:, :, None, None, None]), labels
    pixels = torch.empty(images.shape, memory_format=torch.channels_last)
    # One by one: the planes of one image fit into a cache, and operations on contiguous planes are vectorized.
    for image, of_image, factors in zip(images, pixels, crops.colors.tolist(), strict=True):
        of_image.copy_(recolored(to_unit(image, torch.contiguous_format), *factors))
    return pixels, labels


def to_unit(images: Tensor, memory_format: torch.memory_format = torch.preserve_format) -> Tensor:
    """Float32 values in [0, 1] of uint8 values."""
    return images.to(torch.float32, memory_format=memory_format).div_(255)


def recolored(
    images: Tensor, brightness: float | Tensor, contrast: float | Tensor, saturation: float | Tensor
) -> Tensor:
    """Light times `brightness`, then away from each pixel's gray, then away from the mean gray, cut to [0, 1].

    Args:
        images: Float32 `(..., 3, h, w)` in [0, 1], contiguous; they are changed in place.
        brightness: A factor, or one for each image; likewise the other two.
        contrast: How far from the mean gray of its image a pixel is, beside how far it was.
        saturation: How far from the gray of its pixel a channel is, beside how far it was.
    """
    images.mul_(brightness)
    red, green, blue = images.split(1, dim=-3)
    gray = (red + green).add_(blue).div_(3)
    torch.lerp(gray, images, saturation, out=images)
    return torch.lerp(gray.mean(dim=(-3, -2, -1), keepdim=True), images, contrast, out=images).clamp_(0, 1)
