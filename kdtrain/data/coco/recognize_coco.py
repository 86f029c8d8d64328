"""Annotation files of the user's in a folder: which role each has, where its images lie, which classes it has."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from kdtrain.data.coco.annotations import AnnotationFile, read_annotations
from kdtrain.data.coco.coco import AnnotatedRoles
from kdtrain.data.files import IMAGE_SUFFIXES
from kdtrain.data.kind_words import role_in
from kdtrain.data.labels import few
from kdtrain.data.recognized import Recognized, Seen, allow_absent, config_of, group_in, measured, split_of
from kdtrain.data.roles import open_data
from kdtrain.data.walk import walk
from kdtrain.errors import InputError, MissingError

BACKGROUND = "background"
_PARTS = ("images", "annotations", "categories")
_MOST = 20
"""JSON files in one folder; more of them are of one image each."""
_USUAL = "instances"
"""In the names of COCO's annotation files: the one with the outlines of all categories."""


def annotation_files(folder: Path) -> tuple[PurePosixPath, ...]:
    """The annotation files in a folder, by their paths in it."""
    try:
        files = walk("the folder", "annotations", folder, (".json",)).files.values()
    except MissingError:
        return ()
    by_folder: dict[Path, list[Path]] = {}
    for file in files:
        by_folder.setdefault(file.parent, []).append(file)
    few_enough = [file for beside in by_folder.values() if len(beside) <= _MOST for file in beside]
    return tuple(PurePosixPath(file.relative_to(folder)) for file in sorted(few_enough) if _is_coco(file))


def recognize_coco(folder: Path, files: Sequence[PurePosixPath], classes: tuple[str, ...], seen: Seen) -> Recognized:
    """Look into annotation files.

    Args:
        folder: The data root.
        files: The paths of the annotation files in it.
        classes: Names of categories, where not all of them are classes.
        seen: The progress.

    Raises:
        InputError: If the role of a file is not clear, its images are not there, or it is wrong.
    """
    roles = {role: (file, read_annotations(folder / file)) for role, file in _by_role(folder, files).items()}
    images = _images_below(folder)
    places: dict[str, dict[str, str]] = {}
    for role, (file, described) in roles.items():
        names = [image.file_name for image in described.images]
        places[role] = {"images": _place(folder, images, names, file, role), "file": file.as_posix()}
        pngs = [
            str(each["file_name"]) for image in described.images for each in image.annotations if "file_name" in each
        ]
        if pngs and any("segments_info" in each for image in described.images for each in image.annotations):
            places[role]["segments"] = _place(folder, images, pngs, file, role)
    lines = [f"{role}: images in {where['images']}, annotations in {where['file']}" for role, where in places.items()]
    content: dict[str, object] = {"name": "coco", **_classes(roles, classes), "annotations": places}
    if "select" not in places:
        ids = [PurePosixPath(image.file_name).with_suffix("").as_posix() for image in roles["train"][1].images]
        lines.append(split_of(content, group_in(ids)))
    lines += _with_background(folder, content, seen)
    return measured(folder, content, tuple(lines))


def _is_coco(file: Path) -> bool:
    try:
        text = file.read_bytes()
        content = json.loads(text) if all(f'"{part}"'.encode() in text for part in _PARTS) else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and all(isinstance(content.get(part), list) for part in _PARTS)


def _by_role(folder: Path, files: Sequence[PurePosixPath]) -> dict[str, PurePosixPath]:
    by_role: dict[str | None, list[PurePosixPath]] = {}
    for file in files:
        role = next(filter(None, map(role_in, file.parts)), "train" if len(files) == 1 else None)
        by_role.setdefault(role, []).append(file)
    chosen: dict[str, PurePosixPath] = {}
    for role, several in by_role.items():
        usual = [file for file in several if _USUAL in file.name] or several
        if role is None or len(usual) > 1:
            raise InputError(
                f"--data: it is not clear which annotations of {folder} are for training and which for selection: "
                f"{few(several)}; name one file each train, val and test, or write data.annotations yourself "
                "(docs/data.md)"
            )
        chosen[role] = usual[0]
    if "train" not in chosen:
        raise MissingError(
            f"--data: {folder} has annotations for {', '.join(chosen)} but none for train; rename one of them to train"
        )
    return {role: chosen[role] for role in AnnotatedRoles.model_fields if role in chosen}


