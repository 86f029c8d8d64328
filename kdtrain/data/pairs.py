"""Images and label maps as files in two folders: matched by name, checked, read and hashed."""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from kdtrain.data.source import IGNORE, Palette, Pixels, Role, checked_role
from kdtrain.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
LABEL_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")

Pairs = Mapping[str, tuple[Path, Path]]
"""Image id -> (image file, label file), in the order of the ids."""


class LabelIds:
    """What the ids in label files mean: file id -> train id, ignored, or a mistake."""

    def __init__(self, classes: int, ids: Mapping[int, int] | None = None, ignore: Iterable[int] = ()) -> None:
        """Map ids by `ids` (default: 0 to classes - 1 as they are); `ignore` and 255 are ignored."""
        mapping = dict(ids) if ids else {i: i for i in range(classes)}
        self._table = np.full(256, -1, dtype=np.int16)
        self._table[[*ignore, IGNORE]] = IGNORE
        self._table[list(mapping)] = list(mapping.values())
        self.key = self._table.tobytes()

    def apply(self, raw: Pixels, file: Path) -> Pixels:
        """Train ids `(H, W)` of the ids found in a file."""
        mapped = self._table[raw]
        if mapped.min(initial=0) < 0:
            wrong = np.unique(raw[mapped < 0])
            raise InputError(
                f"the label map {file} holds the id {_few(wrong)}, allowed are {_ranges(self._table >= 0)}"
            )
        return mapped.astype(np.uint8)


def find_pairs(what: str, images: Path, labels: Path, image_suffix: str = "", label_suffix: str = "") -> Pairs:
    """Match images with label maps by their path under the folder, without suffix and extension.

    Raises:
        InputError: If a folder is missing or empty, or an image or a label map is without its partner.
    """
    found_images = _files(what, "images", images, IMAGE_SUFFIXES, image_suffix)
    found_labels = _files(what, "label maps", labels, LABEL_SUFFIXES, label_suffix)
    lonely_images = [i for i in found_images if i not in found_labels]
    lonely_labels = [i for i in found_labels if i not in found_images]
    if lonely_images or lonely_labels:
        lacks = "images without a label map" if lonely_images else "label maps without an image"
        lonely = lonely_images or lonely_labels
        raise InputError(
            f"{what} is incomplete: {len(found_images)} images in {images} but "
            f"{len(found_labels)} label maps in {labels}; {len(lonely)} {lacks}: {_few(lonely)}"
        )
    return {i: (found_images[i], found_labels[i]) for i in found_images}


class PairSource:
    """A data source over files; see `DataSource` for what its methods promise."""

    ignore_index = IGNORE

    def __init__(
        self,
        classes: tuple[str, ...],
        palette: Palette,
        label_ids: LabelIds,
        find: Callable[[Role], Pairs],
        group: str | None,
    ) -> None:
        """Files as `find` lists them for a role; `group` is a pattern that captures the group in an id."""
        self.classes = classes
        self.palette = palette
        self._label_ids = label_ids
        self._find = cache(find)
        self._group = re.compile(group) if group else None
        # What a look at the folders can find wrong is found before anything is decoded.
        for role in ("train", "select"):
            for image_id in self.ids(role):
                self.group(image_id)

    def ids(self, role: str) -> tuple[str, ...]:
        """Image ids in alphabetical order."""
        return tuple(self._find(checked_role(role)))

    def group(self, image_id: str) -> str:
        """The group named in the id; the id itself if no pattern is given."""
        return group_of(image_id, self._group)

    def read(self, role: str, image_id: str) -> tuple[Pixels, Pixels]:
        """Decode one pair and check it."""
        image_file, label_file = self._find(checked_role(role))[image_id]
        image = _read_image(image_file)
        raw = _read_labels(label_file)
        if image.shape[:2] != raw.shape:
            raise InputError(
                f"the image {image_file} is {_size(image)} pixels, its label map {label_file} {_size(raw)}"
            )
        return image, self._label_ids.apply(raw, label_file)

    def listing(self, role: str) -> str:
        """Names, sizes and times of all files."""
        seen = hashlib.blake2b(self._identity(role), digest_size=16)
        for image_id, files in self._find(checked_role(role)).items():
            seen.update(image_id.encode())
            for file in files:
                stat = file.stat()
                seen.update(f"|{file.resolve()}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
        return seen.hexdigest()

    def digest(self, role: str) -> str:
        """Hash of ids, file contents and the meaning of the label ids."""
        pairs = self._find(checked_role(role))
        seen = hashlib.blake2b(self._identity(role), digest_size=16)
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for image_id, hashes in zip(pairs, pool.map(_hash_files, pairs.values()), strict=True):
                seen.update(f"{image_id}|{'|'.join(hashes)}\n".encode())
        return seen.hexdigest()

    def _identity(self, role: str) -> bytes:
        return (
            f"{role}|{self.classes}|{self.palette}|{self._group and self._group.pattern}|".encode()
            + self._label_ids.key
        )


def group_of(image_id: str, pattern: re.Pattern[str] | None) -> str:
    """The first group that the pattern captures in the id; the id itself without a pattern.

    Raises:
        InputError: If the pattern does not match.
    """
    if pattern is None:
        return image_id
    match = pattern.search(image_id)
    if match is None or match[1] is None:
        raise InputError(f"the pattern group={pattern.pattern!r} does not match the image id {image_id!r}")
    return match[1]


def _files(what: str, kind: str, folder: Path, suffixes: tuple[str, ...], ending: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"{what} has no folder of {kind}: looked for {folder}")
    found: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() not in suffixes or file.name.startswith(".") or not file.stem.endswith(ending):
            continue
        image_id = file.relative_to(folder).with_suffix("").as_posix().removesuffix(ending)
        if image_id in found:
            raise InputError(f"{what} has two {kind} of one name: {found[image_id]} and {file.name}")
        found[image_id] = file
    if not found:
        raise InputError(f"{what} has no {kind}: looked for *{ending}{{{','.join(suffixes)}}} in {folder}")
    return dict(sorted(found.items()))


def _read_image(file: Path) -> Pixels:
    with _open(file) as image:
        return np.asarray(image.convert("RGB"))


def _read_labels(file: Path) -> Pixels:
    with _open(file) as image:
        if image.mode not in ("L", "P"):
            raise InputError(
                f"the label map {file} must be 8-bit with one channel of class ids (mode L or P), "
                f"but its mode is {image.mode}"
            )
        return np.asarray(image)


def _open(file: Path) -> Image.Image:
    try:
        image = Image.open(file)
        image.load()
    except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"cannot read the image file {file}: {error}") from None
    return image


def _hash_files(files: tuple[Path, Path]) -> list[str]:
    try:
        return [hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest() for file in files]
    except OSError as error:
        raise InputError(f"cannot read a data file: {error}") from None


def _size(array: Pixels) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"


def _few(names: Iterable[object]) -> str:
    shown = [str(name) for name in names]
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")


def _ranges(allowed: np.ndarray) -> str:
    ids = np.flatnonzero(allowed)
    runs = np.split(ids, np.flatnonzero(np.diff(ids) > 1) + 1)
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in runs)
