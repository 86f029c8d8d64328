"""Locks between processes and between threads, which a holder that is killed cannot leave behind.

These are `flock` locks on small files of their own. They belong to an open file, not to a process as those of
`lockf` do, so two threads exclude each other as two processes do, and closing another descriptor of the file does not
drop them; and they are the same call on Linux and macOS, which the byte ranges of `F_OFD_SETLK` are not. The files are
never removed: a lock on a file that is no longer in its folder would exclude nobody.

A store is meant for a local disk. Over NFS, Linux turns `flock` into a lock at the server, which works between
machines only if the server has a lock manager; and what one machine maps may lag behind what another has written.
There, checksums still keep every sample right, but a chunk may be made more than once.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
        mode = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        try:
            fcntl.flock(file, mode)
            held = True
        except BlockingIOError:
            held = False
        yield held
    finally:
        if os.getpid() == owner:  # a forked child shares the lock: closing alone would leave it to the child
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)
        os.close(file)


def open_file(path: Path) -> tuple[int, bool]:
    """A descriptor of a file, created if missing, and whether it can be written; on a read-only disk it cannot.

    Raises:
        OSError: If it cannot be opened even to read.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), True
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC), False
        except FileNotFoundError:
            raise error from None
