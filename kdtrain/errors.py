"""Errors that a user can correct, each with a message of one sentence."""

import errno
from pathlib import Path


class InputError(ValueError):
    """Wrong input: a config, a data folder, a teacher, a checkpoint.

    The message is one sentence that names the field or file, what is allowed and what it got.
    """


class MissingError(InputError):
    """A file or folder that is not there, or that cannot be read.

    Before a training starts, that is wrong input. If the file was there when a sweep started, it is an outage.
    """


class StorageError(InputError):
    """A disk or store that is full or refuses; once that is corrected, the same command continues."""


class DamagedError(InputError):
    """The folder of a run cannot be resumed: a file in it is damaged, or it belongs to another run."""


_UNMOUNTED = "ESTALE ENOTCONN ENODEV ENXIO EREMOTEIO ESHUTDOWN"
_UNREACHED = "ETIMEDOUT EHOSTDOWN EHOSTUNREACH ENETDOWN ENETUNREACH ECONNREFUSED"
_FAULTY = "EIO EUCLEAN"
_REMEDIES = {
    "ENOSPC EDQUOT": "make room",
    "EROFS": "make the file system writable",
    "EACCES EPERM": "give this user the permission",
    "ENAMETOOLONG": "choose a shorter name",
    "ENOENT": "put it back or mount its file system",
    "ENOTDIR EEXIST": "move the file away that lies where a folder must be",
    "EISDIR": "move the folder away that lies where a file must be",
    _UNMOUNTED: "mount the file system again",
    _UNREACHED: "check the file server and the network",
    _FAULTY: "check the disk or the file server",
    "EMFILE ENFILE": "allow more open files (ulimit -n)",
    "EFBIG": "allow larger files (ulimit -f)",
    "ELOOP": "remove the links that refer to each other",
    "ENOMEM": "free memory",
    "EBUSY ETXTBSY": "end the process that uses the file",
}
"""What to do, by the names of the system's errors."""


def _numbers(names: str) -> frozenset[int]:
    return frozenset(getattr(errno, name) for name in names.split() if hasattr(errno, name))


_REMEDY_OF = {number: todo for names, todo in _REMEDIES.items() for number in _numbers(names)}
AWAY = _numbers(f"ENOENT ENOTDIR {_UNMOUNTED} {_UNREACHED} {_FAULTY}")
"""Errors of a file whose folder was moved, or whose disk or file server does not answer."""


def is_full(error: BaseException) -> bool:
    """Whether a disk or a quota is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def remedy(error: OSError) -> str:
    """What to do about an error of the operating system."""
    return _REMEDY_OF.get(error.errno or 0, "correct the cause")


def is_away(error: BaseException) -> bool:
    """Whether a file could not be read because it, its folder, its disk or its file server is away.

    An error that was raised because of another one counts as that one, too.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, MissingError) or (isinstance(cause, OSError) and cause.errno in AWAY):
            return True
        if isinstance(cause, PermissionError) and not isinstance(error, StorageError):
            return True
        cause = cause.__cause__ or (cause.__context__ if isinstance(cause, InputError) else None)
    return False


def refused(what: Path | str, error: OSError) -> StorageError:
    """The error for a file that a disk refuses to write: which file, why, and what to do."""
    return StorageError(
        f"cannot write {what}: {error.strerror or error}; {remedy(error)} and run the same command again"
    )


def unreadable(what: Path | str, error: OSError) -> MissingError:
    """The error for a file that cannot be read: which file, why, and what to do."""
    return MissingError(
        f"cannot read {what}: {error.strerror or error}; {remedy(error)} and run the same command again"
    )
