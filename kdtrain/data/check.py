"""A look at every image of a data set: what is in it, and which files are bad."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from kdtrain.data.source import DataSource
from kdtrain.errors import InputError


@dataclass(frozen=True)
class RoleCheck:
    """What the images of one role hold."""

    role: str
    classes: tuple[str, ...]
    images: int
    """The bad ones included; they count in nothing below."""
    sizes: Counter[tuple[int, int]]
    """Images by (height, width)."""
    pixels: npt.NDArray[np.int64]
    """Pixels by class."""
    ignored: int
    """Pixels that count nowhere."""
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
        seen: Told after each image how many are done, and of how many.

    Raises:
        InputError: If the data have no such role; a bad file is no error but a finding.
    """
    ids, count = source.ids(role), len(source.classes)
    sizes: Counter[tuple[int, int]] = Counter()
    pixels = np.zeros(count, dtype=np.int64)
    ignored, bad = 0, []
    for done, (image_id, found) in enumerate(zip(ids, _looks(source, role, ids), strict=True), start=1):
        if isinstance(found, str):
            bad.append((image_id, found))
        else:
            size, counts = found
            sizes[size] += 1
            pixels += counts[:count]
            ignored += int(counts[source.ignore_index])
        seen(done, len(ids))
    return RoleCheck(role, source.classes, len(ids), sizes, pixels, ignored, tuple(bad))


_Look = tuple[tuple[int, int], npt.NDArray[np.int64]] | str


def _looks(source: DataSource, role: str, ids: tuple[str, ...]) -> Iterator[_Look]:
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        yield from pool.map(partial(_look, source, role), ids)


def _look(source: DataSource, role: str, image_id: str) -> _Look:
    """Size and pixels by label of one image, or what is wrong with it."""
    try:
        _, labels = source.read(role, image_id)
    except InputError as error:
        return str(error)
    return labels.shape, np.bincount(labels.ravel(), minlength=256)
