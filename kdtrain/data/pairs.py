"""Images and label maps as files in two folders: matched by name, checked, read and hashed."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kdtrain.data.apart import check_roles_apart
from kdtrain.data.decode import image_reading, is_silently_turned, label_reading, orientation_of, read_image
from kdtrain.data.files import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    files_digest,
    files_listing,
    listed_files,
)
from kdtrain.data.labels import LabelMeaning, few
from kdtrain.data.source import IGNORE, ROLES, Palette, Pixels, Role, checked_role, written_name
from kdtrain.data.stored import Stored, identity_of
from kdtrain.data.walk import walk
from kdtrain.errors import InputError, MissingError


@dataclass(frozen=True)
class Pairs:
    """The images of a role with their label maps."""

    files: Mapping[str, tuple[Stored, Stored]]
    """Image id -> (image, label map), in the order of the ids."""
    notes: tuple[str, ...] = ()
    """What was passed over where the files were looked for, in sentences."""

    def part(self, keep: Callable[[str], bool]) -> "Pairs":
        """The images whose ids are to be kept."""
        return Pairs({image_id: files for image_id, files in self.files.items() if keep(image_id)}, self.notes)


def find_pairs(what: str, images: Path, labels: Path, image_suffix: str = "", label_suffix: str = "") -> Pairs:
    """Match images with label maps by their path under the folder, without suffix and extension.

    Raises:
        InputError: If a folder is missing or empty, or an image or a label map is without its partner.
    """
    found_images = walk(what, "images", images, IMAGE_SUFFIXES, image_suffix)
    found_labels = walk(what, "label maps", labels, LABEL_SUFFIXES, label_suffix)
    image_files, label_files = found_images.files, found_labels.files
    without_label = [i for i in image_files if i not in label_files]
    without_image = [i for i in label_files if i not in image_files]
    if without_label or without_image:
        lacks = "images without a label map" if without_label else "label maps without an image"
        lonely = without_label or without_image
        raise MissingError(
            f"{what} is incomplete: {len(image_files)} images in {images} but "
            f"{len(label_files)} label maps in {labels}; {len(lonely)} {lacks}: {few(lonely)}"
            f"{_differ_in_case(without_label, without_image)}"
        )
    pairs = {i: (image_files[i], label_files[i]) for i in image_files}
    for image, label in pairs.values():
        if identity_of(image) == identity_of(label):
            raise InputError(f"{what} has an image that is its own label map: {image} and {label} are one file")
    return Pairs(pairs, found_images.notes + found_labels.notes)


def listed_pairs(what: str, names: Iterable[str], images: Path, labels: Path, label_suffix: str = "") -> Pairs:
    """The image and label files of listed names; other files in the folders are passed over.

    Raises:
        InputError: If a file is missing.
    """
    names = tuple(names)
    image_files = listed_files(f"{what} lacks images", names, images, IMAGE_SUFFIXES)
    label_files = listed_files(f"{what} lacks label maps", names, labels, LABEL_SUFFIXES, label_suffix)
    return Pairs(dict(zip(names, zip(image_files, label_files, strict=True), strict=True)))


class PairSource:
    """A data source over files; see `DataSource` for what its methods promise."""

    ignore_index = IGNORE

    def __init__(
        self,
        classes: tuple[str, ...],
        palette: Palette,
        labels: LabelMeaning,
        find: Callable[[Role], Pairs],
        group: str | None,
    ) -> None:
        """Files as `find` lists them for a role; `group` is a pattern that captures the group in an id."""
        self.classes = classes
        self.palette = palette
        self._labels = labels
        self._find = cache(find)
        self._group = re.compile(group) if group else None
        # Mistakes that show in the names of files are found before any file is decoded.
        there = [role for role in ROLES if self._is_there(role)]
        for role in ("train", "select"):
            for image_id in self.ids(role):
                self.group(image_id)
        check_roles_apart({role: self.image_files(role) for role in there})

    def ids(self, role: str) -> tuple[str, ...]:
        """Image ids in alphabetical order."""
        return tuple(self._files(role))

    def image_files(self, role: str) -> Mapping[str, Stored]:
        """The image files of a role by id."""
        return {image_id: image for image_id, (image, _) in self._files(role).items()}

    def notes(self, role: str) -> tuple[str, ...]:
        """What was passed over where the files were looked for, in sentences."""
        return self._find(checked_role(role)).notes

    def group(self, image_id: str) -> str:
        """The group named in the id; the id itself if no pattern is given."""
        return group_of(image_id, self._group)

    def read(self, role: str, image_id: str) -> tuple[Pixels, Pixels]:
        """Decode one pair and check it; where both files are bad, the error names both."""
        image_file, label_file = self._files(role)[image_id]
        faults: list[str] = []
        image = _decoded(read_image, image_file, faults)
        raw = _decoded(self._labels.decode, label_file, faults)
        if image is None or raw is None:
            raise InputError("; ".join(faults))
        if image.shape[:2] != raw.shape[:2]:
            raise InputError(
                f"the image {image_file} is {_size(image)} pixels, its label map {label_file} {_size(raw)}"
                + _turned(image_file, label_file)
            )
        return image, self._labels.apply(raw, label_file)

    def read_labels(self, role: str, image_id: str) -> Pixels:
        """Decode the label map of one pair alone."""
        label_file = self._files(role)[image_id][1]
        return self._labels.apply(self._labels.decode(label_file), label_file)

    def is_silently_turned(self, role: str, image_id: str) -> bool:
        """Whether an EXIF orientation turns the image and not its label map, and their sizes agree anyway."""
        return is_silently_turned(*self._files(role)[image_id])

    def listing(self, role: str) -> str:
        """Names, sizes and times of all files."""
        return files_listing(self._identity(role), self._files(role))

    def digest(self, role: str) -> str:
        """Hash of ids, file contents and the meaning of the label ids."""
        return files_digest(self._identity(role), self._files(role), (image_reading, label_reading))

    def _files(self, role: str) -> Mapping[str, tuple[Stored, Stored]]:
        return self._find(checked_role(role)).files

    def _is_there(self, role: Role) -> bool:
        """Whether the files of a role are there; those of the role test need not be before it is read."""
        try:
            self._files(role)
        except MissingError:
            if role != "test":
                raise
            return False
        return True

    def _identity(self, role: str) -> bytes:
        pattern = self._group and self._group.pattern
        return (
            f"{written_name(checked_role(role))}|{self.classes}|{self.palette}|{pattern}|".encode() + self._labels.key
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


def _differ_in_case(images: list[str], labels: list[str]) -> str:
    """A hint at an image and a label map whose names differ in their case alone."""
    by_case = {name.casefold(): name for name in labels}
    pair = next(((name, by_case[name.casefold()]) for name in images if name.casefold() in by_case), None)
    return f"; {pair[0]} and {pair[1]} differ in upper and lower case alone: rename one of them" if pair else ""


def _decoded(read: Callable[[Stored], Pixels], file: Stored, faults: list[str]) -> Pixels | None:
    try:
        return read(file)
    except MissingError:
        raise
    except InputError as error:
        faults.append(str(error))
        return None


def _turned(image_file: Stored, label_file: Stored) -> str:
    """What to do where one of two files is turned by its EXIF orientation and the other is not."""
    turned, straight = orientation_of(image_file), orientation_of(label_file)
    if turned == straight:
        return ""
    return (
        f", after their EXIF orientations {turned} and {straight} are applied; save the label map as the image is "
        "shown, or both files without an orientation"
    )


def _size(array: Pixels) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
