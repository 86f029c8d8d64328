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
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, TypedDict

from kdtrain.errors import InputError, StorageError
from sweeps.store.store import Store

KEY, LEASE = "ledger/lock", "ledger/lease.json"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
_HELD: set[str] = set()
"""Tokens of the leases that this process holds."""


@dataclass(frozen=True)
class Times:
    """How a lease is kept, in seconds; every driver of a sweep must have the same.

    Attributes:
        renew: Between two renewals.
        stale: After so long a silence its holder is dead.
        settle: Long enough for two drivers that write a lease at the same moment to see which one stayed.
        poll: Between two looks at the lease of another.
    """

    renew: float = 10.0
    stale: float = 60.0
    settle: float = 1.0
    poll: float = 2.0


TIMES = Times()


class _Holder(TypedDict):
    """Who holds a lock or a lease; the token tells leases of one process apart."""

    host: str
    machine: str
    pid: int
    since: str
    token: str


class Lock(Protocol):
    """The right to write the ledger."""

    def check(self) -> None:
        """Make sure that this process still holds it.

        Raises:
            InputError: If another driver has taken over.
        """

    def close(self) -> None:
        """Let another driver have it."""


def take_lock(store: Store, notice: Callable[[str], None] = lambda text: None, times: Times = TIMES) -> Lock:
    """Take the lock of a sweep.

    Args:
        store: The sweep.
        notice: Called if the stale lease of another driver is taken over.
        times: For tests.

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
    return _Lease(store, notice, times)


def is_driven(store: Store) -> bool:
    """Whether a driver seems to have the sweep open; of a lease of another machine, by its age."""
    if store.local is not None and _is_locked(store.local / KEY):
        return True
    lease = _read_lease(store)
    return lease is not None and not _is_dead(lease) and _is_fresh(store, TIMES)


class _FileLock:
    def __init__(self, path: Path, store: Store) -> None:
        import fcntl  # not on Windows, where everything but driving a sweep still works

        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("a+b")
        try:
            _with_brief_retries(lambda: fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB))
        except BlockingIOError:
            self._file.seek(0)
            holder = _holder(self._file.read())
            self._file.close()
            raise _refusal(store, holder) from None
        except OSError:
            self._file.close()
            raise
        try:
            self._file.truncate(0)
            self._file.write(json.dumps(_ourselves()).encode())
            self._file.flush()
        except OSError:
            self._file.detach().close()  # without trying once more to write
            raise

    def check(self) -> None:
        """The operating system keeps the lock until this process ends."""

    def close(self) -> None:
        self._file.close()


def _with_brief_retries(attempt: Callable[[], None]) -> None:
    """Try again for a moment: `kdsweep status` holds the lock shortly, too, while it looks."""
    for _ in range(5):
        try:
            return attempt()
        except BlockingIOError:
            time.sleep(0.05)
    return attempt()


def _is_locked(path: Path) -> bool:
    import fcntl

    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such file, or no locks here
        return False
    return False


class _Lease:
    """A lock in an object store: a thread renews it, and before every commit it is checked.

    After half of the time in which others count this process as dead, for instance because the machine slept, the check
    reads the store.
    """

    def __init__(self, store: Store, notice: Callable[[str], None], times: Times) -> None:
        self._store, self._times, self._token = store, times, secrets.token_hex(8)
        self._lease = _ourselves(self._token)
        self._lost, self._ended = False, threading.Event()
        if (lease := _read_lease(store)) is not None:
            _await_end(store, lease, notice, times)
        self._write(store)
        time.sleep(times.settle)
        if (now := _read_lease(store)) is None or now["token"] != self._token:
            raise _refusal(store, now)
        _HELD.add(self._token)
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        if not self._lost and abs(time.time() - self._renewed) > self._times.stale / 2:
            self._renew(self._store)
        if self._lost:
            raise InputError(f"another driver has taken over the sweep in {self._store}, so this one stops")

    def close(self) -> None:
        self._ended.set()
        _HELD.discard(self._token)
        self._thread.join(self._times.renew)
        with contextlib.suppress(InputError):
            now = _read_lease(self._store)
            if now is not None and now["token"] == self._token:
                self._store.delete(LEASE)

    def _keep(self) -> None:
        quiet = Store(str(self._store), self._times.renew, answered=True)  # commits report when the store is away
        quiet.gives_up = self._ended.is_set
        while not self._lost and not self._ended.wait(self._times.renew):
            with contextlib.suppress(InputError):
                self._renew(quiet)

    def _renew(self, store: Store) -> None:
        now = _read_lease(store)
        if now is not None and now["token"] != self._token:
            self._lost = True
        else:
            self._write(store)

    def _write(self, store: Store) -> None:
        store.write(LEASE, json.dumps(self._lease).encode())
        self._renewed = time.time()


def _ourselves(token: str = "") -> _Holder:
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        "token": token,
    }


def _machine() -> str:
    """Where a process number means the same process: this boot of this machine, in this container."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    return socket.gethostname()


def _holder(content: bytes) -> _Holder | None:
    try:
        holder = json.loads(content)
    except ValueError:
        return None
    if not isinstance(holder, dict) or not {"host", "pid"} <= holder.keys():
        return None
    filled: _Holder = {"machine": "unknown", "since": "unknown", "token": "", **holder}  # type: ignore[typeddict-item]
    return filled


def _read_lease(store: Store) -> _Holder | None:
    try:
        content = store.read(LEASE)
    except FileNotFoundError:
        return None
    return _holder(content) or {"host": "unknown", "machine": "unknown", "pid": 0, "since": "unknown", "token": ""}


def _await_end(store: Store, lease: _Holder, notice: Callable[[str], None], times: Times) -> None:
    """Return once the holder of a lease must be dead: a process of this machine that is gone, or long silent.

    Raises:
        InputError: If it is alive.
    """
    if not _is_dead(lease):
        if lease["machine"] == _machine() and _is_fresh(store, times):
            raise _refusal(store, lease)
        notice(f"there is the lease of a driver {_named(lease)}: waiting up to {times.stale:.0f} s to see if it lives")
    seen, silent_since = store.written_at(LEASE), time.monotonic()
    while not _is_dead(lease) and time.monotonic() - silent_since < times.stale:
        time.sleep(times.poll)
        look_began = time.monotonic()
        now = store.written_at(LEASE)
        if now is None:
            return
        if now != seen:
            raise _refusal(store, lease)
        if time.monotonic() - look_began > times.renew:  # the store was away, for the lease's holder too
            silent_since = time.monotonic()
    notice(f"the driver {_named(lease)} died without giving its lease back: it is taken over")


def _is_fresh(store: Store, times: Times) -> bool:
    """Whether a lease was renewed of late, if the store's clock is right."""
    renewed = store.written_at(LEASE)
    return renewed is not None and time.time() - renewed < times.stale


def _is_dead(lease: _Holder) -> bool:
    """Whether the holder was a process of this machine that is no more."""
    if lease["machine"] != _machine():
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


def _named(holder: _Holder) -> str:
    return f"(process {holder['pid']} on {holder['host']}, since {holder['since']})"


def _refusal(store: Store, holder: _Holder | None) -> InputError:
    who = f" {_named(holder)}" if holder else ""
    return InputError(f"another driver{who} is running the sweep in {store}; wait for it or end it first")
