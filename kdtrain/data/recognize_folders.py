"""Folders of images and label maps of the user's: which belong together, and which role they have."""

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from kdtrain.data.decode import opened
from kdtrain.data.files import IMAGE_SUFFIXES, LABEL_SUFFIXES
from kdtrain.data.folder import Folders, PairFolders
from kdtrain.data.kind_words import kind_in, role_in
from kdtrain.data.labels import few
from kdtrain.data.pairs import find_pairs
from kdtrain.data.recognized import Recognized, Seen, group_in, with_labels
from kdtrain.data.stored import Stored
from kdtrain.data.walk import walk
from kdtrain.errors import InputError, MissingError

_SAMPLED = 3
"""Files of a folder that are looked at to tell images from label maps."""
_FEW_COLORS = 64
"""A photo has more."""


def recognize_folders(folder: Path, classes: tuple[str, ...], seen: Seen) -> Recognized:
    """Look for folders of images and of label maps.

    Raises:
        InputError: If there are none that fit, or files are wrong.
    """
    roles = _by_role(folder, _pairs(folder))
    lines = [f"{role}: images in {where.images}, label maps in {where.labels}" for role, where in roles.items()]
    files = {role: _files_of(folder, role, where) for role, where in roles.items() if role != "test"}
    labels = {(role, image_id): label for role, pairs in files.items() for image_id, (_, label) in pairs.items()}
    where = {role: where.model_dump(exclude_defaults=True) for role, where in roles.items()}
    return with_labels(folder, {"name": "folder", "folders": where}, lines, labels, classes, group_in, seen)


def _pairs(folder: Path) -> list[PairFolders]:
    """Folders of images with their folders of label maps, both relative to the folder."""
    files: dict[PurePosixPath, list[Path]] = defaultdict(list)
    for name, path in sorted(_walk_all(folder).items()):
        files[PurePosixPath(name).parent].append(path)
    labels = [place for place, paths in files.items() if _is_labels(place, paths)]
    images = [place for place in files if place not in labels]
    if not images or not labels:
        lacking = "label maps (png, bmp or tif of ids or colors)" if images else "images"
        raise MissingError(
            f"--data: there are no folders of images and of label maps in {folder}, which lacks {lacking}; lay them as "
            "images/a.jpg and labels/a.png, or give a folder of Parquet, Arrow or tar files, or of COCO annotations"
        )
    partners: dict[tuple[str, str], tuple[str, str]] = {}
    for place in images:
        if (partner := _partner(place, files, labels)) is None:
            raise MissingError(
                f"--data: the images in {folder / place} have no label maps of the same names; label maps lie in "
                f"{few(str(folder / label) for label in labels)}"
            )
        label, endings = partner
        above = _without_common_end(place, label)
        partners[above[0].as_posix(), above[1].as_posix()] = endings
    return [
        PairFolders(images=image, labels=label, image_suffix=endings[0], label_suffix=endings[1])
        for (image, label), endings in partners.items()
    ]


def _walk_all(folder: Path) -> dict[str, Path]:
    """All files of images below a folder, by their path below it with the extension."""
    found: dict[str, Path] = {}
    for suffix in sorted(set(IMAGE_SUFFIXES) | set(LABEL_SUFFIXES)):
        with contextlib.suppress(MissingError):
            found |= {
                f"{name}{suffix}": path for name, path in walk("the folder", "images", folder, (suffix,)).files.items()
            }
    return found


