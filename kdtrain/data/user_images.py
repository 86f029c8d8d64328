"""The bases of data sets that lie in files of the user's: roles, classes, and what the values in label maps mean."""

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Generic, TypeVar

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from kdtrain.config_base import Strict
from kdtrain.data.data_set import DataSet
from kdtrain.data.labels import LabelColors, LabelIds, LabelMeaning, few
from kdtrain.data.pairs import Pairs, PairSource
from kdtrain.data.palette import distinct_colors, normal_color, parse_colors
from kdtrain.data.source import IGNORE, DataSource, Palette, Role, checked_root
from kdtrain.data.split import Split, carved
from kdtrain.errors import MissingError

Place = TypeVar("Place", bound=Strict)
FileId = Annotated[int, Field(ge=0, le=255)]
HexColor = Annotated[str, AfterValidator(normal_color)]


class RolePlaces(Strict, Generic[Place]):
    """Where the images of each role lie; without a place of its own, `select` is carved out of `train`."""

    train: Place
    """What students are trained on."""
    select: Place | Split = Split()
    """What the search scores its trials on; by default a part of `train`."""
    test: Place | None = None
    """What the chosen config is measured on once the selection is frozen."""


class UserImages(DataSet):
    """Images whose classes the user names."""

    classes: tuple[str, ...] = Field(min_length=2, max_length=255)
    """Their names, in the order of their indices."""
    colors: tuple[str, ...] | None = None
    """One `#rrggbb` per class, for pictures."""
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
    def _named_and_colored(self) -> "UserImages":
        count = len(self.classes)
        if len(set(self.classes)) < count:
            raise ValueError(f"classes repeat a name: {list(self.classes)}")
        if self.colors is not None:
            if len(self.colors) != count:
                raise ValueError(f"colors must be one per class: {count} classes but {len(self.colors)} colors")
            parse_colors(self.colors)
        return self

    @property
    def has_test(self) -> bool:
        """Whether its place is given."""
        return self._place_of("test") is not None

    def open(self, data_root: Path | None) -> DataSource:
        """The files under `data_root`."""
        root = checked_root(data_root, self.name)
        split = self._place_of("select")

        @cache
        def of_place(role: Role) -> Pairs:  # of train, from which select is carved, only once
            return self._find(role, root)

        def find(role: Role) -> Pairs:
            where = self._place_of(role)
            if where is None:
                raise MissingError(f"the data have no role {role}: {self._roles_field}.{role} is not set")
            if role != "test" and isinstance(split, Split):
                return carved(of_place("train"), role, split, self.group)
            return of_place(role)

        return PairSource(self.classes, self._palette(), self._meaning(), find, self.group)

    @property
    def _roles_field(self) -> str:
        """The name of the field that says where the images of each role lie."""
        return next(name for name in type(self).model_fields if isinstance(getattr(self, name), RolePlaces))

    def _place_of(self, role: Role) -> object:
        """Where the images of a role lie: a place, for `select` also a `Split`, or none."""
        return getattr(getattr(self, self._roles_field), role)

    @abstractmethod
    def _find(self, role: Role, root: Path) -> Pairs:
        """The images of a role that has a place, with their label maps."""

    @abstractmethod
    def _meaning(self) -> LabelMeaning:
        """How label maps become train ids."""

    def _palette(self) -> Palette:
        """The colors that are given for pictures; else colors that are easy to tell apart."""
        return parse_colors(self.colors) if self.colors else distinct_colors(len(self.classes))


