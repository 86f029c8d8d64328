"""Locks between processes and between threads, which a holder that is killed cannot leave behind.

These are locks of `kdtrain.runtime.file_locks` on small files of their own; byte ranges (`F_OFD_SETLK`) would not be
the same call on Linux and macOS. The files are never removed: a lock on a file that is no longer in its folder would
exclude nobody.

A store is meant for a local disk. Over NFS, Linux turns `flock` into a lock at the server, which works between
machines only if the server has a lock manager; and what one machine maps may lag behind what another has written.
There, checksums still keep every sample right, but a chunk may be made more than once.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kdtrain.runtime import file_locks

_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def locked(path: Path, shared: bool = False, wait: bool = False) -> Iterator[bool]:
    """Hold a lock; the value is whether it is held.

    Args:
        path: The file of the lock, created if missing; its folder must exist.
        shared: Whether others may share it at the same time.
        wait: Whether to wait until it is free; otherwise the value is False if it is not.

    Raises:
        OSError: If the file cannot be opened, or the file system has no locks.
    """
    file = open_file(path)[0]
    owner = os.getpid()
    try:
        try:
            file_locks.take(file, shared, wait)
            held = True
        except BlockingIOError:
            held = False
        yield held
    finally:
        if os.getpid() == owner:  # a forked child shares the lock: closing alone would leave it to the child
            with suppress(OSError):
                file_locks.release(file)
        os.close(file)


def open_file(path: Path) -> tuple[int, bool]:
    """A descriptor of a file, created if missing, and whether it can be written; on a read-only disk it cannot.

    Raises:
        OSError: If it cannot be opened even to read.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666), True
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        try:
            return os.open(path, os.O_RDONLY), False
        except FileNotFoundError:
            raise error from None
