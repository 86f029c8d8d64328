"""Label maps of images on disk, as files that viewers and other programs read."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kdtrain.data.crops import to_unit
from kdtrain.data.decode import read_image
from kdtrain.data.files import IMAGE_SUFFIXES
from kdtrain.data.palette import colorize
from kdtrain.data.source import Palette, Pixels
from kdtrain.data.walk import walk
from kdtrain.errors import InputError, MissingError
from kdtrain.loop.evaluate import predict
from kdtrain.models.padding import Size

MOST_CLASSES = 256
"""A label map holds ids of 8 bits."""
_MIXED = 0.5
"""How much of an overlay is the color of the class."""


def images_at(places: list[Path]) -> dict[str, Path]:
    """Images by name: files as they are given, and all images below folders.

    Args:
        places: Files and folders.

    Returns:
        The files by the path, without extension, that their results have below the folder of results.

    Raises:
        InputError: If a place does not exist or holds no image, or two results would have one name.
    """
    files: dict[str, Path] = {}
    for place in places:
        if place.is_dir():
            these: Mapping[str, Path] = walk(f"{place}", "images", place, IMAGE_SUFFIXES).files
        elif place.is_file():
            these = {place.stem: place}
        else:
            raise MissingError(f"{place}: there is no such image or folder of images")
        if twice := sorted(files.keys() & these.keys()):
            first = twice[0]
            raise InputError(
                f"{files[first]} and {these[first]} would have one result, {first}.png; give them in two commands with "
                "different --out"
            )
        files |= these
    return files


def resized(file: Path, size: Size) -> Tensor:
    """An image `(1, 3, H, W)` in [0, 1] in another size.

    Raises:
        InputError: If the file is not an image that can be read.
    """
    image = Image.fromarray(read_image(file)).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return to_unit(torch.tensor(np.asarray(image))[None].permute(0, 3, 1, 2)).contiguous()


def label_map(logits_of: Callable[[Tensor], Tensor], image: Pixels, scale: float, device: torch.device) -> Pixels:
    """The class of each pixel.

    Args:
        logits_of: Images `(N, 3, H, W)` in [0, 1] to logits of any size.
        image: RGB `(H, W, 3)`.
        scale: Factor on the image before the network.
        device: Where the network is.

    Returns:
        Ids `(H, W)`, uint8.
    """
    with torch.inference_mode():
        pixels = to_unit(torch.tensor(image, device=device)[None].permute(0, 3, 1, 2))
        return predict(logits_of, pixels, scale)[0].cpu().numpy().astype(np.uint8)


def label_maps(
    logits_of: Callable[[Tensor], Tensor], files: Mapping[str, Path], scale: float, device: torch.device
) -> Iterator[tuple[str, Pixels, Pixels]]:
    """The name, the image and the label map of each file, in order.

    Raises:
        InputError: If a file is not an image that can be read.
    """
    for name, file in files.items():
        image = read_image(file)
        yield name, image, label_map(logits_of, image, scale, device)


def picture(labels: Pixels, palette: Palette) -> Image.Image:
    """A label map as an image of class ids, which viewers show in the colors of the classes."""
    image = Image.fromarray(labels, mode="P")
    image.putpalette([channel for color in palette for channel in color])
    return image


def overlay(image: Pixels, labels: Pixels, palette: Palette) -> Image.Image:
    """The image with the colors of the classes over it."""
    mixed = (1 - _MIXED) * image + _MIXED * colorize(labels, palette)
    return Image.fromarray(mixed.round().astype(np.uint8))
