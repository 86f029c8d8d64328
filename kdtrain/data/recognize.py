"""What a folder of images is: a public data set in its official layout, or images and label maps of the user's."""

import contextlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from kdtrain.data.decode import FORMATS, opened
from kdtrain.data.files import IMAGE_SUFFIXES, LABEL_SUFFIXES
from kdtrain.data.folder import Folder, Folders, PairFolders
from kdtrain.data.kind_words import kind_in, role_in
from kdtrain.data.label_kinds import read_named_colors, scan_labels
from kdtrain.data.labels import few
from kdtrain.data.pairs import find_pairs
from kdtrain.data.registry import DATA_SETS
from kdtrain.data.roles import open_data
from kdtrain.data.stored import Stored
from kdtrain.data.walk import walk
from kdtrain.errors import InputError, MissingError

_MARKS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "camvid": (("train", "trainannot"), ("camvid/train", "camvid/trainannot")),
    "camvid_full": (
        ("701_StillsRaw_full", "LabeledApproved_full"),
        ("camvid_full/701_StillsRaw_full", "camvid_full/LabeledApproved_full"),
    ),
    "cityscapes": (("leftImg8bit", "gtFine"), ("cityscapes/leftImg8bit", "cityscapes/gtFine")),
    "voc": (("VOCdevkit/VOC2012/JPEGImages", "VOCdevkit/VOC2012/SegmentationClass"),),
    "ade20k": (
        ("ADEChallengeData2016/images/training", "ADEChallengeData2016/annotations/training"),
        ("images/training", "annotations/training"),
    ),
}
"""Folders that tell a public data set, all of one line, below the data root."""
_NAMES = {"camvid": "0001TP|0006R0|0016E5|Seq05VD", "ade20k": "ADE_"}
"""What the names of images begin with, of data sets whose folders have usual names."""
_SAMPLED = 3
"""Files of a folder that are looked at to tell images from label maps."""
_FEW_COLORS = 64
"""A photo has more."""
_GROUP_PATTERNS = (r"^([^/]+)/", r"^(.+?)[_-]?\d+$")
"""What may name the video or place that an image comes from: its folder, or its name up to the last number."""


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


def recognize(
    folder: Path, classes: tuple[str, ...] = (), seen: Callable[[int, int], None] = lambda done, total: None
) -> Recognized:
    """Look at a folder: which data set it is, or where its images and label maps lie and what their labels mean.

    Args:
        folder: The folder of a data set, or one that contains it.
        classes: Names of the classes in the order of their ids or colors, for data of the user's; by default those of
            a file `classes.txt`, and numbers.
        seen: Is told how many label maps were read, and of how many.

    Raises:
        InputError: In one sentence, if the folder holds no data that can be read, or files that are wrong.
    """
    folder = folder.absolute()
    if not folder.is_dir():
        raise MissingError(f"--data: there is no folder {folder}; give the folder of your images and label maps")
    public = [(name, root) for root in (folder, folder.parent, folder.parent.parent) for name in _public_at(root)]
    inside = [(name, root) for name, root in public if _lies_in(folder, name, root)]
    if len({name for name, _ in inside}) > 1:
        names = ", ".join(name for name, _ in inside)
        raise InputError(f"--data: {folder} holds several data sets, {names}; give the folder of one of them")
    for name, root in inside:
        source = DATA_SETS[name]().open(root)
        if not re.match(_NAMES.get(name, ""), source.ids("train")[0]):
            continue  # somebody else's images in folders of the same names
        counted = ", ".join(f"{len(source.ids(role))} in {role}" for role in ("train", "select"))
        lines = (f"{root}: the data set {name} in its official layout, {counted}",)
        return _measured(root, {"name": name}, lines)
    return _of_the_user(folder, classes, seen)


def _public_at(root: Path) -> list[str]:
    """The public data sets whose folders lie below a data root."""
    return [name for name in _MARKS if _layout(name, root)]


def _layout(name: str, root: Path) -> list[Path]:
    """The folders that tell a public data set below a data root; none if it is not there."""
    layouts = [[root / mark for mark in layout] for layout in _MARKS[name]]
    return next((places for places in layouts if all(place.is_dir() for place in places)), [])


