"""Colors of classes, and pictures of label maps."""

import colorsys
import re
from collections.abc import Iterable

import numpy as np

from kdtrain.data.source import Palette, Pixels
from kdtrain.errors import InputError

_HEX = re.compile(r"#[0-9a-fA-F]{6}")


def distinct_colors(count: int) -> Palette:
    """Colors that are easy to tell apart: steps of the golden ratio around the color wheel."""
    colors = []
    for i in range(count):
        hue, value = (i * 0.618034) % 1.0, (0.95, 0.75, 0.55)[i % 3]
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.65, value)
        colors.append((round(red * 255), round(green * 255), round(blue * 255)))
    return tuple(colors)


def parse_colors(colors: Iterable[str]) -> Palette:
    """Read colors written `#rrggbb`."""
    return tuple((int(c[1:3], 16), int(c[3:5], 16), int(c[5:7], 16)) for c in map(normal_color, colors))


def color_text(color: Iterable[int]) -> str:
    """A color written `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def normal_color(color: str) -> str:
    """A color written `#rrggbb`, in lower case; InputError if it is written otherwise."""
    if not _HEX.fullmatch(color):
        raise InputError(f"a color is written #rrggbb, got {color!r}")
    return color.lower()


def colorize(labels: Pixels, palette: Palette, ignored: tuple[int, int, int] = (0, 0, 0)) -> Pixels:
    """A picture `(H, W, 3)` of a label map `(H, W)`: each class in its color, all other ids in `ignored`."""
    table = np.full((256, 3), ignored, dtype=np.uint8)
    table[: len(palette)] = palette
    return table[labels]
