"""Every image of a role is read: what the images hold, and which files are bad."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from kdtrain.data.source import DataSource, check_labels
from kdtrain.errors import InputError


@dataclass(frozen=True)
class RoleCheck:
    """What the images of a role hold."""

    role: str
    classes: tuple[str, ...]
    images: int
    """All images, with the bad ones, which no field below counts."""
    sizes: Counter[tuple[int, int]]
    """Images by (height, width)."""
    pixels: npt.NDArray[np.int64]
    """Pixels by class."""
    ignored: int
    """Pixels whose label is ignored."""
    bad: tuple[tuple[str, str], ...]
    """Image id and what is wrong with it."""

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """The part of the labelled pixels by class; NaN where none is labelled."""
        labelled = self.pixels.sum()
        return self.pixels / labelled if labelled else np.full(len(self.pixels), np.nan)

    @property
    def ignored_share(self) -> float:
        """The part of all pixels that is ignored; NaN where there is no pixel."""
        total = int(self.pixels.sum()) + self.ignored
        return self.ignored / total if total else float("nan")

    @property
    def absent(self) -> tuple[str, ...]:
        """The classes without a pixel."""
        return tuple(name for name, count in zip(self.classes, self.pixels, strict=True) if count == 0)


def check_role(source: DataSource, role: str, seen: Callable[[int, int], None] = lambda done, total: None) -> RoleCheck:
    """Read all images of a role, several at once.

    Args:
        source: The data.
        role: Which part of them.
        seen: Called after each image with the number of images that are done, and of all images.

    Raises:
        InputError: If the data have no such role; a bad file is counted and raises nothing.
    """
    ids, count = source.ids(role), len(source.classes)
    sizes: Counter[tuple[int, int]] = Counter()
    pixels = np.zeros(count, dtype=np.int64)
    ignored, bad = 0, []
    for done, (image_id, content) in enumerate(zip(ids, _contents(source, role, ids), strict=True), start=1):
        if isinstance(content, str):
            bad.append((image_id, content))
        else:
            size, counts = content
            sizes[size] += 1
            pixels += counts[:count]
            ignored += int(counts[source.ignore_index])
        seen(done, len(ids))
    return RoleCheck(role, source.classes, len(ids), sizes, pixels, ignored, tuple(bad))


_Content = tuple[tuple[int, int], npt.NDArray[np.int64]] | str


def _contents(source: DataSource, role: str, ids: tuple[str, ...]) -> Iterator[_Content]:
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        yield from pool.map(partial(_content, source, role), ids)


def _content(source: DataSource, role: str, image_id: str) -> _Content:
    """Size and pixels by label of one image, or what is wrong with it."""
    try:
        _, labels = source.read(role, image_id)
        check_labels(labels, source, image_id)
    except InputError as error:
        return str(error)
    return labels.shape, np.bincount(labels.ravel(), minlength=256)
