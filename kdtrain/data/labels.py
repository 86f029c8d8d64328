"""Image and label files: how they are decoded, and what a label file's ids or colors mean."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from kdtrain.data.source import IGNORE, Pixels
from kdtrain.errors import InputError

Color = tuple[int, int, int]


class LabelMeaning(Protocol):
    """How label files become train ids."""

    key: bytes
    """Differs whenever the meaning does; a part of the data's digest."""

    def decode(self, file: Path) -> Pixels:
        """What the file holds, `(H, W)` or `(H, W, 3)`."""
        ...

    def apply(self, raw: Pixels, file: Path) -> Pixels:
        """Train ids `(H, W)`, 255 ignored, of what `decode` returned; InputError for what has no meaning."""
        ...


class LabelIds:
    """What the ids in label files mean: file id -> train id, ignored, or a mistake."""

    def __init__(self, classes: int, ids: Mapping[int, int] | None = None, ignore: Iterable[int] = ()) -> None:
        """Map ids by `ids` (default: 0 to classes - 1 as they are); `ignore` and 255 are ignored."""
        mapping = dict(ids) if ids else {i: i for i in range(classes)}
        self._table = np.full(256, -1, dtype=np.int16)
        self._table[[*ignore, IGNORE]] = IGNORE
        self._table[list(mapping)] = list(mapping.values())
        self.key = self._table.tobytes()

    def decode(self, file: Path) -> Pixels:
        """The ids, as they are in the file; of a palette image its indices."""
        with open_image(file) as image:
            if image.mode not in ("L", "P"):
                raise InputError(
                    f"the label map {file} must be 8-bit with one channel of class ids (mode L or P), "
                    f"got the mode {image.mode}"
                )
            return np.asarray(image)

    def apply(self, raw: Pixels, file: Path) -> Pixels:
        """Train ids of the ids found in a file."""
        mapped = self._table[raw]
        if mapped.min(initial=0) < 0:
            wrong = np.unique(raw[mapped < 0])
            raise InputError(f"the label map {file} holds the id {few(wrong)}, allowed are {_ranges(self._table >= 0)}")
        return mapped.astype(np.uint8)


class LabelColors:
    """What the colors in label files mean: color -> train id, or 255 for ignored."""

    def __init__(self, ids: Mapping[Color, int]) -> None:
        """Each color that is allowed, with its train id."""
        codes = sorted((_code(np.asarray(color)).item(), train_id) for color, train_id in ids.items())
        self._codes = np.array([code for code, _ in codes], dtype=np.int32)
        self._ids = np.array([train_id for _, train_id in codes], dtype=np.uint8)
        self.key = self._codes.tobytes() + self._ids.tobytes()

    def decode(self, file: Path) -> Pixels:
        """The colors `(H, W, 3)`."""
        with open_image(file) as image:
            if image.mode not in ("RGB", "RGBA", "P"):
                raise InputError(f"the label map {file} must be in colors (mode RGB), got the mode {image.mode}")
            return np.asarray(image.convert("RGB"))

    def apply(self, raw: Pixels, file: Path) -> Pixels:
        """Train ids of the colors found in a file."""
        codes = _code(raw)
        place = np.searchsorted(self._codes, codes).clip(max=len(self._codes) - 1)
        unknown = self._codes[place] != codes
        if unknown.any():
            wrong = [f"#{code:06x}" for code in np.unique(codes[unknown])]
            raise InputError(f"the label map {file} holds the color {few(wrong)}, which stands for no class")
        train_ids: Pixels = self._ids[place]
        return train_ids


def read_image(file: Path) -> Pixels:
    """An image as RGB `(H, W, 3)`."""
    with open_image(file) as image:
        return np.asarray(image.convert("RGB"))


def open_image(file: Path) -> Image.Image:
    """A file, decoded; InputError where that cannot be done."""
    try:
        image = Image.open(file)
        image.load()
    except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"cannot read the image file {file}: {error}") from None
    return image


def few(names: Iterable[object]) -> str:
    """The first three names, for a sentence."""
    shown = [str(name) for name in names]
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")


def _code(colors: Pixels) -> np.ndarray:
    """`(..., 3)` as one number each, 0xrrggbb."""
    wide = colors.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _ranges(allowed: np.ndarray) -> str:
    ids = np.flatnonzero(allowed)
    runs = np.split(ids, np.flatnonzero(np.diff(ids) > 1) + 1)
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in runs)
