"""Roles made anew: the images of `train` and `select` of any data set, divided by whole groups."""

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

from pydantic import Field, field_validator, model_validator

from kdtrain.config_base import Seed, Strict
from kdtrain.data.apart import HasFiles, check_roles_apart
from kdtrain.data.labels import few
from kdtrain.data.source import DataSource, KnowsTurns, Pixels, ReadsLabels, Role, checked_role, written_name
from kdtrain.data.split import drawn_groups
from kdtrain.data.stored import Stored
from kdtrain.errors import InputError, MissingError

CARVED: tuple[Role, ...] = ("train", "select")
"""The roles whose images are divided anew; `test` stays as it is."""


class Carve(Strict):
    """Which groups (video sequences, cities) are in `train` and which in `select`; no group is in both."""

    train: tuple[str, ...] = ()
    """Groups whose images, of either role, are all trained on."""
    select: tuple[str, ...] = ()
    """Groups whose images, of either role, all become `select`. A group that neither list names stays where it is."""
    share: float | None = Field(default=None, gt=0, lt=1)
    """In place of the lists: the part of all images that randomly drawn groups bring to `select`."""
    seed: Seed = 0
    """Draws the groups of `share`."""

    @field_validator("train", "select")
    @classmethod
    def _in_one_order(cls, groups: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(groups)))

    @model_validator(mode="after")
    def _consistent(self) -> "Carve":
        if both := sorted(set(self.train) & set(self.select)):
            raise ValueError(f"train and select both name the group {both[0]!r}: name it once")
        if (self.share is None) == (not self.train and not self.select):
            raise ValueError("name groups under train or select, or give share, which draws groups; one of both")
        if self.share is None and self.seed:
            raise ValueError("seed draws the groups of share, which is not given")
        return self

    @property
    def words(self) -> str:
        """Which groups are where, for a text about the data."""
        if self.share is not None:
            return f"select: groups with {self.share:g} of the images, seed {self.seed}"
        return "; ".join(f"{role}: {', '.join(getattr(self, role))}" for role in CARVED if getattr(self, role))

    def role_of(self, sizes: Mapping[Role, Mapping[str, int]]) -> dict[str, Role]:
        """The new role of every group.

        Args:
            sizes: Images by group in each of the two roles.

        Raises:
            InputError: If a group that is named does not exist, one that is not named is in both roles, or a role
                is left without images.
        """
        images = Counter(sizes["train"]) + Counter(sizes["select"])
        if self.share is not None:
            drawn = drawn_groups(images, self.share, self.seed)
            return {group: "select" if group in drawn else "train" for group in images}
        named: dict[str, Role] = {group: role for role in CARVED for group in getattr(self, role)}
        if unknown := sorted(set(named) - set(images)):
            raise InputError(f"data.carve: there is no group {few(unknown)}; known: {few(sorted(images))}")
        if torn := [group for group in sizes["train"] if group in sizes["select"] and group not in named]:
            here, there = sizes["train"][torn[0]], sizes["select"][torn[0]]
            raise InputError(
                f"data.carve: the group {torn[0]!r} has images in train ({here}) and in select ({there}): name it "
                "under data.carve.train or data.carve.select"
            )
        roles: dict[str, Role] = {
            group: named.get(group, "train" if group in sizes["train"] else "select") for group in images
        }
        for role in CARVED:
            if role not in roles.values():
                raise InputError(f"data.carve: leaves no group for {role}; known: {few(sorted(images))}")
        return roles


def carved_source(source: DataSource, carve: Carve | None) -> DataSource:
    """A data source with `train` and `select` as they are carved; the source itself where nothing is.

    Raises:
        InputError: If the data do not have these groups, or the same file would be in two roles.
    """
    if carve is None:
        return source
    return CarvedFiles(source, carve) if isinstance(source, HasFiles) else CarvedSource(source, carve)


