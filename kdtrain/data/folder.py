"""Any data set that lies in folders of images and 8-bit label maps."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from kdtrain.config_base import Strict, renamed
from kdtrain.data.data_set import DataSet
from kdtrain.data.labels import LabelIds
from kdtrain.data.pairs import Pairs, PairSource, find_pairs
from kdtrain.data.palette import distinct_colors, parse_colors
from kdtrain.data.source import FORMER_NAMES, IGNORE, DataSource, RelativeFolder, Role, checked_root, written_name
from kdtrain.data.split import Split, carved
from kdtrain.errors import InputError

FileId = Annotated[int, Field(ge=0, le=255)]


class PairFolders(Strict):
    """Two folders under the data root, whose files are matched by name."""

    images: RelativeFolder
    labels: RelativeFolder
    image_suffix: str = ""
    """What image names end with before the extension, e.g. `_leftImg8bit`; other files are passed over."""
    label_suffix: str = ""
    """What label names end with before the extension, e.g. `_gtFine_labelIds`."""


class Folders(Strict):
    """Where each role's images lie; without its own folders, `select` is carved out of `train`."""

    train: PairFolders
    select: PairFolders | Split = Split()
    test: PairFolders | None = None

    @model_validator(mode="before")
    @classmethod
    def _former_names(cls, content: object) -> object:
        return renamed(content, FORMER_NAMES)

    @model_validator(mode="after")
    def _disjoint(self) -> "Folders":
        folders = [f for f in (self.train, self.select, self.test) if isinstance(f, PairFolders)]
        places = [(str(Path(f.images)), f.image_suffix) for f in folders]
        if twice := [place for place in places if places.count(place) > 1]:
            raise ValueError(f"two roles read the same images: {twice[0][0]}")
        return self


class Folder(DataSet):
    """Images and label maps of your own."""

    name: Literal["folder"] = "folder"
    classes: tuple[str, ...] = Field(min_length=2, max_length=255)
    folders: Folders
    colors: tuple[str, ...] | None = None
    """One `#rrggbb` per class, for pictures."""
    ids: dict[FileId, FileId] | None = None
    """Id in the label files -> index of the class; default: the index itself."""
    ignore: tuple[FileId, ...] = ()
    """Ids in the label files that are not scored, besides 255."""
    group: str | None = None
    """A regular expression whose first group names the video or city in an image's id, e.g. `^([^_]+)_`."""

    @field_validator("group")
    @classmethod
    def _captures(cls, group: str | None) -> str | None:
        try:
            groups = re.compile(group).groups if group is not None else 1
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        if groups < 1:
            raise ValueError(f"the expression must capture the group's name in parentheses, got {group!r}")
        return group

    @model_validator(mode="after")
    def _consistent(self) -> "Folder":
        count = len(self.classes)
        if len(set(self.classes)) < count:
            raise ValueError(f"classes repeat a name: {list(self.classes)}")
        if self.colors is not None:
            if len(self.colors) != count:
                raise ValueError(f"colors must be one per class: {count} classes but {len(self.colors)} colors")
            parse_colors(self.colors)
        if self.ids is not None:
            if missing := sorted(set(range(count)) - set(self.ids.values())):
                raise ValueError(f"ids maps no file id to the class {self.classes[missing[0]]!r} ({missing[0]})")
            if max(self.ids.values()) >= count:
                raise ValueError(f"ids maps to {max(self.ids.values())}, but classes end at {count - 1}")
        if clash := sorted(set(self.ids if self.ids is not None else range(count)) & {*self.ignore, IGNORE}):
            raise ValueError(f"the file id {clash[0]} is both a class and ignored")
        return self

    def hashed(self) -> dict[str, object]:
        """The fields, with the roles as they are written."""
        content = self.model_dump(mode="json")
        folders = {written_name(role): where for role, where in content["folders"].items()}
        return {**content, "folders": folders}

    @property
    def has_test(self) -> bool:
        """Whether its folders are given."""
        return self.folders.test is not None

    def open(self, data_root: Path | None) -> DataSource:
        """The files under `data_root`."""
        root = checked_root(data_root, "folder")

        def in_folders(role: Role, folders: PairFolders) -> Pairs:
            return find_pairs(
                f"the role {role}", root / folders.images, root / folders.labels,
                folders.image_suffix, folders.label_suffix,
            )  # fmt: skip

        def find(role: Role) -> Pairs:
            split, where = self.folders.select, getattr(self.folders, role)
            if where is None:
                raise InputError(f"the data have no role {role}: folders.{role} is not set")
            if role == "test" or isinstance(split, PairFolders):
                return in_folders(role, where)
            return carved(in_folders("train", self.folders.train), role, split, self.group)

        palette = parse_colors(self.colors) if self.colors else distinct_colors(len(self.classes))
        return PairSource(self.classes, palette, LabelIds(len(self.classes), self.ids, self.ignore), find, self.group)
