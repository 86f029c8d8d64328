"""Images in another size, by a factor on their sides."""

from fractions import Fraction

from torch import Tensor
from torch.nn import functional

from kdtrain.models.padding import Size


def scaled_size(size: tuple[int, ...], factor: float) -> Size:
    """Height and width of an image whose sides are multiplied by a factor; whole pixels, at least one."""
    height, width = (max(1, round(side * factor)) for side in size[:2])
    return height, width


def scaled(images: Tensor, factor: float) -> Tensor:
    """Images `(N, C, H, W)` whose sides are multiplied by a factor: bilinear, with antialiasing where they shrink."""
    return images if factor == 1 else resized(images, scaled_size(images.shape[-2:], factor))


def resized(images: Tensor, size: Size) -> Tensor:
    """Images `(N, C, H, W)` in a size: bilinear, with antialiasing where they shrink."""
    return functional.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)


def ratio_of(factor: float) -> Fraction:
    """A factor as it is written, in whole numbers: 0.7 is 7/10."""
    return Fraction(repr(factor))
