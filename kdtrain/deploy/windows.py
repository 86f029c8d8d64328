"""Logits of a large image, averaged over windows that slide over it."""

import math
from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from kdtrain.config_base import Strict


class Window(Strict):
    """A window that slides over an image from left to right and from top to bottom."""

    height: int = Field(ge=1)
    """In pixels of the image that the network sees; an image that is smaller is seen whole."""
    width: int = Field(ge=1)
    overlap: float = Field(default=0.5, ge=0, le=0.9)
    """The part of a window's side that the next window covers again, at least: windows are spread evenly."""


def windowed(logits_of: Callable[[Tensor], Tensor], window: Window) -> Callable[[Tensor], Tensor]:
    """A network that sees an image through a window.

    Args:
        logits_of: Images `(N, 3, h, w)` in [0, 1] to logits `(N, C, h', w')` of any size.
        window: The window.

    Returns:
        The same for images `(N, 3, H, W)` of any size, with logits `(N, C, H, W)`: at each pixel the mean over the
        windows that cover it.
    """

    def slide(images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        total, covered = torch.zeros(()), torch.zeros(height, width, device=images.device)
        for top in starts(height, window.height, window.overlap):
            for left in starts(width, window.width, window.overlap):
                place = (..., slice(top, top + window.height), slice(left, left + window.width))
                part = images[place]
                logits = logits_of(part.contiguous(memory_format=torch.channels_last)).float()
                if total.ndim == 0:
                    total = logits.new_zeros((*logits.shape[:2], height, width))
                size = (part.shape[-2], part.shape[-1])
                total[place] += functional.interpolate(logits, size=size, mode="bilinear", align_corners=True)
                covered[place] += 1
        return total / covered

    return slide


def starts(side: int, window: int, overlap: float) -> list[int]:
    """Where the windows begin along a side: as few as cover it with the overlap, evenly spread."""
    if window >= side:
        return [0]
    count = 1 + math.ceil((side - window) / max(1, math.floor(window * (1 - overlap))))
    return [round(i * (side - window) / (count - 1)) for i in range(count)]