def _lies_in(folder: Path, name: str, root: Path) -> bool:
    return all(place.is_relative_to(folder) for place in _layout(name, root))


def _of_the_user(folder: Path, classes: tuple[str, ...], seen: Callable[[int, int], None]) -> Recognized:
    roles = _by_role(folder, _pairs(folder))
    lines = [f"{role}: images in {where.images}, label maps in {where.labels}" for role, where in roles.items()]
    found = {role: _found(folder, role, where) for role, where in roles.items() if role != "test"}
    files = {(role, image_id): label for role, pairs in found.items() for image_id, (_, label) in pairs.items()}
    scan = scan_labels(files, seen)
    lines.append(scan.sentence())
    folders = {role: where.model_dump(exclude_defaults=True) for role, where in roles.items()}
    content: dict[str, object] = {"name": "folder", "folders": folders}
    content |= scan.content(_names(folder, classes), read_named_colors(folder))
    if "select" not in roles:
        lines.append(_split(content, list(found["train"])))
    source = open_data(Folder.model_validate(content), folder)
    if absent := scan.lacking(content, (("train", image_id) for image_id in source.ids("train"))):
        content["absent"] = absent
        lines.append(f"without a pixel in train: {few(absent)}; `absent` allows it, but no network can learn it")
    return _measured(folder, content, tuple(lines))


def _split(content: dict[str, object], ids: list[str]) -> str:
    """Write into the data how a role select is made of the images of train, and say it."""
    if (group := _group(ids)) is not None:
        content["group"] = group
        return f"select: a fifth of train, by whole groups, which the names of images begin with ({group})"
    return "select: a fifth of train, drawn by chance; if frames of one video are alike, name the videos by `group`"


def _measured(root: Path, content: Mapping[str, object], lines: tuple[str, ...]) -> Recognized:
    """Count and measure the images of the role train, by the headers of their files."""
    kind = DATA_SETS[str(content["name"])]
    source = open_data(kind.model_validate(content), root)
    files = list(source.image_files("train").values())  # type: ignore[attr-defined]
    sizes = {_size(file) for file in files[:: max(1, len(files) // 200)]}
    smallest = (min(height for height, _ in sizes), min(width for _, width in sizes))
    largest = (max(height for height, _ in sizes), max(width for _, width in sizes))
    shown = f"{smallest[0]} x {smallest[1]}" + ("" if len(sizes) == 1 else f" to {largest[0]} x {largest[1]}")
    return Recognized(
        root, content, (*lines, f"images: {shown} pixels, height x width"), len(files), smallest, len(sizes) == 1
    )


def _size(file: Stored) -> tuple[int, int]:
    try:
        with opened(file) as image:
            width, height = image.size
            turned = int(image.getexif().get(0x0112, 1)) in range(5, 9)
    except Exception as error:  # decoders raise errors of every kind
        raise InputError(f"cannot read the image file {file}: {error}; copy it again or remove it") from None
    return (width, height) if turned else (height, width)


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
            "images/a.jpg and labels/a.png"
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
        with Image.open(path, formats=FORMATS) as image:
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


def _found(folder: Path, role: str, where: PairFolders) -> Mapping[str, tuple[Stored, Stored]]:
    """The images of a role and their label maps, by id."""
    images, labels = folder / where.images, folder / where.labels
    return find_pairs(f"the role {role}", images, labels, where.image_suffix, where.label_suffix).files


def _group(ids: list[str]) -> str | None:
    """A pattern of groups that several images share, where the names of images show one."""
    for pattern in _GROUP_PATTERNS:
        matches = [re.match(pattern, image_id) for image_id in ids]
        if all(matches):
            groups = {match[1] for match in matches if match}
            if 3 <= len(groups) <= len(ids) // 2:
                return pattern
    return None


def _names(folder: Path, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The names of classes: the given ones, or the lines of `classes.txt`."""
    if classes:
        return classes
    for name in ("classes.txt", "labels.txt"):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            lines = (folder / name).read_text(encoding="utf-8-sig").splitlines()
            return tuple(line.strip() for line in lines if line.strip())
    return ()
