"""Random views of a training image: pure functions of (data seed, epoch, index)."""

from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field, field_validator

from kdtrain.config_base import Strict
from kdtrain.data.source import IGNORE, Pixels
from kdtrain.data.store import Images
from kdtrain.runtime.random_streams import numpy_rng

if TYPE_CHECKING:
    from torch import Tensor

GRAY = 128
Draws = npt.NDArray[np.float64]
Side = Annotated[int, Field(ge=1)]
Factor = Annotated[float, Field(gt=0)]


class Augment(Strict):
    """How training images are varied."""

    crop: tuple[Side, Side] | None = None
    """Height and width in pixels of what the network sees; by default those of the stored image."""
    scale: tuple[Factor, Factor] = (1.0, 1.0)
    """Lowest and highest factor by which the stored image is resized before the crop, drawn uniformly."""
    flip: float = Field(default=0.5, ge=0, le=1)
    """Probability of a horizontal flip."""
    photometric: float = Field(default=0.0, ge=0, le=1)
    """Brightness, contrast and saturation are each multiplied by up to 1 plus or minus this; 0 is off."""

    @field_validator("scale")
    @classmethod
    def _ordered(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if scale[0] > scale[1]:
            raise ValueError(f"scale is (lowest, highest), got {scale}")
        return scale


def augmented(
    images: Images,
    index: int,
    augment: Augment,
    data_seed: int,
    epoch: int,
    stream: tuple[str | int, ...] = ("augment",),
) -> tuple["Tensor", "Tensor"]:
    """The view of image `index` in an epoch; `stream` names the randomness that it is drawn with.

    Returns:
        The image, float32 `(3, h, w)` in [0, 1], and its labels, int64 `(h, w)`. Where the crop reaches
        beyond the image, the view is gray and its labels are 255.
    """
    from kdtrain.data.crops import finished, stacked

    draws = drawn(data_seed, epoch, index, stream)
    pixels, labels = finished(stacked([cut_out(images, index, augment, draws)], [color_factors(augment, draws)]))
    return pixels[0].contiguous(), labels[0]


def drawn(data_seed: int, epoch: int, index: int, stream: tuple[str | int, ...] = ("augment",)) -> Draws:
    """The random numbers of one view: all of them whatever the options, so that no option shifts another's."""
    return numpy_rng(data_seed, *stream, epoch, index).random(7)


def cut_out(images: Images, index: int, augment: Augment, draws: Draws) -> tuple[Pixels, Pixels]:
    """All that moves pixels, flips included: RGB `(h, w, 3)` and labels `(h, w)`, uint8."""
    image, labels = images.get(index)
    height, width = augment.crop or labels.shape
    low, high = augment.scale
    scale = low + (high - low) * draws[0]
    # Cutting the window out of the stored image first means that only its pixels are resized.
    rows = _window(labels.shape[0], round(height / scale), draws[1])
    cols = _window(labels.shape[1], round(width / scale), draws[2])
    image, labels = _cut(image, rows, cols, GRAY), _cut(labels, rows, cols, IGNORE)
    if labels.shape != (height, width):
        image, labels = _resized(image, labels, height, width)
    return (image[:, ::-1], labels[:, ::-1]) if draws[3] < augment.flip else (image, labels)


def color_factors(augment: Augment, draws: Draws) -> Draws:
    """The factors of brightness, contrast and saturation; none if colors stay as they are."""
    return 1 + augment.photometric * (2 * draws[4:] - 1) if augment.photometric > 0 else np.empty(0)


def _window(size: int, want: int, draw: float) -> tuple[int, int]:
    """First and last + 1 of `want` >= 1 pixels at a random place; beyond the image if it is smaller."""
    want = max(want, 1)
    start = min(size, want) - want + int(draw * (abs(size - want) + 1))
    return start, start + want


def _cut(array: Pixels, rows: tuple[int, int], cols: tuple[int, int], fill: int) -> Pixels:
    height, width = array.shape[:2]
    top, bottom, left, right = max(rows[0], 0), min(rows[1], height), max(cols[0], 0), min(cols[1], width)
    inside = array[top:bottom, left:right]
    if inside.shape[:2] == (rows[1] - rows[0], cols[1] - cols[0]):
        return inside
    out = np.full((rows[1] - rows[0], cols[1] - cols[0], *array.shape[2:]), fill, dtype=np.uint8)
    out[top - rows[0] : bottom - rows[0], left - cols[0] : right - cols[0]] = inside
    return out


def _resized(image: Pixels, labels: Pixels, height: int, width: int) -> tuple[Pixels, Pixels]:
    """Image bilinear (antialiased when it shrinks), labels nearest; pixel centres at half-integers."""
    small = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    rows = ((np.arange(height) + 0.5) * (labels.shape[0] / height)).astype(np.intp)
    cols = ((np.arange(width) + 0.5) * (labels.shape[1] / width)).astype(np.intp)
    return np.asarray(small), labels[rows[:, None], cols]
