"""Where the encoded bytes of an image or a label map lie: in a file of their own, or within a file that holds many."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kdtrain.errors import unreadable


class Stored(Protocol):
    """The bytes of an image or a label map; as text, where they lie, for errors. A `Path` is one, and a `FilePart`."""

    def read_bytes(self) -> bytes:
        """The bytes; OSError or InputError if they cannot be read."""
        ...

    def stat(self) -> os.stat_result:
        """The status of the file that holds them."""
        ...


@dataclass(frozen=True)
class FilePart(ABC):
    """Bytes within a file that holds many images: a member of an archive, a cell of a table."""

    file: Path
    place: str
    """Where in the file; differs between any two parts of it."""

    def __str__(self) -> str:
        return f"{self.file} ({self.place})"

    def stat(self) -> os.stat_result:
        """The status of the file."""
        return self.file.stat()

    @abstractmethod
    def read_bytes(self) -> bytes:
        """The bytes of the part alone."""


def place_in_file(stored: Stored) -> str:
    """Where in its file a part lies; empty for a whole file."""
    return stored.place if isinstance(stored, FilePart) else ""


def identity_of(stored: Stored) -> tuple[object, ...]:
    """What two names have in common if they lead to the same bytes: links, also hard links, and other mounts included.

    Raises:
        InputError: If the file cannot be read.
    """
    file = stored.file if isinstance(stored, FilePart) else stored
    try:
        status = stored.stat()
    except OSError as error:
        raise unreadable(error.filename or "a data file", error) from None
    place = place_in_file(stored)
    return (status.st_dev, status.st_ino, place) if status.st_ino else (os.path.realpath(str(file)), place)


def state_of(file: Path) -> str:
    """Which file it is, how large, and when it was changed last; OSError if it cannot be looked at."""
    return _facts(file.stat())


def remembered_facts() -> Callable[[Stored], str]:
    """A function that says of bytes when their file was changed last, and how large it is; each file is seen once."""
    seen: dict[Path, str] = {}

    def facts(stored: Stored) -> str:
        if not isinstance(stored, FilePart):
            return _facts(stored.stat())
        if stored.file not in seen:
            seen[stored.file] = state_of(stored.file)
        return f"{seen[stored.file]}|{stored.place}"

    return facts


def _facts(status: os.stat_result) -> str:
    return f"{status.st_ino}|{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}"
