"""Locks on whole files between processes (`flock`), which end with the process that holds them, however it ends.

They belong to an open file, not to a process as those of `lockf` do, so two threads exclude each other as two processes
do, and closing another descriptor of the file does not drop them; and they are the same call on Linux and macOS.
Windows has none: there `take` raises the same error as on a file system without locks.
"""

import errno
from typing import IO, Any

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    HAS_LOCKS = False
else:
    HAS_LOCKS = True


def take(file: IO[Any] | int, shared: bool = False, wait: bool = False) -> None:
    """Lock an open file or folder.

    Args:
        file: A file, or its descriptor.
        shared: Whether others may share the lock at the same time.
        wait: Whether to wait until the lock is free.

    Raises:
        BlockingIOError: If another holds it, without `wait`.
        OSError: If the file system or the operating system has no locks.
    """
    if not HAS_LOCKS:
        raise OSError(errno.ENOLCK, "this operating system has no locks of whole files")
    fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))


def release(file: IO[Any] | int) -> None:
    """Give a lock back before the file is closed.

    Raises:
        OSError: If the file system has no locks.
    """
    if HAS_LOCKS:
        fcntl.flock(file, fcntl.LOCK_UN)
