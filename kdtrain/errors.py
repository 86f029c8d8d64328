"""Errors that a user can correct, each with a message of one sentence."""

import errno
from pathlib import Path


class InputError(ValueError):
    """Wrong input: a config, a data folder, a teacher, a checkpoint.

    The message is one sentence that names the field or file, what is allowed and what it got.
    """


class StorageError(InputError):
    """A disk or store that is full or refuses; once that is corrected, the same command continues."""


class DamagedError(InputError):
    """The folder of a run cannot be resumed: a file in it is damaged, or it belongs to another run."""


def is_full(error: BaseException) -> bool:
    """Whether a disk or a quota is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def refused(what: Path | str, error: OSError) -> StorageError:
    """The error for a file that a disk refuses: which file, why, and what to do."""
    todo = "make room" if is_full(error) else "put it right"
    return StorageError(f"cannot write {what}: {error.strerror or error}; {todo} and run the same command again")
