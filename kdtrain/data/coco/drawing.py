"""Label maps that are drawn from annotations: polygons and run lengths, or the segments of a panoptic PNG file."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from importlib.util import find_spec
from itertools import starmap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kdtrain.data.decode import read_colors
from kdtrain.data.labels import few
from kdtrain.data.source import Pixels
from kdtrain.data.stored import FilePart, Stored
from kdtrain.errors import InputError

Mask = npt.NDArray[np.bool_]
_FAR = 1e9
"""No coordinate is as large; what is not a number is not below it, either."""
_TOLERANCE = 1.0
"""Pixels by which a polygon may leave its image: tools place points on the outer edge, or half a pixel off."""


class Shape(NamedTuple):
    """An annotation of one class."""

    name: str
    """Which annotation it is, for errors."""
    label: int
    """The index of its class, or 255 where it is ignored."""
    segmentation: Any
    """As COCO writes it: a list of polygons, or run lengths with their size."""


@dataclass(frozen=True)
class Drawing(FilePart):
    """The label map of an image, as annotations that are drawn one over the other."""

    height: int = 0
    width: int = 0
    shapes: str = field(default="[]", repr=False)
    """Each `Shape` as JSON, which takes a tenth of the memory."""

    def read_bytes(self) -> bytes:
        """All that decides the label map, as JSON."""
        return f"[{self.height}, {self.width}, {self.shapes}]".encode()

    def labels(self, empty: int, larger_first: bool) -> Pixels:
        """The label map `(H, W)`.

        Args:
            empty: The label of pixels that no annotation covers.
            larger_first: Whether small annotations are drawn over larger ones; else later ones over earlier ones.

        Raises:
            InputError: If an annotation is not of the size of the image, or is damaged.
        """
        covered = [(shape.label, _packed(self._mask(shape))) for shape in starmap(Shape, json.loads(self.shapes))]
        if larger_first:
            covered.sort(key=lambda pair: -pair[1].pixels)  # stable: of equal ones, the later is above
        drawn = np.full((self.height, self.width), empty, dtype=np.uint8)
        for label, packed in covered:
            drawn[packed.rows, packed.columns][packed.mask()] = label
        return drawn

    def _mask(self, shape: Shape) -> Mask:
        try:
            return mask_of(shape.segmentation, self.height, self.width)
        except InputError as error:
            raise InputError(f"{self.file}: {shape.name} {error}") from None


class _Packed(NamedTuple):
    """A mask as the part of it that holds all covered pixels, one bit each: of many masks one is unpacked at a time."""

    pixels: int
    """That are covered."""
    rows: slice
    columns: slice
    shape: tuple[int, int]
    """Of the part."""
    bits: npt.NDArray[np.uint8]

    def mask(self) -> Mask:
        """Which pixels of the part are covered."""
        return np.unpackbits(self.bits, count=math.prod(self.shape)).view(np.bool_).reshape(self.shape)


def _packed(mask: Mask) -> _Packed:
    rows, columns = (_extent(np.any(mask, axis=axis)) for axis in (1, 0))
    part = mask[rows, columns]
    return _Packed(int(np.count_nonzero(part)), rows, columns, part.shape, np.packbits(part))


def _extent(covered: npt.NDArray[np.bool_]) -> slice:
    """From the first true value to the last."""
    places = np.flatnonzero(covered)
    return slice(int(places[0]), int(places[-1]) + 1) if places.size else slice(0, 0)


@dataclass(frozen=True)
class Segments(FilePart):
    """The label map of an image in a panoptic PNG file, whose colors are the ids of segments."""

    table: tuple[tuple[int, int | None], ...] = ()
    """The id of each segment with the index of its class, 255 where it is ignored, none where it does not count."""
    described_in: str = ""
    """The annotation file, for errors."""

    def __str__(self) -> str:
        return str(self.file)

    def read_bytes(self) -> bytes:
        """The file, and what its segments mean."""
        return self.file.read_bytes() + json.dumps(self.table).encode()

    def labels(self, empty: int, larger_first: bool) -> Pixels:
        """The label map `(H, W)`; segments do not overlap, and the id 0 is `empty`."""
        red, green, blue = np.moveaxis(read_colors(self.file, gray=False).astype(np.int32), -1, 0)
        ids, places = np.unique(red + 256 * green + 65536 * blue, return_inverse=True)
        table = {0: empty, **{segment: empty if label is None else label for segment, label in self.table}}
        if unknown := [segment for segment in ids.tolist() if segment not in table]:
            raise InputError(
                f"{self.file} has the segments {few(unknown)}, which {self.described_in} does not describe; export "
                "both again"
            )
        labels = np.array([table[segment] for segment in ids.tolist()], dtype=np.uint8)[places]
        return labels.reshape(red.shape)


def segments_in(file: Path, table: Mapping[int, int | None], described_in: Path) -> Segments:
    """The label map in a PNG file; its place changes with the table, so that changed annotations are noticed."""
    rows = tuple(sorted(table.items()))
    return Segments(file, blake2b(json.dumps(rows).encode(), digest_size=8).hexdigest(), rows, str(described_in))


def drawing_of(file: Path, image_id: object, size: tuple[int, int], shapes: Iterable[Shape]) -> Drawing:
    """The label map of an image of a height and width."""
    return Drawing(file, f"image {image_id}", *size, json.dumps(list(shapes), sort_keys=True))


class DrawnLabels:
    """How drawings become train ids; see `LabelMeaning` for what its methods promise."""

    def __init__(self, key: str, empty: int, larger_first: bool) -> None:
        """Draw as `Drawing.labels` does; `key` is what the categories mean."""
        self._empty, self._larger_first = empty, larger_first
        self.key = json.dumps([key, empty, larger_first]).encode()

    def decode(self, file: Stored) -> Pixels:
        """The label map."""
        assert isinstance(file, Drawing | Segments)
        return file.labels(self._empty, self._larger_first)

    def apply(self, raw: Pixels, file: Stored) -> Pixels:
        """The label map as it is: its values are train ids."""
        return raw


def mask_of(segmentation: object, height: int, width: int) -> Mask:
    """Which pixels a segmentation covers, `(H, W)`.

    Raises:
        InputError: If it is none, damaged, or of another size; the text goes on after the name of its annotation.
    """
    if isinstance(segmentation, Mapping):
        return _of_runs(segmentation, height, width)
    if isinstance(segmentation, list) and segmentation:
        return _of_polygons(segmentation, height, width)
    raise InputError("has no segmentation, and a box is not enough for one; annotate its outline, or remove it")


def _of_polygons(polygons: Sequence[object], height: int, width: int) -> Mask:
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2 or not all(map(_is_number, polygon)):
            raise InputError(f"must have polygons of at least three points, x and y in turn, got {str(polygon)[:60]}")
        for axis, (values, side) in enumerate(((polygon[::2], width), (polygon[1::2], height))):
            if min(values) < -_TOLERANCE or max(values) > side + _TOLERANCE:
                outside = min(values) if min(values) < -_TOLERANCE else max(values)
                raise InputError(
                    f"has a polygon outside of its image of {width}x{height} pixels, {'xy'[axis]} = {outside:g}; clip "
                    "it, or correct the size of the image"
                )
    if find_spec("pycocotools") is None:
        raise InputError("is a polygon, which needs the package pycocotools: pip install 'kdsweep[coco]'")
    from pycocotools import mask

    return np.asarray(mask.decode(mask.merge(mask.frPyObjects(polygons, height, width))), dtype=bool)


def _of_runs(runs: Mapping[str, Any], height: int, width: int) -> Mask:
    """Runs are decoded here, as pycocotools leaves pixels unset that short ones do not reach."""
    size, counts = runs.get("size"), runs.get("counts")
    if size != [height, width]:
        raise InputError(f"has run lengths of the size {size}, its image has {[height, width]} (height, width)")
    if isinstance(counts, str):
        counts = list(_decompressed(counts))
    if not isinstance(counts, list) or not all(isinstance(count, int) and count >= 0 for count in counts):
        raise InputError("has damaged run lengths; export it again")
    if sum(counts) != height * width:
        raise InputError(f"has run lengths of {sum(counts)} pixels, its image has {height * width}; export it again")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def _decompressed(text: str) -> Iterator[int]:
    """The counts in COCO's compressed form: 5 bits a character, from the fourth on as differences to the last but one.

    Source: `rleFrString` of the COCO API (Lin et al. 2014).
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise InputError("has damaged run lengths; export it again")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise InputError("has damaged run lengths; export it again")
    yield from counts


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _FAR
