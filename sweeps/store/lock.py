"""One driver per sweep: whoever holds the lock.

On a disk the lock is the operating system's, which a killed driver cannot leave behind. In an object store, and on
file systems without locks, it is a lease. Either gives its holder a generation, see `sweeps.store.generations`, so that
two drivers that hold a lock nevertheless, because one was stopped or the lock was deleted, never both write.
"""

import errno
from collections.abc import Callable
from typing import Protocol

from kdtrain.errors import StorageError, remedy
from sweeps.store.file_lock import FileLock, is_locked
from sweeps.store.lease import TIMES, Lease, Times, is_leased
from sweeps.store.store import Store

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


class Lock(Protocol):
    """The right to write the ledger.

    Attributes:
        generation: One more than that of any driver before.
        mark: What this driver puts into the names of its files.
    """

    generation: int
    mark: str

    def check(self) -> None:
        """Make sure that this process still holds it.

        Raises:
            InputError: If another driver has taken over, or may have.
        """

    def close(self) -> None:
        """Let another driver have it."""


def take_lock(store: Store, notice: Callable[[str], None] = lambda text: None, times: Times = TIMES) -> Lock:
    """Take the lock of a sweep.

    Args:
        store: The sweep.
        notice: Called if the sweep is taken over from a driver that has not given it back.
        times: For tests.

    Raises:
        InputError: If another driver holds it.
        StorageError: If the store cannot be written.
    """
    if store.local is not None:
        try:
            return FileLock(store, notice)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                why = error.strerror or error
                raise StorageError(
                    f"cannot write to {store.local}: {why}; {remedy(error)} or choose another folder"
                ) from error
    return Lease(store, notice, times)


def is_driven(store: Store) -> bool:
    """Whether a driver seems to have the sweep open; of a lease of another machine, by its age."""
    return (store.local is not None and is_locked(store.local)) or is_leased(store)
