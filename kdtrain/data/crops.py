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

RECOLORING = 2
"""The version of how colors change; maps of a teacher that saw the pixels of another version are not read."""


class Crops(NamedTuple):
    """A batch of samples before their colors change."""

    images: Tensor
    """RGB, uint8 `(B, h, w, 3)`."""
    labels: Tensor
    """Uint8 `(B, h, w)`."""
    colors: Tensor
    """The weights of `recolored` for each image, float32 `(B, 3)`; `(B, 0)` if colors stay as they are."""

    def with_tensors(self, change: Callable[[Tensor], Tensor]) -> "Crops":
        """The crops with all their tensors changed."""
        return Crops(*map(change, self))


def stacked(pairs: Sequence[tuple[Pixels, Pixels]], colors: Sequence[npt.NDArray[np.float64]]) -> Crops:
    """Samples as a batch.

    Args:
        pairs: RGB `(h, w, 3)` and labels `(h, w)` of each sample, uint8.
        colors: The factors of brightness, contrast and saturation of each, or none.
    """
    images, labels = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*pairs, strict=True))
    return Crops(images, labels, stacked_colors(colors))


def stacked_colors(colors: Sequence[npt.NDArray[np.float64]]) -> Tensor:
    """`Crops.colors` of a batch, from the factors of each sample.

    Light times `brightness`; then each channel away from the gray of its pixel by `saturation`, then from the mean gray
    of its image by `contrast`: all of it is linear in the channel, the gray and the mean gray.
    """
    factors = np.stack(colors)
    if factors.shape[1] == 0:
        return torch.from_numpy(factors.astype(np.float32))
    brightness, contrast, saturation = factors.T
    light = brightness / 255
    of_channel = light * contrast * saturation
    of_gray, of_mean = light * contrast * (1 - saturation) / 3, light * (1 - contrast) / 3
    return torch.from_numpy(np.stack((of_channel, of_gray, of_mean), axis=1).astype(np.float32))


def finished(crops: Crops) -> tuple[Tensor, Tensor]:
    """The samples themselves, made on the device of the crops.

    Returns:
        Images, float32 `(B, 3, h, w)` in [0, 1], in channels-last order, and labels, int64 `(B, h, w)`.
    """
    images, labels = crops.images.permute(0, 3, 1, 2), crops.labels.long()
    if crops.colors.shape[1] == 0:
        return to_unit(images), labels
    if images.device.type != "cpu":
        return recolored(images.float(), *crops.colors.T[:, :, None, None, None]), labels
    pixels = torch.empty(images.shape, memory_format=torch.channels_last)
    # One by one, in the same memory: the planes of one image stay in a cache, and operations on contiguous planes are
    # vectorized.
    planes = torch.empty(images.shape[1:])
    gray = torch.empty_like(planes[:1])
    for image, of_image, weights in zip(images, pixels, crops.colors, strict=True):
        of_image.copy_(recolored(planes.copy_(image), *weights, gray=gray))
    return pixels, labels


def to_unit(images: Tensor) -> Tensor:
    """Float32 values in [0, 1] of uint8 values."""
    return images.to(torch.float32).div_(255)


def recolored(
    images: Tensor, of_channel: Tensor, of_gray: Tensor, of_mean: Tensor, *, gray: Tensor | None = None
) -> Tensor:
    """The weighted sum of each channel, its pixel's gray and its image's mean gray, cut to [0, 1].

    Args:
        images: Float32 `(..., 3, h, w)` in [0, 255]; they are changed in place.
        of_channel: The weight of a channel, or one for each image; likewise the other two.
        of_gray: The weight of the sum of a pixel's three channels.
        of_mean: The weight of the mean of these sums in an image.
        gray: Memory for the grays, float32 `(..., 1, h, w)`.
    """
    red, green, blue = images.split(1, dim=-3)
    gray = torch.add(red, green, out=gray).add_(blue)
    mean = gray.mean(dim=(-3, -2, -1), keepdim=True)
    gray.mul_(of_gray).add_(mean.mul_(of_mean))
    return torch.addcmul(gray, images, of_channel, out=images).clamp_(0, 1)
