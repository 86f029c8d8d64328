"""What the ids or colors in label files mean."""

from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Protocol

import numpy as np

from kdtrain.data.decode import Color, read_colors, read_ids
from kdtrain.data.palette import color_text
from kdtrain.data.source import IGNORE, Pixels
from kdtrain.data.stored import Stored
from kdtrain.errors import InputError


class LabelMeaning(Protocol):
    """How label files become train ids."""

    key: bytes
    """Differs whenever the meaning does; a part of the data's digest."""

    def decode(self, file: Stored) -> Pixels:
        """What the file holds, `(H, W)` or `(H, W, 3)`; InputError where that is not certain."""
        ...

    def apply(self, raw: Pixels, file: Stored) -> Pixels:
        """Train ids `(H, W)`, 255 ignored, of what `decode` returned; InputError for what has no meaning."""
        ...


class LabelIds:
    """What the ids in label files mean: file id -> train id, ignored, or a mistake."""

    def __init__(self, classes: int, ids: Mapping[int, int] | None = None, ignore: Iterable[int] = ()) -> None:
        """Map ids by `ids` (default: 0 to classes - 1 as they are); `ignore`, and 255 without a class, are ignored."""
        mapping = dict(ids) if ids else {i: i for i in range(classes)}
        self._table = np.full(256, -1, dtype=np.int16)
        self._table[[*ignore, IGNORE]] = IGNORE
        self._table[list(mapping)] = list(mapping.values())
        self.key = self._table.tobytes()
        self._palette: dict[int, tuple[Color, Stored]] = {}
        """The color of each id in the palettes of the files decoded so far, with the first file that has it."""
        self._lock = Lock()

    def decode(self, file: Stored) -> Pixels:
        """The ids, as they are in the file; of a palette image its indices, which mean the same in all files."""
        ids, colors = read_ids(file)
        with self._lock:
            for index, color in colors.items():
                known, first = self._palette.get(index, (color, file))
                if color != known:
                    raise InputError(
                        f"the palettes of the label maps {first} and {file} differ: the entry {index} is "
                        f"{color_text(known)} in the first and {color_text(color)} in the second, so entries are no "
                        "ids; save all with one palette, or list the colors of the classes in data.label_colors of the "
                        "data set folder"
                    )
            self._palette |= {index: (color, file) for index, color in colors.items() if index not in self._palette}
        return ids

    def apply(self, raw: Pixels, file: Stored) -> Pixels:
        """Train ids of the ids found in a file."""
        mapped = self._table[raw]
        if mapped.min(initial=0) < 0:
            wrong = np.unique(raw[mapped < 0])
            raise InputError(f"the label map {file} holds the id {few(wrong)}, allowed are {_ranges(self._table >= 0)}")
        return mapped.astype(np.uint8)


class LabelColors:
    """What the colors in label files mean: color -> train id, or 255 for ignored."""

    def __init__(self, ids: Mapping[Color, int], gray: bool = False) -> None:
        """Each color that is allowed, with its train id; `gray` allows files of one channel, such as masks."""
        codes = sorted((_code(np.asarray(color)).item(), train_id) for color, train_id in ids.items())
        self._codes = np.array([code for code, _ in codes], dtype=np.int32)
        self._ids = np.array([train_id for _, train_id in codes], dtype=np.uint8)
        self._gray = gray
        self.key = self._codes.tobytes() + self._ids.tobytes()

    def decode(self, file: Stored) -> Pixels:
        """The colors `(H, W, 3)`."""
        return read_colors(file, self._gray)

    def apply(self, raw: Pixels, file: Stored) -> Pixels:
        """Train ids of the colors found in a file."""
        codes = _code(raw)
        place = np.searchsorted(self._codes, codes).clip(max=len(self._codes) - 1)
        unknown = self._codes[place] != codes
        if unknown.any():
            wrong = [f"#{code:06x}" for code in np.unique(codes[unknown])]
            raise InputError(f"the label map {file} holds the color {few(wrong)}, which stands for no class")
        train_ids: Pixels = self._ids[place]
        return train_ids


def few(names: Iterable[object], most: int = 3) -> str:
    """The first names, by default three, for a sentence."""
    shown = [str(name) for name in names]
    return ", ".join(shown[:most]) + (", ..." if len(shown) > most else "")


def _code(colors: Pixels) -> np.ndarray:
    """`(..., 3)` as one number each, 0xrrggbb."""
    wide = colors.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _ranges(allowed: np.ndarray) -> str:
    ids = np.flatnonzero(allowed)
    runs = np.split(ids, np.flatnonzero(np.diff(ids) > 1) + 1)
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in runs)