class LabelledByMaps(UserImages):
    """Images with label maps that are images themselves, of ids or colors."""

    ids: dict[FileId, FileId] | None = None
    """Id in the label files -> index of the class; default: the index itself."""
    ignore: tuple[FileId, ...] = ()
    """Ids in the label files that are not scored. 255 is not scored either, unless `ids` gives it a class; then
    `ignore` must be given, empty where no id is ignored."""
    label_colors: dict[HexColor, FileId] | None = None
    """For label files that show classes by color, or masks of black and white: `#rrggbb` -> index of the class."""
    ignore_colors: tuple[HexColor, ...] = ()
    """Colors in the label files that are not scored."""

    @field_validator("ids", "label_colors", mode="before")
    @classmethod
    def _indices_of_classes(cls, table: object, info: ValidationInfo) -> object:
        for key, index in table.items() if isinstance(table, Mapping) else ():
            if isinstance(index, str) and not index.isdecimal():
                classes = info.data.get("classes", ())
                meant = f"; write {classes.index(index)} for {index}" if index in classes else ""
                raise ValueError(f"{key} must have the index of its class, got {index!r}{meant}")
        return table

    @field_validator("label_colors", mode="before")
    @classmethod
    def _each_color_once(cls, table: object) -> object:
        if not isinstance(table, Mapping):
            return table
        if not table:
            raise ValueError('must give each class a color in quotes, as in {"#000000": 0, "#ffffff": 1}, got {}')
        written = [color.lower() for color in table if isinstance(color, str)]
        if twice := [color for color, count in Counter(written).items() if count > 1]:
            raise ValueError(f"the color {twice[0]} is given twice")
        return table

    @model_validator(mode="after")
    def _consistent(self) -> "LabelledByMaps":
        count = len(self.classes)
        for field, table in (("ids", self.ids), ("label_colors", self.label_colors)):
            if table is None:
                continue
            if missing := sorted(set(range(count)) - set(table.values())):
                kind = "file id" if field == "ids" else "color"
                raise ValueError(f"{field} maps no {kind} to the class {self.classes[missing[0]]!r} ({missing[0]})")
            if max(table.values()) >= count:
                raise ValueError(f"{field} maps to {max(table.values())}, but classes end at {count - 1}")
        return self

    @model_validator(mode="after")
    def _ignored(self) -> "LabelledByMaps":
        file_ids = set(self.ids if self.ids is not None else range(len(self.classes)))
        if self.label_colors is not None and (self.ids is not None or self.ignore):
            raise ValueError("label_colors reads colors and ids or ignore read ids: give one of them")
        if self.ignore_colors and self.label_colors is None:
            raise ValueError("ignore_colors belongs to label_colors, which is not given")
        if clash := sorted(set(self.label_colors or ()) & set(self.ignore_colors)):
            raise ValueError(f"the color {clash[0]} is both a class and ignored")
        if clashing := sorted(file_ids & set(self.ignore)):
            raise ValueError(f"the file id {clashing[0]} is both a class and ignored")
        if IGNORE in file_ids and "ignore" not in self.model_fields_set:
            raise ValueError(
                f"ids gives {IGNORE} a class, which is ignored by default: also give ignore, the list of the ids that "
                "are ignored, as ignore: [] where none is"
            )
        return self

    @property
    def ignored_labels(self) -> str:
        """Which ids of the label files are ignored, and how to make 255 a class."""
        if self.label_colors is not None or (self.ids is not None and IGNORE in self.ids):
            return ""
        ignored = few(sorted({*(self.ignore or ()), IGNORE}))
        last = len(self.classes) - 1
        return f" (ids that are ignored: {ignored}; 255 is a class with ids: {{..., 255: {last}}} and ignore: [])"

    def _meaning(self) -> LabelMeaning:
        if self.label_colors is None:
            return LabelIds(len(self.classes), self.ids, self.ignore)
        colors = [*self.label_colors, *self.ignore_colors]
        train_ids = [*self.label_colors.values(), *(IGNORE for _ in self.ignore_colors)]
        return LabelColors(dict(zip(parse_colors(colors), train_ids, strict=True)), gray=True)

    def _palette(self) -> Palette:
        """The colors that are given for pictures; else the first color of each class in the label files, if any."""
        if self.colors is None and self.label_colors is not None:
            first = {train_id: color for color, train_id in reversed(self.label_colors.items())}
            return parse_colors([first[train_id] for train_id in range(len(self.classes))])
        return super()._palette()
