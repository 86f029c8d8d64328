"""One driver per sweep: whoever holds the lock.

On a disk the lock is the operating system's, which a killed driver cannot leave behind. In an object store, and on
file systems without locks, it is a lease: an object that its holder renews, stale once it has not been renewed for a
minute, or at once if its holder was a process of this machine that is no more.
"""

import contextlib
import errno
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from kdtrain.errors import InputError, StorageError
from sweeps.store import Store

KEY, LEASE = "ledger/lock", "ledger/lease.json"
RENEW_S, STALE_S = 10.0, 60.0
_SETTLE_S = 1.0
"""Long enough for two drivers that write a lease at the same moment to see which one stayed."""
_POLL_S = 2.0
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


_HELD: set[str] = set()
"""Tokens of the leases that this process holds."""


class Lock(Protocol):
    """The right to write the ledger."""

    def check(self) -> None:
        """Make sure that it is still ours.

        Raises:
            InputError: If another driver has taken over.
        """

    def close(self) -> None:
        """Let another driver have it."""


def take_lock(store: Store, notice: Callable[[str], None] = lambda text: None) -> Lock:
    """Take the lock of a sweep.

    Args:
        store: The sweep.
        notice: Told if the stale lease of another driver is taken over.

    Raises:
        InputError: If another driver holds it.
        StorageError: If the store cannot be written.
    """
    if store.local is not None:
        try:
            return _FileLock(store.local / KEY, store)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                why = error.strerror or error
                raise StorageError(
                    f"cannot write to {store.local}: {why}; make room or choose another folder"
                ) from error
    return _Lease(store, notice)


def is_driven(store: Store) -> bool:
    """Whether a driver seems to have the sweep open; of a lease of another machine, by its age."""
    if store.local is not None and (store.local / KEY).is_file():
        try:
            _FileLock(store.local / KEY, store).close()
        except InputError:
            return True
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                return False
    lease = _read_lease(store)
    if lease is None or _is_dead(lease):
        return False
    renewed = store.written_at(LEASE)
    return renewed is not None and time.time() - renewed < STALE_S


class _FileLock:
    def __init__(self, path: Path, store: Store) -> None:
        import fcntl  # not on Windows, where everything but driving a sweep still works

        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = _holder(self._file.read())
            self._file.close()
            raise _refusal(store, holder) from None
        except OSError:
            self._file.close()
            raise
        self._file.truncate(0)
        self._file.write(json.dumps(_ourselves()).encode())
        self._file.flush()

    def check(self) -> None:
        """The operating system vouches for it."""

    def close(self) -> None:
        self._file.close()


class _Lease:
    def __init__(self, store: Store, notice: Callable[[str], None]) -> None:
        self._store, self._token = store, secrets.token_hex(8)
        self._lost, self._ended = False, threading.Event()
        if (other := _read_lease(store)) is not None:
            _await_end(store, other, notice)
        self._renew()
        time.sleep(_SETTLE_S)
        if (now := _read_lease(store)) is None or now["token"] != self._token:
            raise _refusal(store, now)
        _HELD.add(self._token)
        threading.Thread(target=self._keep, name="lease", daemon=True).start()

    def check(self) -> None:
        if self._lost:
            raise InputError(f"another driver has taken over the sweep in {self._store}, so this one stops")

    def close(self) -> None:
        self._ended.set()
        _HELD.discard(self._token)
        if not self._lost:
            with contextlib.suppress(InputError):
                self._store.delete(LEASE)

    def _renew(self) -> None:
        self._store.write(LEASE, json.dumps({**_ourselves(), "token": self._token}).encode())

    def _keep(self) -> None:
        while not self._ended.wait(RENEW_S):
            with contextlib.suppress(InputError):  # a store that is away; what is written meets the same
                now = _read_lease(self._store)
                self._lost = now is not None and now["token"] != self._token
                if self._lost:
                    return
                self._renew()


def _ourselves() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S %Z")}


def _holder(content: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) and {"host", "pid"} <= found.keys() else None


def _read_lease(store: Store) -> dict[str, Any] | None:
    try:
        found = _holder(store.read(LEASE))
    except FileNotFoundError:
        return None
    return found or {"host": "unknown", "pid": 0, "token": ""}


def _await_end(store: Store, lease: dict[str, Any], notice: Callable[[str], None]) -> None:
    """Return once the holder of a lease must be dead; of a holder on another machine that takes a minute of silence.

    Raises:
        InputError: If it is alive.
    """
    if lease["host"] == socket.gethostname() and not _is_dead(lease):
        raise _refusal(store, lease)
    seen, deadline = store.written_at(LEASE), time.monotonic() + STALE_S
    if not _is_dead(lease):
        notice(f"there is the lease of a driver {_named(lease)}: waiting up to {STALE_S:.0f} s to see if it lives")
    while not _is_dead(lease) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        now = store.written_at(LEASE)
        if now is None:
            return
        if now != seen:
            raise _refusal(store, lease)
    notice(f"the driver {_named(lease)} died without giving its lease back: it is taken over")


def _is_dead(lease: dict[str, Any]) -> bool:
    """Whether the holder was a process of this machine that is no more."""
    if lease["host"] != socket.gethostname():
        return False
    if lease["pid"] == os.getpid():
        return lease["token"] not in _HELD
    try:
        os.kill(lease["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _named(holder: dict[str, Any]) -> str:
    return f"(process {holder['pid']} on {holder['host']}, since {holder.get('since', 'unknown')})"


def _refusal(store: Store, holder: dict[str, Any] | None) -> InputError:
    who = f" {_named(holder)}" if holder else ""
    return InputError(f"another driver{who} is running the sweep in {store}; wait for it or end it first")