def _images_below(folder: Path) -> frozenset[str]:
    """The paths of all images in a folder."""
    paths: set[str] = set()
    for suffix in IMAGE_SUFFIXES:
        try:
            files = walk("the folder", "images", folder, (suffix,)).files.values()
        except MissingError:
            continue
        paths |= {file.relative_to(folder).as_posix() for file in files}
    return frozenset(paths)


def _place(folder: Path, images: frozenset[str], names: Sequence[str], file: PurePosixPath, role: str) -> str:
    """The folder below which all names of images lie."""
    if not names:
        raise MissingError(f"--data: {folder / file} describes no images")
    bases = sorted({path.removesuffix(names[0]) for path in images if f"/{path}".endswith(f"/{names[0]}")})
    whole = [base for base in bases if all(f"{base}{name}" in images for name in names)]
    if not whole:
        lacking = next((name for base in bases for name in names if f"{base}{name}" not in images), names[0])
        raise MissingError(
            f"--data: {folder / file} has images that are not in one folder below {folder}, such as {lacking!r}; put "
            "all of them into one, or remove those that are not there from the annotations"
        )
    of_role = [base for base in whole if role in map(role_in, PurePosixPath(base).parts)]
    return PurePosixPath((of_role or whole)[0] or ".").as_posix()


def _classes(roles: Mapping[str, tuple[PurePosixPath, AnnotationFile]], given: tuple[str, ...]) -> dict[str, object]:
    """The names of the categories that annotations have, in the order of their ids, or those that are given."""
    contents = [content for role, (_, content) in roles.items() if role != "test"]
    names = list(dict.fromkeys(content.categories[number] for content in contents for number in content.used))
    if not given:
        return {"classes": names}
    if unknown := [name for name in given if name not in names and name != BACKGROUND]:
        raise InputError(f"--classes: annotations have no category {unknown[0]!r}; they have {few(names, 12)}")
    return {"classes": list(given), **({"others": "skipped"} if set(names) - set(given) else {})}


def _with_background(folder: Path, content: dict[str, object], seen: Seen) -> list[str]:
    """Draw all annotations of train and select: is there a rest, which needs a class, and what does train lack.

    Returns:
        What was seen, in sentences.
    """
    names: list[str] = content["classes"]  # type: ignore[assignment]
    content |= {"classes": names if BACKGROUND in names else [BACKGROUND, *names], "background": BACKGROUND}
    source = open_data(config_of(content), folder)
    work = [(role, image_id) for role in ("train", "select") for image_id in source.ids(role)]
    present: dict[str, set[int]] = {"train": set(), "select": set()}
    for done, (role, image_id) in enumerate(work, start=1):
        present[role] |= set(np.unique(source.read(role, image_id)[1]).tolist())
        seen(done, len(work))
    lines = [f"label maps: {len(work)} drawn from annotations of {len(names)} categories: {few(names, 12)}"]
    if BACKGROUND not in names and len(names) > 1 and 0 not in present["train"] | present["select"]:
        del content["background"]
        content["classes"] = names
        present["train"] = {label - 1 for label in present["train"]}
    else:
        lines.append(f"background: pixels that no annotation covers are of the class {BACKGROUND}")
    classes: list[str] = content["classes"]  # type: ignore[assignment]
    if absent := [name for label, name in enumerate(classes) if label not in present["train"]]:
        lines.append(allow_absent(content, absent))
    return lines
