"""Members of tar archives, read in place: nothing is unpacked, and no member is executed or unpickled."""

import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from kdtrain.data.stored import FilePart, state_of
from kdtrain.data.walk import is_passed_over, normalized
from kdtrain.errors import InputError, unreadable
from kdtrain.printable import printable

_BLOCK = 512
_AGAIN = "copy or write it again"


@dataclass(frozen=True)
class Member(FilePart):
    """A file within an archive."""

    start: int = 0
    size: int = 0

    def read_bytes(self) -> bytes:
        """The bytes of the member alone."""
        with self.file.open("rb") as archive:
            archive.seek(self.start)
            content = archive.read(self.size)
        if len(content) < self.size:
            raise InputError(f"{self.file} ends within its member {self.place}; {_AGAIN}")
        return content


def samples_of(archive: Path) -> Mapping[str, Mapping[str, Member]]:
    """The members of an archive by key and ending, as webdataset names them.

    A name is divided at the first dot after its folder: `a/b.label.png` has the key `a/b` and the ending `label.png`.

    Raises:
        InputError: If the archive is compressed, damaged or cut, or has names that lead outside of it, links, or two
            members of one name.
    """
    try:
        return _samples(archive, state_of(archive))
    except InputError:
        raise
    except (tarfile.TarError, ValueError, OverflowError) as error:  # numbers in headers are read without a check
        raise InputError(f"{archive} is not a whole tar archive ({error}); {_AGAIN}") from None
    except OSError as error:
        raise unreadable(archive, error) from error


@lru_cache(4096)
def _samples(archive: Path, state: str) -> Mapping[str, Mapping[str, Member]]:
    """The members as long as the archive is not changed: to list them takes about 50 microseconds each."""
    samples: dict[str, dict[str, Member]] = {}
    for name, member in _members(archive):
        path = PurePosixPath(name)
        if is_passed_over(path):
            continue
        stem, _, ending = path.name.partition(".")
        endings = samples.setdefault(path.with_name(stem).as_posix(), {})
        if ending.lower() in endings:
            raise InputError(f"{archive} holds two members {name!r}; name every member once")
        endings[ending.lower()] = member
    return samples


def _members(archive: Path) -> Iterator[tuple[str, Member]]:
    """The files in an archive by name."""
    end = 0
    try:
        packed = tarfile.open(archive, "r:")  # noqa: SIM115 - another error follows from a failure here than from below
    except tarfile.ReadError:
        with archive.open("rb") as file:
            is_packed = file.read(3) in (b"\x1f\x8b\x08", b"BZh", b"\xfd7z", b"\x28\xb5\x2f")
        if not is_packed:
            raise
        raise InputError(f"{archive} is compressed, so its members cannot be read in place; decompress it") from None
    with packed:
        for info in packed:
            name = _checked_name(archive, info)
            end = info.offset_data + -(-info.size // _BLOCK) * _BLOCK if info.isreg() else info.offset_data
            if info.isreg():
                yield name, Member(archive, name, info.offset_data, info.size)
    with archive.open("rb") as file:
        file.seek(end)
        if file.read(_BLOCK) != bytes(_BLOCK):
            raise InputError(f"{archive} has no end, so members may lack; {_AGAIN}")


def _checked_name(archive: Path, info: tarfile.TarInfo) -> str:
    path = PurePosixPath(info.name)
    if path.is_absolute() or ".." in path.parts or "\\" in info.name:
        raise InputError(
            f"{archive} holds {printable(info.name)!r}, which lies outside of it; name members by paths within it"
        )
    if info.size < 0:
        raise InputError(f"{archive} holds {printable(info.name)!r} with a size below 0; {_AGAIN}")
    if printable(info.name) != info.name:
        raise InputError(f"{archive} holds {printable(info.name)!r}, a name that is not UTF-8 text; rename it")
    if not (info.isreg() or info.isdir()) or info.issparse():
        raise InputError(f"{archive} holds {info.name!r}, which is a link or a special file; store the file itself")
    return normalized(path.as_posix())
