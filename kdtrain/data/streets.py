"""Generated street scenes: data for a demo and for tests, with nothing to download."""

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from kdtrain.config_base import Strict, renamed
from kdtrain.data.data_set import DataSet
from kdtrain.data.scene import BLOCK, CLASSES, draw_scene
from kdtrain.data.source import FORMER_NAMES, IGNORE, DataSource, Palette, Pixels, checked_role, written_name
from kdtrain.errors import InputError

VERSION = 1
"""Counts up whenever the same config draws other pixels."""

COLORS: Palette = (
    (70, 130, 180), (70, 70, 70), (128, 64, 128), (244, 35, 232), (107, 142, 35),
    (0, 0, 142), (153, 153, 153), (220, 220, 0), (250, 170, 30), (220, 20, 60),
)  # fmt: skip
Side = Annotated[int, Field(ge=32, le=1024)]


class RoleCounts(Strict):
    """Images per role."""

    train: int = Field(default=128, ge=1)
    select: int = Field(default=64, ge=1)
    test: int = Field(default=128, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _former_names(cls, content: object) -> object:
        return renamed(content, FORMER_NAMES)


class Streets(DataSet):
    """Generated street scenes; nothing is read from a disk."""

    name: Literal["streets"] = "streets"
    size: tuple[Side, Side] = (48, 64)
    """Height and width in pixels."""
    counts: RoleCounts = RoleCounts()
    """Images of each role."""
    seed: int = 0
    """Of the scenes."""

    def hashed(self) -> dict[str, object]:
        """The fields, with the roles as they are written."""
        counts = {written_name(role): count for role, count in self.counts}
        return {**super().hashed(), "counts": counts}

    def may_be_absent(self, name: str) -> bool:
        """True: nobody has labelled the scenes, so that a class is only absent by chance."""
        return True

    def open(self, data_root: Path | None = None) -> DataSource:
        """The scenes; `data_root` is not used."""
        return StreetSource(self)


class StreetSource:
    """Draws the scenes of a config; see `DataSource` for what its methods promise."""

    classes: tuple[str, ...] = CLASSES
    palette = COLORS
    ignore_index = IGNORE

    def __init__(self, config: Streets) -> None:
        """The scenes of `config`."""
        self.config = config

    def ids(self, role: str) -> tuple[str, ...]:
        """`<role><block>_<image>`."""
        role = checked_role(role)
        count = getattr(self.config.counts, role)
        return tuple(f"{written_name(role)}{i // BLOCK:03d}_{i:04d}" for i in range(count))

    def group(self, image_id: str) -> str:
        """The block."""
        return image_id.split("_")[0]

    def read(self, role: str, image_id: str) -> tuple[Pixels, Pixels]:
        """Draw one scene."""
        if image_id not in self.ids(role):
            raise InputError(f"the streets have no image {image_id!r} in the role {role}")
        stream = written_name(checked_role(role))
        return draw_scene(self.config.size, self.config.seed, stream, int(image_id.split("_")[1]))

    def listing(self, role: str) -> str:
        """The same as the digest."""
        return self.digest(role)

    def digest(self, role: str) -> str:
        """A hash of what decides the pixels."""
        role = checked_role(role)
        count = getattr(self.config.counts, role)
        text = f"streets {VERSION} {self.config.size} {self.config.seed} {written_name(role)} {count}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
