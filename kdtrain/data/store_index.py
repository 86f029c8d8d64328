"""The index of an image store: what the files hold, with a checksum per image, sealed by a hash of its own."""

import hashlib
import json
from pathlib import Path

import numpy as np

from kdtrain.config_base import Strict
from kdtrain.data.source import Palette, Pixels
from kdtrain.runtime.atomic_files import write_atomically
from kdtrain.runtime.checksum import crc32

FORMAT = 3
"""Counts up whenever files are decoded otherwise; stores of another format are built anew."""
INDEX, IMAGES, LABELS = "index.json", "images.bin", "labels.bin"


class StoreIndex(Strict):
    """What `images.bin` and `labels.bin` hold, one image after the other."""

    format: int = FORMAT
    role: str
    digest: str
    classes: tuple[str, ...]
    palette: Palette
    ignore_index: int
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    """Height and width of every image."""
    checksums: tuple[tuple[int, int], ...]
    """CRC-32 of every image's pixels and of its labels."""
    decoding: int | None = None
    """How files were decoded, see `kdtrain.data.decode.DECODING`; none for images that are not read from files."""
    times: tuple[int, int]
    """When `images.bin` and `labels.bin` were written, in nanoseconds."""

    @property
    def starts(self) -> list[int]:
        """The number of pixels before every image, and of all."""
        return [0, *np.cumsum([height * width for height, width in self.sizes]).tolist()]


def checksums_of(image: Pixels, labels: Pixels) -> tuple[int, int]:
    """CRC-32 of pixels and labels."""
    return crc32(np.ascontiguousarray(image).data), crc32(np.ascontiguousarray(labels).data)


def write_index(folder: Path, index: StoreIndex) -> None:
    """Write an index with its seal.

    Raises:
        StorageError: If the disk refuses.
    """
    content = index.model_dump(mode="json")
    write_atomically(folder / INDEX, json.dumps({**content, "seal": _seal(content)}).encode())


def read_index(folder: Path) -> StoreIndex | None:
    """The index of a store; None if it is missing, of another format, or not as it was written."""
    try:
        content = json.loads((folder / INDEX).read_bytes())
        if content.pop("seal") != _seal(content):
            return None
        index = StoreIndex.model_validate(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return index if index.format == FORMAT else None


def times_of(folder: Path) -> tuple[int, int]:
    """When the two files were written.

    Raises:
        OSError: If one is missing.
    """
    return (folder / IMAGES).stat().st_mtime_ns, (folder / LABELS).stat().st_mtime_ns


def has_sizes(folder: Path, index: StoreIndex) -> bool:
    """Whether the two files have the sizes of what the index says.

    Raises:
        OSError: If one is missing.
    """
    pixels = index.starts[-1]
    return ((folder / IMAGES).stat().st_size, (folder / LABELS).stat().st_size) == (3 * pixels, pixels)


def is_as_written(folder: Path, index: StoreIndex) -> bool:
    """Whether all bytes of the two files are those that were written; reads everything.

    Raises:
        OSError: If one is missing.
    """
    with (folder / IMAGES).open("rb") as images, (folder / LABELS).open("rb") as labels:
        for (height, width), expected in zip(index.sizes, index.checksums, strict=True):
            pixels = height * width
            if (crc32(images.read(3 * pixels)), crc32(labels.read(pixels))) != expected:
                return False
    return True


def _seal(content: object) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