def _is_labels(place: PurePosixPath, paths: list[Path]) -> bool:
    """Whether the files of a folder are label maps: as the folder is called, else lossless and of few ids or colors.

    Raises:
        InputError: If they are called label maps but were saved with loss.
    """
    sampled = paths[:: max(1, len(paths) // _SAMPLED)][:_SAMPLED]
    named = _named_as(place)
    if lossy := next((path for path in sampled if path.suffix.lower() not in LABEL_SUFFIXES), None):
        if named == "labels":
            raise InputError(
                f"--data: {lossy} looks like a label map, but {lossy.suffix} changes ids and colors; "
                "export label maps as PNG"
            )
        return False
    return named == "labels" if named else all(map(_looks_labelled, sampled))


def _named_as(place: PurePosixPath) -> str:
    """Whether the name of a folder, or of one that it lies in, says `images` or `labels`; empty if none does."""
    for part in reversed(place.parts):
        if kind := kind_in(part):
            return kind
    return ""


def _looks_labelled(path: Path) -> bool:
    try:
        with opened(path) as image:
            if image.mode in ("P", "1"):
                return True
            colors = image.getcolors(_FEW_COLORS) if image.mode in ("L", "RGB", "RGBA", "LA") else None
            return colors is not None and len(colors) <= image.width * image.height // 16
    except Exception:  # a damaged file is refused when it is read
        return False


def _partner(
    place: PurePosixPath, files: Mapping[PurePosixPath, list[Path]], labels: Iterable[PurePosixPath]
) -> tuple[PurePosixPath, tuple[str, str]] | None:
    """The folder of label maps whose names fit those of a folder of images, and what the names of both end with."""
    stems = [path.stem for path in files[place]]
    best: tuple[int, int, PurePosixPath, tuple[str, str]] | None = None
    for label in labels:
        label_stems = [path.stem for path in files[label]]
        for endings in (
            ("", ""),
            ("", _ending(label_stems)),
            (_ending(stems), _ending(label_stems)),
            (_ending(stems), ""),
        ):
            ids = {stem.removesuffix(endings[0]) for stem in stems if stem.endswith(endings[0])}
            shared = len(ids & {stem.removesuffix(endings[1]) for stem in label_stems if stem.endswith(endings[1])})
            near = len(set(place.parts) & set(label.parts)) - len(label.parts)
            if shared and (best is None or (shared, near) > best[:2]):
                best = (shared, near, label, endings)
    return None if best is None else (best[2], best[3])


def _ending(stems: list[str]) -> str:
    """What all names end with, from a separator on: `_mask` of `a_mask` and `b_mask`."""
    endings = {match[0] if (match := re.search(r"[._-][^\W\d_][\w-]*$", stem)) else "" for stem in stems}
    return endings.pop() if len(endings) == 1 else ""


def _without_common_end(image: PurePosixPath, label: PurePosixPath) -> tuple[PurePosixPath, PurePosixPath]:
    """Two folders without the subfolders that both end with, except for one that names a role."""
    while image.parts and label.parts and image.name == label.name and role_in(image.name) is None:
        image, label = image.parent, label.parent
    return image, label


def _by_role(folder: Path, pairs: list[PairFolders]) -> dict[str, PairFolders]:
    """The folders of each role, as their names say; a single pair without a role is train."""
    roles: dict[str, PairFolders] = {}
    for pair in pairs:
        parts = [*PurePosixPath(pair.images).parts, *PurePosixPath(pair.labels).parts]
        role = next((found for part in parts if (found := role_in(part))), "train" if len(pairs) == 1 else None)
        if role is None or role in roles:
            places = f"{pair.images} and {roles[role].images}" if role else pair.images
            raise InputError(
                f"--data: it is not clear which images of {folder} are for training and which for selection: {places}; "
                "name the folders train, val and test, or write data.folders yourself (docs/data.md)"
            )
        roles[role] = pair
    if "train" not in roles:
        raise MissingError(
            f"--data: {folder} has folders for {', '.join(roles)} but none for train; rename one of them to train"
        )
    return {role: roles[role] for role in Folders.model_fields if role in roles}


def _files_of(folder: Path, role: str, where: PairFolders) -> Mapping[str, tuple[Stored, Stored]]:
    """The images of a role and their label maps, by id."""
    images, labels = folder / where.images, folder / where.labels
    return find_pairs(f"the role {role}", images, labels, where.image_suffix, where.label_suffix).files
