"""A data set of which a file holds many images: Parquet, Arrow, and the tar archives of webdataset."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator

from kdtrain.config_base import Strict
from kdtrain.data.files import IMAGE_SUFFIXES, LABEL_SUFFIXES
from kdtrain.data.kind_words import kind_in
from kdtrain.data.labels import few
from kdtrain.data.pairs import Pairs
from kdtrain.data.shards.columns import TableFile, cell_of
from kdtrain.data.shards.members import Member, samples_of
from kdtrain.data.shards.shard_files import (
    ARCHIVES,
    HUB,
    HUB_NAME,
    ShardList,
    hub_name,
    is_pattern,
    list_shards,
    local_part,
)
from kdtrain.data.source import Role, is_below
from kdtrain.data.stored import Stored
from kdtrain.data.user_images import LabelledByMaps, RolePlaces
from kdtrain.data.walk import normalized
from kdtrain.errors import InputError, MissingError
from kdtrain.printable import printable


def _below_the_root(files: str) -> str:
    if not is_below(local_part(files)) or not is_pattern(files):
        raise ValueError(f"shards are given by a pattern or folder relative to the data root, got {files!r}")
    if files.startswith(HUB) and not re.fullmatch(f"{HUB}{HUB_NAME}", hub_name(files)):
        raise ValueError(f"files of a data set of the hub are written {HUB}owner/name/..., got {files!r}")
    return files


class ShardFiles(Strict):
    """Files under the data root of which each holds many images with their label maps."""

    files: Annotated[str, AfterValidator(_below_the_root)]
    """A pattern such as `mine/train-*.parquet` or `mine/{000..012}.tar`, or a folder; `hf:owner/name/...` for those of
    a data set of the hub, which `kdsweep data get hf:owner/name` fetches."""
    image: str | None = None
    """The column of images, or what the names of images end with after their first dot in tar archives, e.g. `jpg`; by
    default the one whose name says that it holds images."""
    label: str | None = None
    """The same of label maps, e.g. `annotation` or `label.png`."""
    id: str | None = None
    """A column of texts that names each image; by default an image is named by its file and the number of its row."""


class ShardRoles(RolePlaces[ShardFiles]):
    """Where each role's images lie; without its own files, `select` is carved out of `train`."""


class Shards(LabelledByMaps):
    """Images and label maps as encoded bytes in Parquet, Arrow or tar files, also those of Hugging Face datasets."""

    name: Literal["shards"] = "shards"
    shards: ShardRoles
    """Where the images of each role lie."""

    def _find(self, role: Role, root: Path) -> Pairs:
        return shard_pairs(f"the role {role}", f"data.shards.{role}", root, getattr(self.shards, role))


def shard_pairs(what: str, field: str, root: Path, where: ShardFiles) -> Pairs:
    """The images and label maps in the shards of a role.

    Args:
        what: The role, for the errors.
        field: The field of the spec that says where they are.
        root: The data root.
        where: Its content.

    Raises:
        InputError: If there are no shards, they are damaged or differ, it is not clear what in them is an image and
            what a label map, or an image lacks its label map.
    """
    shards = list_shards(what, root, where.files)
    if shards.kind in ARCHIVES:
        if where.id is not None:
            raise InputError(f"{field}.id: names a column, and tar archives have none; leave it out")
        return _in_archives(what, field, shards, where)
    return _in_tables(what, field, shards, where)


def _in_tables(what: str, field: str, shards: ShardList, where: ShardFiles) -> Pairs:
    tables = {name: TableFile(file) for name, file in shards.files.items()}
    first = next(iter(tables.values()))
    for table in tables.values():
        if table.columns.keys() != first.columns.keys():
            differing = sorted(table.columns.keys() ^ first.columns.keys())
            raise InputError(
                f"the shards of {what} differ in columns: only one of {first.file} and {table.file} has "
                f"{few(differing)}; give each data set files of its own"
            )
    shown = few((f"{name} ({kind})" for name, kind in first.columns.items()), 12)
    kinds = {"image": "encoded images", "label": "encoded images", "id": "texts"}
    given = {"image": where.image, "label": where.label, "id": where.id}
    for key, column in given.items():
        if column is not None and column not in first.columns:
            raise InputError(f"{field}.{key}: {first.file} has no column {column!r}; its columns are {shown}")
        fitting = [table.of_texts if key == "id" else table.of_bytes for table in tables.values()]
        if column is not None and not all(column in names for names in fitting):
            raise InputError(
                f"{field}.{key}: the column {column!r} holds {first.columns[column]} in {first.file}, and must hold "
                f"{kinds[key]} in all shards; the columns are {shown}"
            )
    image, label = _chosen(field, "columns", first.of_bytes, where, f"the columns of {first.file} are {shown}")
    for column in (image, label):
        if other := next((table for table in tables.values() if column not in table.of_bytes), None):
            raise InputError(
                f"the shards of {what} differ in columns: {column!r} of {other.file} holds no encoded images, as that "
                f"of {first.file} does"
            )
    files: dict[str, tuple[Stored, Stored]] = {}
    for name, table in tables.items():
        ids = _row_ids(field, name, table, where.id)
        table.in_order = ids == sorted(ids)
        for row, image_id in enumerate(ids):
            if image_id in files:
                raise InputError(f"{field}.id: two rows are called {image_id!r}; name a column without repetition")
            files[image_id] = (cell_of(table, row, image), cell_of(table, row, label))
    if not files:
        raise MissingError(f"{what} has no images: its {len(tables)} shards, such as {first.file}, have no rows")
    return Pairs(dict(sorted(files.items())))


