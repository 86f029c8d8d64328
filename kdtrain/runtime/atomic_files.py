"""Files that are either whole or missing."""

import contextlib
import os
from pathlib import Path

from kdtrain.errors import StorageError, refused, remedy


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, also after a crash at any moment, sees the old content or the new, never a part.

    Its folder is made if it is missing, but not the folders above: those that were moved or deleted are not made again.

    Raises:
        StorageError: If the disk refuses; the old content stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise refused(path, error) from error


def check_writable(folder: Path) -> None:
    """Create a folder and check that a file can be written in it.

    Raises:
        StorageError: If not.
    """
    probe = folder / f".probe.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(probe, b"\0" * 4096)
        probe.unlink()
    except (StorageError, OSError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        assert isinstance(cause, OSError)
        reason = cause.strerror or cause
        raise StorageError(f"cannot write to {folder}: {reason}; {remedy(cause)} or choose another folder") from cause
