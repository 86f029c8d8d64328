"""Archives are unpacked as if a stranger had made them: plain files and folders inside, of limited number and size."""

import contextlib
import errno
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from kdtrain.data.walk import normalized
from kdtrain.errors import InputError, StorageError
from kdtrain.printable import printable

_CHUNK = 1 << 20
_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError,
    UnicodeError, ValueError,
)  # fmt: skip
"""What the standard library raises for archives that are cut, damaged, encrypted or of an unknown kind."""


@dataclass(frozen=True)
class Limits:
    """How much an archive may hold."""

    files: int = 200_000
    """Files and folders."""
    bytes: int = 20 * 10**9
    """Unpacked."""


LIMITS = Limits()
_UNFIT = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
"""Errors of the system that come from names in the archive: one is a file and a folder, or too long."""


class _Member(NamedTuple):
    name: str
    kind: str
    """`file`, `folder`, or what else it is."""
    size: int
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path, limits: Limits) -> None:
    """Unpack a zip or tar archive into a new folder.

    Raises:
        InputError: If it is damaged or no archive, or holds what must not be unpacked: more than the limits, links,
            devices, names that are absolute, contain `..`, are no text, or come twice.
        StorageError: If the disk has too little room.
        OSError: If the disk refuses.
    """
    folder.mkdir()
    names: set[str] = set()
    left, room, files = limits.bytes, shutil.disk_usage(folder).free, 0
    try:
        with _members(archive) as members:
            for member in members:
                files += 1
                if files > limits.files:
                    raise InputError(f"the archive holds more than {limits.files} files, which is the limit")
                target = folder / _checked_name(member, names)
                if member.kind == "folder":
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                left, room = left - member.size, room - member.size
                if left < 0:
                    raise InputError(f"the archive holds more than {limits.bytes / 1e9:g} GB, which is the limit")
                if room < 0:
                    raise StorageError(f"cannot unpack the archive in {folder}: the disk is too small; make room")
                target.parent.mkdir(parents=True, exist_ok=True)
                _write(member, target)
    except _DAMAGED as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the archive is damaged or none ({_reason(error)})") from None
    except OSError as error:
        if error.errno in _UNFIT:
            what = printable(Path(error.filename or folder).name)
            raise InputError(
                f"the archive holds the name {what!r}, which cannot be written ({error.strerror})"
            ) from None
        # Errors of decompression have no number.
        if error.errno is not None:
            raise
        raise InputError(f"the archive is damaged or none ({_reason(error)})") from None


@contextlib.contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    with archive.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    if is_zip:
        with zipfile.ZipFile(archive) as packed:
            yield (_zipped(packed, info) for info in packed.infolist())
    else:
        with tarfile.open(archive) as packed_tar:
            yield (_tarred(packed_tar, info) for info in packed_tar)


def _zipped(packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    mode = info.external_attr >> 16
    kind = "folder" if info.is_dir() else "file"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        kind = "a link" if stat.S_ISLNK(mode) else "a special file"
    return _Member(info.filename, kind, info.file_size, lambda: packed.open(info))


def _tarred(packed: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    kind = "file" if info.isreg() else "folder" if info.isdir() else "a link" if info.issym() or info.islnk() else ""
    return _Member(info.name, kind or "a special file", info.size, lambda: packed.extractfile(info))


def _checked_name(member: _Member, names: set[str]) -> PurePosixPath:
    """The path of a member below the folder."""
    shown, path = printable(member.name), PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise InputError(f"the archive holds {shown!r}, which lies outside of it and must not be unpacked")
    if member.kind not in ("file", "folder"):
        raise InputError(f"the archive holds {shown!r}, {member.kind}, which must not be unpacked")
    if shown != member.name:
        raise InputError(f"the archive holds {shown!r}, a name that is not UTF-8 text")
    name = normalized(path.as_posix())
    if member.kind == "file":
        if name in names or name == ".":
            raise InputError(f"the archive holds {shown!r} twice")
        names.add(name)
    return path


def _write(member: _Member, target: Path) -> None:
    """Write a file of exactly the announced size."""
    source = member.open()
    if source is None:
        raise InputError(f"the archive holds {printable(member.name)!r}, which must not be unpacked")
    left = member.size
    with source, target.open("xb") as out:
        while chunk := source.read(min(_CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                break
            out.write(chunk)
    if left != 0:
        raise InputError(f"the archive is damaged or none ({printable(member.name)} has another size than it says)")


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