def _row_ids(field: str, shard: str, table: TableFile, column: str | None) -> list[str]:
    if column is None:
        return [f"{shard}/{row:08d}" for row in range(table.rows)]
    ids = [normalized(text) for text in table.texts(column)]
    if wrong := next((i for i in ids if not is_below(i) or not i.strip() or printable(i) != i), None):
        raise InputError(
            f"{field}.id: the column {column!r} of {table.file} must name images by texts without control characters "
            f"that are no absolute paths and contain no .., got {printable(wrong)!r}"
        )
    return ids


def _in_archives(what: str, field: str, shards: ShardList, where: ShardFiles) -> Pairs:
    samples: dict[str, tuple[Path, Mapping[str, Member]]] = {
        f"{name}/{key}": (file, members)
        for name, file in shards.files.items()
        for key, members in samples_of(file).items()
    }
    endings = dict.fromkeys(ending for _, members in samples.values() for ending in members)
    archive = next(iter(shards.files.values()))
    shown = few(endings, 12) or "none"
    of_images = [ending for ending in endings if PurePosixPath(f"x.{ending}").suffix in IMAGE_SUFFIXES]
    image, label = _chosen(
        field, "members", of_images, where, f"the names of members of {archive} end with {shown} after the first dot"
    )
    files: dict[str, tuple[Stored, Stored]] = {}
    passed_over: list[str] = []
    for image_id, (file, members) in sorted(samples.items()):
        if image not in members and label not in members:
            passed_over += [member.place for member in members.values()]
            continue
        if lacking := [ending for ending in (image, label) if ending not in members]:
            raise MissingError(
                f"{what} is incomplete: in {file} the member {image_id.partition('/')[2]} has no {lacking[0]}, only "
                f"{few(members)}; add it, or say under {field} which endings are those of images and label maps"
            )
        files[image_id] = (members[image], members[label])
    if not files:
        raise MissingError(f"{what} has no images in {archive} that end with {image} and {label}")
    notes = (f"{archive}: {len(passed_over)} members passed over: {few(passed_over)}",) if passed_over else ()
    return Pairs(files, notes)


def _chosen(field: str, parts: str, candidates: Sequence[str], where: ShardFiles, seen: str) -> tuple[str, str]:
    """The names of the images and of the label maps: those that are given, else those whose words say it.

    Raises:
        InputError: If that is not clear.
    """
    label = where.label or _the_one(candidates, lambda name: kind_in(name) == "labels" and name != where.image)
    if label is None and parts == "members":  # a.jpg and a.png: labels are saved without loss
        lossless = [name for name in candidates if f".{name}" in LABEL_SUFFIXES and name != where.image]
        label = lossless[0] if len(lossless) == 1 else None
    image = where.image or _the_one(candidates, lambda name: kind_in(name) == "images" and name != label)
    image = image or _the_one(candidates, lambda name: name != label)
    for key, name, what in (("label", label, "label maps"), ("image", image, "images")):
        if name is None:
            raise InputError(f"{field}.{key}: must say which {parts} hold the {what}, since {seen}")
    if image == label:
        raise InputError(f"{field}: images and label maps must be different {parts}, got {image!r} for both; {seen}")
    return str(image), str(label)


def _the_one(names: Sequence[str], fits: Callable[[str], bool]) -> str | None:
    fitting = [name for name in names if fits(name)]
    return fitting[0] if len(fitting) == 1 else None