class CarvedSource:
    """A data source whose roles `train` and `select` are divided anew; see `DataSource` for what its methods promise.

    An id that both roles have is called `train/<id>` and `select/<id>`.
    """

    def __init__(self, source: DataSource, carve: Carve) -> None:
        """Divide the images of `source`."""
        self.classes, self.palette, self.ignore_index = source.classes, source.palette, source.ignore_index
        self._source = source
        self._key = json.dumps(carve.model_dump(mode="json"), sort_keys=True)
        both = set(source.ids("train")) & set(source.ids("select"))
        self._places: dict[str, tuple[Role, str]] = {
            f"{role}/{image_id}" if image_id in both else image_id: (role, image_id)
            for role in CARVED
            for image_id in source.ids(role)
        }
        if len(self._places) != sum(len(source.ids(role)) for role in CARVED):
            raise InputError(f"data.carve: train and select have images of one name, such as {min(both)}: rename them")
        sizes = {role: Counter(source.group(image_id) for image_id in source.ids(role)) for role in CARVED}
        roles = carve.role_of(sizes)
        self._ids: dict[Role, tuple[str, ...]] = {
            role: tuple(sorted(name for name, (_, i) in self._places.items() if roles[source.group(i)] == role))
            for role in CARVED
        }

    def ids(self, role: str) -> tuple[str, ...]:
        """Image ids in alphabetical order."""
        role = checked_role(role)
        return self._ids[role] if role in CARVED else self._source.ids(role)

    def group(self, image_id: str) -> str:
        """The group that the data set gives the image."""
        return self._source.group(self._places[image_id][1] if image_id in self._places else image_id)

    def read(self, role: str, image_id: str) -> tuple[Pixels, Pixels]:
        """Image and labels as the data set reads them."""
        return self._source.read(*self._place(role, image_id))

    def read_labels(self, role: str, image_id: str) -> Pixels:
        """The labels alone."""
        source, place = self._source, self._place(role, image_id)
        return source.read_labels(*place) if isinstance(source, ReadsLabels) else source.read(*place)[1]

    def is_silently_turned(self, role: str, image_id: str) -> bool:
        """As the data set says; False where it does not know."""
        return isinstance(self._source, KnowsTurns) and self._source.is_silently_turned(*self._place(role, image_id))

    def listing(self, role: str) -> str:
        """Made of the listings of both roles."""
        return self._made_of(self._source.listing, role)

    def digest(self, role: str) -> str:
        """Made of the digests of both roles and of how they are divided."""
        return self._made_of(self._source.digest, role)

    def _place(self, role: str, image_id: str) -> tuple[str, str]:
        """The role and the id of an image in the data set."""
        return self._places[image_id] if checked_role(role) in CARVED else (role, image_id)

    def _made_of(self, of_role: Callable[[str], str], role: str) -> str:
        role = checked_role(role)
        if role not in CARVED:
            return of_role(role)
        text = "|".join(["carved", self._key, written_name(role), *map(of_role, CARVED)])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class FileSource(DataSource, HasFiles, Protocol):
    """A data source whose images are files."""


class CarvedFiles(CarvedSource):
    """A carved source of files."""

    _source: FileSource

    def __init__(self, source: FileSource, carve: Carve) -> None:
        """Divide the images of `source`, whose files must not be in two roles afterwards."""
        super().__init__(source, carve)
        roles: dict[str, Mapping[str, Stored]] = {role: self.image_files(role) for role in CARVED}
        with contextlib.suppress(MissingError):  # role test need not be there before it is read
            roles["test"] = source.image_files("test")
        check_roles_apart(roles)

    def image_files(self, role: str) -> Mapping[str, Stored]:
        """The image files of a role by id."""
        if checked_role(role) not in CARVED:
            return self._source.image_files(role)
        files = {carved: self._source.image_files(carved) for carved in CARVED}
        return {name: files[of][image_id] for name in self.ids(role) for of, image_id in [self._places[name]]}

    def notes(self, role: str) -> tuple[str, ...]:
        """What was passed over where the files of a role of the data set were looked for."""
        return self._source.notes(role)


def shared_groups(source: DataSource) -> list[str]:
    """A sentence about groups of several images that are both in `train` and in `select`; none where there are none."""
    train, select = ({source.group(i) for i in source.ids(role) if source.group(i) != i} for role in CARVED)
    if not (shared := sorted(train & select)):
        return []
    return [
        f"train and select share {few(shared)}: images of one group are alike, so that select says little about other "
        "groups; data.carve gives whole groups to a role"
    ]
