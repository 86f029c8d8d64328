"""Temporary folders that do not outlive their process for long: what a killed process leaves, the next one removes.

A folder is held by a lock on the folder itself, which ends with the process, however that ends. Where the operating
system has no such locks (Windows), nothing is removed.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from kdtrain.runtime import file_locks

_PREFIX = "kdsweep-tmp-"
"""No name that a user gives to a folder of results."""
_YOUNG_S = 5.0
"""A folder is held within this time after it is made."""


@contextlib.contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder, removed at the end of the block.

    Args:
        parent: Where it is made, as a hidden folder; by default the system's temporary folder.

    Raises:
        OSError: If the disk refuses.
    """
    prefix = _PREFIX if parent is None else f".{_PREFIX}"
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    remove_abandoned(parent, f"{prefix}*")
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        with held(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder, so that `remove_abandoned` leaves it alone."""
    if not file_locks.HAS_LOCKS:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks: then no folder on it is ever removed
            file_locks.take(descriptor)
        yield
    finally:
        os.close(descriptor)


def remove_abandoned(parent: Path, pattern: str) -> None:
    """Remove the folders of this user that nobody holds.

    Args:
        parent: Where they lie.
        pattern: What their names match; everything that matches was held by whoever made it.
    """
    for folder in abandoned(parent, pattern):
        shutil.rmtree(folder, ignore_errors=True)


def abandoned(parent: Path, pattern: str) -> Iterator[Path]:
    """The folders of this user that nobody holds, as for `remove_abandoned`."""
    for folder in parent.glob(pattern) if file_locks.HAS_LOCKS else ():
        with contextlib.suppress(OSError):
            status = folder.lstat()
            is_ours = folder.is_dir() and not folder.is_symlink() and status.st_uid == os.getuid()
            if is_ours and time.time() - status.st_mtime > _YOUNG_S and _is_free(folder):
                yield folder


def _is_free(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        file_locks.take(descriptor)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)
