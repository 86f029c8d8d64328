"""What every data set offers: image ids by role, their groups, pixels, and a digest of ids and contents."""

from pathlib import Path
from typing import Annotated, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator

from kdtrain.errors import InputError, MissingError
from kdtrain.printable import printable

Role = Literal["train", "select", "test"]
ROLES: tuple[Role, ...] = ("train", "select", "test")
FORMER_NAMES = {"report": "test"}
"""Former names of roles; configs, and functions that take a role, still accept them."""
IGNORE = 255


def is_below(path: str) -> bool:
    """Whether a path leads to something below the folder that it is relative to, by its text."""
    return not Path(path).is_absolute() and ".." not in Path(path).parts


def _relative(folder: str) -> str:
    if not is_below(folder):
        raise ValueError(f"a folder is given relative to the data root, got {folder!r}")
    return folder


RelativeFolder = Annotated[str, AfterValidator(_relative)]
"""A folder under the data root."""

Pixels = npt.NDArray[np.uint8]
Palette = tuple[tuple[int, int, int], ...]


class DataSource(Protocol):
    """Labelled images in up to three roles: `train`, `select` (a search sees it), `test` (read once).

    Made by the `open` of a data config, which checks the folders of train and select.
    """

    classes: tuple[str, ...]
    palette: Palette
    ignore_index: int

    def ids(self, role: str) -> tuple[str, ...]:
        """The ids of the images of a role, in a fixed order; InputError if the data have no such role."""
        ...

    def group(self, image_id: str) -> str:
        """The group of the image, such as a video or a city: images of a group are not independent."""
        ...

    def read(self, role: str, image_id: str) -> tuple[Pixels, Pixels]:
        """RGB image `(H, W, 3)` and train ids `(H, W)`, 255 ignored."""
        ...

    def listing(self, role: str) -> str:
        """A quick key that changes whenever the digest might have: names, sizes and times, not contents."""
        ...

    def digest(self, role: str) -> str:
        """A hash of ids and contents: equal on every machine that holds the same data."""
        ...


@runtime_checkable
class ReadsLabels(Protocol):
    """A data source of files, which reads a label map without its image."""

    def read_labels(self, role: str, image_id: str) -> Pixels:
        """Train ids `(H, W)`, 255 ignored."""
        ...


@runtime_checkable
class KnowsTurns(Protocol):
    """A data source of files that may hold EXIF orientations."""

    def is_silently_turned(self, role: str, image_id: str) -> bool:
        """Whether an EXIF orientation turns the image and not its label map, and their sizes agree anyway."""
        ...


def checked_role(name: str) -> Role:
    """The role of a name, which may be a former one; InputError if there is no such role."""
    for role in ROLES:
        if FORMER_NAMES.get(name, name) == role:
            return role
    raise InputError(f"a role is one of {', '.join(ROLES)}, got {name!r}")


def check_labels(labels: Pixels, source: DataSource, image_id: str) -> None:
    """InputError if a pixel of an image has a label that is neither a class nor ignored."""
    count = len(source.classes)
    allowed = {*range(count), source.ignore_index}
    if wrong := [int(label) for label in np.unique(labels) if int(label) not in allowed]:
        raise InputError(
            f"{image_id}: labels must be classes (0 to {count - 1}) or {source.ignore_index}, which is ignored, "
            f"got {', '.join(map(str, wrong[:5]))}"
        )


def written_name(role: str) -> str:
    """What a role is called in digests, image ids, random streams and the image cache, where names never change."""
    return "report" if role == "test" else role


def checked_root(data_root: Path | None, name: str) -> Path:
    """The data root, or InputError if it is not set or not a folder."""
    if data_root is None:
        raise InputError(f"the data {name!r} are read from a folder: set data_root")
    if printable(data_root) != str(data_root):
        raise InputError(f"the data root of {name!r} must be a path in UTF-8, got {printable(data_root)}; rename it")
    if not Path(data_root).is_dir():
        raise MissingError(
            f"the data root of {name!r} is not a folder: {data_root}; name the folder that holds the data sets by "
            "--data or KDSWEEP_DATA"
        )
    return Path(data_root)


def dataset_root(
    data_root: Path | None, name: str, folders: tuple[str, ...], holds: tuple[str, ...], todo: str
) -> Path:
    """The folder in which a data set lies: the first of `folders` under the data root that holds what it must.

    Args:
        data_root: The folder of all data sets.
        name: The data set, for the errors.
        folders: Where it may lie; `.` is the data root itself.
        holds: Folders of which it must hold at least one.
        todo: How to get it, for the errors.

    Raises:
        InputError: If it is in none of them.
    """
    root = checked_root(data_root, name)
    for folder in folders:
        if any((root / folder / held).is_dir() for held in holds):
            return root / folder
    places = " or ".join(str(root / folder) for folder in folders)
    raise MissingError(f"the data {name!r} are not there: looked for {' or '.join(holds)} in {places}; {todo}")
