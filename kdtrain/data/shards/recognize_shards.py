"""Shards of the user's in a folder: which role each has, and what in them is an image and what a label map."""

import contextlib
import os.path
import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path, PurePosixPath

from kdtrain.data.files import IMAGE_SUFFIXES
from kdtrain.data.kind_words import role_in
from kdtrain.data.label_kinds import Key
from kdtrain.data.labels import few
from kdtrain.data.recognized import Recognized, Seen, with_labels
from kdtrain.data.shards.shard_files import ARCHIVES, STATE, TABLES, list_shards
from kdtrain.data.shards.shards import ShardFiles, ShardRoles, shard_pairs
from kdtrain.data.stored import Stored
from kdtrain.data.walk import walk
from kdtrain.errors import InputError, MissingError


def shard_files(folder: Path) -> tuple[PurePosixPath, ...]:
    """The shards in a folder, by their paths in it; none where images lie beside them.

    Raises:
        InputError: If the folder cannot be searched.
    """
    if _below(folder, IMAGE_SUFFIXES):
        return ()
    return tuple(path for suffix in (*TABLES, *ARCHIVES) for path in _below(folder, (suffix,)))


def recognize_shards(
    folder: Path,
    shards: Sequence[PurePosixPath],
    classes: tuple[str, ...],
    columns: tuple[str, str] | None,
    seen: Seen,
) -> Recognized:
    """Look into shards.

    Args:
        folder: The data root.
        shards: The paths of the shards in it.
        classes: The names of the classes, where they are given.
        columns: The columns of images and of label maps, where they are given.
        seen: The progress.

    Raises:
        InputError: If the roles of the shards or what they hold is not clear, or files are wrong.
    """
    given = {} if columns is None else dict(zip(("image", "label"), columns, strict=True))
    roles = {role: ShardFiles.model_validate({"files": files, **given}) for role, files in _by_role(folder, shards)}
    lines = [f"{role}: {where.files}" for role, where in roles.items()]
    labels: dict[Key, Stored] = {}
    for role, where in roles.items():
        if role != "test":
            pairs = shard_pairs(f"the role {role}", "--columns", folder, where).files
            labels |= {(role, image_id): label for image_id, (_, label) in pairs.items()}
    places = {role: where.model_dump(exclude_none=True) for role, where in roles.items()}
    return with_labels(folder, {"name": "shards", "shards": places}, lines, labels, classes, lambda ids: None, seen)


def _by_role(folder: Path, shards: Sequence[PurePosixPath]) -> list[tuple[str, str]]:
    """For every role the pattern or folder of its shards."""
    by_role: dict[str | None, list[PurePosixPath]] = {}
    for shard in shards:
        by_role.setdefault(next(filter(None, map(role_in, shard.parts)), None), []).append(shard)
    if None in by_role and len(by_role) == 1:
        by_role = {"train": by_role[None]}
    if unclear := by_role.get(None):
        raise InputError(
            f"--data: it is not clear which shards of {folder} are for training and which for selection: "
            f"{few(unclear)}; name files or folders train, val and test, or write data.shards yourself (docs/data.md)"
        )
    if "train" not in by_role:
        raise MissingError(
            f"--data: {folder} has shards for {', '.join(map(str, by_role))} but none for train; rename those of "
            "one of them to train"
        )
    return [(role, _files(folder, by_role[role])) for role in ShardRoles.model_fields if role in by_role]


def _files(folder: Path, shards: Sequence[PurePosixPath]) -> str:
    """What names these shards and no others: their folder, or a pattern."""
    place = PurePosixPath(os.path.commonpath([shard.parent for shard in shards]))
    if (folder / place / STATE).is_file():
        return place.as_posix()
    suffix = shards[0].suffix
    names = [shard.relative_to(place).as_posix().removesuffix(suffix) for shard in shards]
    common = "".join(
        letters[0] for letters in takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    )
    starts = (re.split(r"\d", common)[0], common)
    for files in (place.as_posix(), *((place / f"{start}*{suffix}").as_posix() for start in starts)):
        with contextlib.suppress(MissingError):
            if set(list_shards("the folder", folder, files).files.values()) == {folder / shard for shard in shards}:
                return files
    raise InputError(
        f"--data: no pattern names {few(shards)} in {folder} and no other shards; give the folder of one of several "
        "data sets, or write data.shards yourself (docs/data.md)"
    )


def _below(folder: Path, suffixes: tuple[str, ...]) -> list[PurePosixPath]:
    try:
        files: Mapping[str, Path] = walk("the folder", "data", folder, suffixes).files
    except MissingError:
        return []
    return sorted(PurePosixPath(file.relative_to(folder)) for file in files.values())
