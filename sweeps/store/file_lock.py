"""The lock of a sweep on a disk: the operating system's, on a file that must not be deleted or replaced meanwhile."""

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from kdtrain.errors import InputError, StorageError, remedy
from kdtrain.runtime import file_locks
from sweeps.store.generations import CLAIMS, LEDGER, claim_key, claims, mark, newest
from sweeps.store.holder import HELD, Holder, is_alive, machine, named, ourselves, parse_holder
from sweeps.store.store import Store

KEY = "ledger/lock"


class FileLock:
    """The lock of a sweep on a disk; see `sweeps.store.lock.Lock`.

    Raises:
        InputError: If another driver holds it.
        OSError: If the folder cannot be written, or its file system has no locks.
    """

    def __init__(self, store: Store, notice: Callable[[str], None] = lambda text: None) -> None:
        assert store.local is not None
        self._store, self._path, self._token = store, store.local / KEY, secrets.token_hex(8)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a+b")
        try:
            _with_brief_retries(lambda: file_locks.take(self._file))
        except BlockingIOError:
            self._file.seek(0)
            holder = parse_holder(self._file.read())
            self._file.close()
            raise refusal(store, holder) from None
        except OSError:
            self._file.close()
            raise
        try:
            self._claim(store, notice)
        except BaseException:
            HELD.discard(self._token)
            self._file.close()
            raise

    def _claim(self, store: Store, notice: Callable[[str], None]) -> None:
        ourself = json.dumps(ourselves(self._token, folder=_inode(self._path.parent))).encode()
        try:
            self._file.truncate(0)
            self._file.write(ourself)
            self._file.flush()
        except OSError:
            self._file.detach().close()  # without trying once more to write
            raise
        before = claims(store.names(CLAIMS))
        for name in before:
            if (holder := living(store, name)) is not None:
                raise refusal(store, holder)
            if (holder := _read(store, name)) is not None and holder["machine"] != machine():
                notice(
                    f"a driver of another machine {named(holder)} has not given the sweep back: it died, or its lock "
                    "was deleted; this driver takes over"
                )
        self.generation = newest(store) + 1
        self.mark = mark(self.generation)
        HELD.add(self._token)
        try:
            store.create(claim_key(self.mark), ourself)
        except FileExistsError:
            raise refusal(store, None) from None
        for name in before:
            store.delete(f"{CLAIMS}/{name}")

    def check(self) -> None:
        """Make sure that the lock is still on the file that others find, and that none has taken over.

        Raises:
            InputError: If not.
        """
        folder = f"{self._store.local}/"  # plain strings: this is on the way of every commit
        try:
            same = os.path.samestat(os.fstat(self._file.fileno()), os.stat(folder + KEY))  # noqa: PTH116
        except FileNotFoundError:
            self._store.check_there()
            same = False
        except OSError as error:
            todo = f"{remedy(error)} and run the same command again"
            raise StorageError(f"cannot look at {self._path}: {error.strerror or error}; {todo}") from error
        with contextlib.suppress(FileNotFoundError):
            if any(newer > self.generation for newer in claims(os.listdir(folder + CLAIMS)).values()):  # noqa: PTH208
                raise taken_over(self._store)
        if not same:
            raise InputError(
                f"{self._path} was deleted or replaced while this driver ran, so that another could take over: this "
                "one stops, nothing is lost; run the same command again, and leave that file alone"
            )

    def close(self) -> None:
        """Let another driver have it."""
        HELD.discard(self._token)
        with contextlib.suppress(InputError):
            self._store.delete(claim_key(self.mark))
        self._file.close()


def is_locked(sweep: Path) -> bool:
    """Whether a driver has a sweep on a disk open."""
    try:
        with (sweep / KEY).open("rb") as file:
            file_locks.take(file, shared=True)
    except BlockingIOError:
        return True
    except OSError:  # no such file, or no locks here
        pass
    with contextlib.suppress(OSError):
        store = Store(sweep)
        return any(living(store, name) is not None for name in claims(_names(sweep / CLAIMS)))
    return False


def living(store: Store, name: str) -> Holder | None:
    """The driver that a claim names, if for certain it lives and drives this very folder, not one that is a copy."""
    assert store.local is not None
    holder = _read(store, name)
    if holder is None or holder["folder"] != _inode(store.local / LEDGER):
        return None
    return holder if is_alive(holder) else None


def _read(store: Store, name: str) -> Holder | None:
    try:
        return parse_holder(store.read(f"{CLAIMS}/{name}"))
    except FileNotFoundError:
        return None


def refusal(store: Store, holder: Holder | None) -> InputError:
    """The error for a sweep that another driver has open."""
    who = f" {named(holder)}" if holder else ""
    return InputError(f"another driver{who} is running the sweep in {store}; wait for it or end it first")


def taken_over(store: Store) -> InputError:
    """The error for a driver that another one has followed."""
    return InputError(f"another driver has taken over the sweep in {store}, so this one stops")


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def _inode(folder: Path) -> int:
    return folder.stat().st_ino


def _with_brief_retries(attempt: Callable[[], None]) -> None:
    """Try again for a moment: `kdsweep status` holds the lock shortly, too, while it looks."""
    for _ in range(5):
        try:
            return attempt()
        except BlockingIOError:
            time.sleep(0.05)
    return attempt()
