"""What a folder of images is: a public data set in its official layout, or data of the user's in one of many forms."""

import re
from collections.abc import Mapping
from pathlib import Path

from kdtrain.data.coco.recognize_coco import annotation_files, recognize_coco
from kdtrain.data.recognize_folders import recognize_folders
from kdtrain.data.recognized import Recognized, Seen, measured
from kdtrain.data.registry import DATA_SETS
from kdtrain.data.shards.recognize_shards import recognize_shards, shard_files
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


def recognize(
    folder: Path,
    classes: tuple[str, ...] = (),
    seen: Seen = lambda done, total: None,
    columns: tuple[str, str] | None = None,
) -> Recognized:
    """Look at a folder: which data set it is, or where its images and label maps lie and what their labels mean.

    Args:
        folder: The folder of a data set, or one that contains it.
        classes: Names of the classes in the order of their ids or colors, for data of the user's; by default those of
            a file `classes.txt`, and numbers.
        seen: Is told how many label maps were read, and of how many.
        columns: Of images and of label maps, in Parquet and Arrow files; in tar archives what members end with.

    Raises:
        InputError: In one sentence, if the folder holds no data that can be read, or files that are wrong.
    """
    folder = data_folder(folder)
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
        return measured(root, {"name": name}, lines)
    if files := annotation_files(folder):
        return recognize_coco(folder, files, classes, seen)
    if shards := shard_files(folder):
        return recognize_shards(folder, shards, classes, columns, seen)
    return recognize_folders(folder, classes, seen)


def data_folder(folder: Path) -> Path:
    """The folder, absolute.

    Raises:
        MissingError: If it is not there.
    """
    folder = folder.absolute()
    if not folder.is_dir():
        raise MissingError(f"--data: there is no folder {folder}; give the folder of your images and label maps")
    return folder


def _public_at(root: Path) -> list[str]:
    """The public data sets whose folders lie below a data root."""
    return [name for name in _MARKS if _layout(name, root)]


def _layout(name: str, root: Path) -> list[Path]:
    """The folders that tell a public data set below a data root; none if it is not there."""
    layouts = [[root / mark for mark in layout] for layout in _MARKS[name]]
    return next((places for places in layouts if all(place.is_dir() for place in places)), [])


def _lies_in(folder: Path, name: str, root: Path) -> bool:
    return all(place.is_relative_to(folder) for place in _layout(name, root))
