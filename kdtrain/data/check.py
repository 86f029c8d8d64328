"""Every image of a role is read: what the images hold, and which files are bad."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from kdtrain.data.census import LabelCounts, is_silently_turned
from kdtrain.data.source import DataSource, check_labels
from kdtrain.errors import InputError


@dataclass(frozen=True)
class RoleCheck(LabelCounts):
    """What the images of a role hold; `images` are all, with the bad ones, which no other field counts."""

    sizes: Counter[tuple[int, int]]
    """Images by (height, width)."""
    bad: tuple[tuple[str, str], ...]
    """Image id and what is wrong with it."""
    contents: tuple[tuple[str, bytes], ...] = ()
    """Image id and hash of its pixels."""


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
    ignored, blank, turned, bad, contents = 0, 0, 0, [], []
    for done, (image_id, content) in enumerate(zip(ids, _contents(source, role, ids), strict=True), start=1):
        if isinstance(content, str):
            bad.append((image_id, content))
        else:
            size, counts, pixels_hash, is_turned = content
            sizes[size] += 1
            contents.append((image_id, pixels_hash))
            pixels += counts[:count]
            ignored += int(counts[source.ignore_index])
            blank += not counts[:count].any()
            turned += is_turned
        seen(done, len(ids))
    return RoleCheck(
        role, tuple(source.classes), len(ids), pixels, ignored, blank, turned, sizes, tuple(bad), tuple(contents)
    )


def repeated_images(checks: Iterable[RoleCheck]) -> list[str]:
    """Sentences about images with equal pixels under several names, within a role and in two roles."""
    first_places: dict[bytes, tuple[str, str]] = {}
    repeated: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for check in checks:
        for image_id, content in check.contents:
            role, other = first_places.setdefault(content, (check.role, image_id))
            if (role, other) != (check.role, image_id):
                repeated.setdefault((role, check.role), []).append((other, image_id))
    sentences = []
    for (first, second), pairs in repeated.items():
        other, image_id = pairs[0]
        where = f"role {first} has" if first == second else f"roles {first} and {second} share"
        what = "a repeated image" if len(pairs) == 1 else f"{len(pairs)} repeated images"
        alike = f", which has the pixels of {other}" if other != image_id else ""
        sentences.append(f"{where} {what}, first {image_id}{alike}")
    return sentences


_Content = tuple[tuple[int, int], npt.NDArray[np.int64], bytes, bool] | str


def _contents(source: DataSource, role: str, ids: tuple[str, ...]) -> Iterator[_Content]:
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        yield from pool.map(partial(_content, source, role), ids)


def _content(source: DataSource, role: str, image_id: str) -> _Content:
    """Size, pixels by label and a hash of one image, or what is wrong with it."""
    try:
        image, labels = source.read(role, image_id)
        check_labels(labels, source, image_id)
    except InputError as error:
        return str(error)
    pixels_hash = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
    counts = np.bincount(labels.ravel(), minlength=256)
    return labels.shape, counts, pixels_hash, is_silently_turned(source, role, image_id)
