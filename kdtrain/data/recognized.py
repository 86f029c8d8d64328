"""What was seen in a folder of data, and what all kinds of data of the user's share: class names, sizes, the roles."""

import contextlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from kdtrain.data.data_set import DataSet
from kdtrain.data.decode import opened
from kdtrain.data.label_kinds import Key, read_named_colors, scan_labels
from kdtrain.data.labels import few
from kdtrain.data.lookup import parse_data
from kdtrain.data.roles import open_data
from kdtrain.data.stored import FilePart, Stored
from kdtrain.errors import InputError
from kdtrain.explain import sentence

Seen = Callable[[int, int], None]
"""Is told how many label maps were read, and of how many."""
_GROUP_PATTERNS = (r"^([^/]+)/", r"^(.+?)[_-]?\d+$")
"""What may name the video or place that an image comes from: its folder, or its name up to the last number."""
_MEASURED, _MEASURED_PARTS = 200, 20
"""Images that are looked at for their sizes; of those within other files fewer, as all between them are read too."""


@dataclass(frozen=True)
class Recognized:
    """The data that a folder holds.

    Attributes:
        root: The data root, below which the paths of `content` lie.
        content: The field `data` of a spec, in plain values.
        lines: What was seen, in sentences.
        images: Images of the role train.
        smallest: The smallest height and the smallest width of an image of the role train, in pixels.
        one_size: Whether all of these images have that size.
    """

    root: Path
    content: Mapping[str, object]
    lines: tuple[str, ...]
    images: int
    smallest: tuple[int, int]
    one_size: bool


def with_labels(
    folder: Path,
    content: dict[str, object],
    lines: list[str],
    labels: Mapping[Key, Stored],
    classes: tuple[str, ...],
    groups: Callable[[Sequence[str]], str | None],
    seen: Seen,
) -> Recognized:
    """Look into the label maps, and say what they mean.

    Args:
        folder: The data root.
        content: The field `data` so far: which files each role has.
        lines: What was seen so far.
        labels: The label maps of train and select.
        classes: The names of the classes, where they are given.
        groups: A pattern of the groups of images, from their ids.
        seen: The progress.

    Raises:
        InputError: If the label maps cannot be read, or their values cannot be told apart.
    """
    scan = scan_labels(labels, seen)
    lines.append(scan.sentence())
    content |= scan.content(class_names(folder, classes), read_named_colors(folder))
    if all(role != "select" for role, _ in labels):
        lines.append(split_of(content, groups([image_id for _, image_id in labels])))
    source = open_data(config_of(content), folder)
    if absent := scan.lacking(content, (("train", image_id) for image_id in source.ids("train"))):
        lines.append(allow_absent(content, absent))
    return measured(folder, content, tuple(lines))


def config_of(content: Mapping[str, object]) -> DataSet:
    """The data set of the field `data` that was recognized.

    Raises:
        InputError: If no data set may be so, for instance of more than 255 classes.
    """
    try:
        return parse_data(content)
    except ValidationError as error:
        raise InputError(f"--data: {sentence(error, DataSet)}") from None


def split_of(content: dict[str, object], group: str | None) -> str:
    """Write into the data how a role select is made of the images of train, and say it."""
    if group is not None:
        content["group"] = group
        return f"select: a fifth of train, by whole groups, which the names of images begin with ({group})"
    return "select: a fifth of train, drawn by chance; if frames of one video are alike, name the videos by `group`"


def allow_absent(content: dict[str, object], absent: Sequence[str]) -> str:
    """Write into the data which classes train lacks, and say it."""
    content["absent"] = list(absent)
    return f"without a pixel in train: {few(absent)}; `absent` allows it, but no network can learn it"


def measured(root: Path, content: Mapping[str, object], lines: tuple[str, ...]) -> Recognized:
    """Count and measure the images of the role train, by the headers of their files."""
    source = open_data(config_of(content), root)
    files = list(source.image_files("train").values())  # type: ignore[attr-defined]
    most = _MEASURED_PARTS if isinstance(files[0], FilePart) else _MEASURED
    sizes = {_size(file) for file in files[:: max(1, len(files) // most)]}
    smallest = (min(height for height, _ in sizes), min(width for _, width in sizes))
    largest = (max(height for height, _ in sizes), max(width for _, width in sizes))
    shown = f"{smallest[0]} x {smallest[1]}" + ("" if len(sizes) == 1 else f" to {largest[0]} x {largest[1]}")
    return Recognized(
        root, content, (*lines, f"images: {shown} pixels, height x width"), len(files), smallest, len(sizes) == 1
    )


def group_in(ids: Sequence[str]) -> str | None:
    """A pattern of groups that several images share, where the names of images show one."""
    for pattern in _GROUP_PATTERNS:
        matches = [re.match(pattern, image_id) for image_id in ids]
        if all(matches):
            groups = {match[1] for match in matches if match}
            if 3 <= len(groups) <= len(ids) // 2:
                return pattern
    return None


def class_names(folder: Path, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The names of classes: the given ones, those of `id2label.json`, or the lines of `classes.txt`."""
    if classes:
        return classes
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        names = json.loads((folder / "id2label.json").read_bytes())
        return tuple(str(names[key]) for key in sorted(names, key=int))
    for name in ("classes.txt", "labels.txt"):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            lines = (folder / name).read_text(encoding="utf-8-sig").splitlines()
            return tuple(line.strip() for line in lines if line.strip())
    return ()


def _size(file: Stored) -> tuple[int, int]:
    try:
        with opened(file) as image:
            width, height = image.size
            turned = int(image.getexif().get(0x0112, 1)) in range(5, 9)
    except Exception as error:  # decoders raise errors of every kind
        raise InputError(f"cannot read the image file {file}: {error}; copy it again or remove it") from None
    return (width, height) if turned else (height, width)
