"""The ledger: an append-only record of all that happened in a sweep, written by its driver alone.

`D/ledger/<first record>-<generation of the driver>.jsonl`; one record a line, numbered, with a checksum and a seal
over all records up to it, see `sweeps.ledger.record`. Whatever else is known about a sweep is a pure function of them,
and every prefix of them is a valid ledger. The newest file is written anew, whole, with every commit until it is long
enough; that costs little, and is the one way that works alike on a disk, on NFS and in an object store, where nothing
can be appended to. How far the ledger reaches is noted beside it, see `sweeps.ledger.extent`.
"""

import functools
import logging
import math
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from analysis.tables.folder import FOLDER as TABLES
from kdtrain.errors import InputError
from sweeps.ledger.event_base import Content
from sweeps.ledger.events import MAY_WAIT, Event
from sweeps.ledger.extent import Extent, HeadWriter
from sweeps.ledger.record import Record
from sweeps.ledger.scan import Scan, Take, scan
from sweeps.store.file_lock import taken_over
from sweeps.store.generations import LEDGER as FOLDER
from sweeps.store.generations import segment_name
from sweeps.store.lock import Lock, take_lock
from sweeps.store.store import Store, open_store

_log = logging.getLogger(__name__)

SEGMENT_BYTES = 1 << 16
"""A file of the ledger is closed once it is longer than this."""
SET_ASIDE = "ledger-set-aside"
_WAIT_S = 1.0
"""Seconds that records of events that may wait do so."""


def now() -> datetime:
    """The time of day, UTC."""
    return datetime.now(UTC)


def read(sweep: Store | Path | str, notice: Callable[[str], None] = lambda text: None) -> list[Record]:
    """All records of a sweep, also while a driver writes.

    Args:
        sweep: The sweep `D`.
        notice: Takes sentences that a reader should know, such as one about a last record that was torn by a crash.

    Raises:
        InputError: If a record is damaged or lost.
    """
    records: list[Record] = []
    read_whole(sweep, notice, records.append)
    return records


def read_whole(
    sweep: Store | Path | str,
    notice: Callable[[str], None] = lambda text: None,
    take: Take = lambda record: None,
) -> Scan:
    """Read all records of a sweep, as `read`; `take` takes one after the other.

    Returns:
        How far they reach.

    Raises:
        InputError: If a record is damaged or lost.
    """
    store = open_store(sweep)
    found = scan(store, take)
    if found.damage is not None:
        raise InputError(_offer(store, found))
    for text in found.notices:
        notice(text)
    return found


def copy_ledger(sweep: Store, folder: Path) -> None:
    """Copy a ledger to a local folder, also while a driver writes; what a reader should know of it is said once.

    Raises:
        InputError: If a record is damaged or lost.
    """
    found = read_whole(sweep, say_once)
    sweep.pull(FOLDER, folder / FOLDER)
    HeadWriter(Store(folder), found.generation).note(found.extent)


@functools.cache
def say_once(text: str) -> None:
    """Say on standard error what a reader of a ledger should know, the first time."""
    _log.warning("%s", text)


@dataclass(frozen=True)
class Repaired:
    """What a repair has left.

    Attributes:
        records: How many records are left.
        aside: What was set aside, in `D/ledger-set-aside/`.
        why: What was wrong; none where the ledger is whole.
    """

    records: int
    aside: list[str]
    why: str | None = None


def repair(sweep: Store | Path | str) -> Repaired:
    """Cut a damaged ledger back to the records before the damage.

    What is cut off is kept in `D/ledger-set-aside/`. The same command then continues from there: it proposes
    the cut-off trials again, and a training whose folder is still there is not trained again.

    Raises:
        InputError: If another driver has the sweep open.
    """
    store = open_store(sweep)
    lock = take_lock(store)
    try:
        found = scan(store)
        why = found.damage or found.torn or found.unnoted
        if why is None:
            return Repaired(found.records, [])
        at, aside = now(), list(found.after)
        for name in aside:
            store.write(f"{SET_ASIDE}/{name}", store.read(f"{FOLDER}/{name}"))
        _cut(store, found)
        if found.damage is not None:
            if store.names(TABLES):
                store.move(TABLES, f"{SET_ASIDE}/{TABLES}-{at:%Y%m%dT%H%M%S}")
            store.write(f"{SET_ASIDE}/repair-{at:%Y%m%dT%H%M%S}.txt", f"{at.isoformat()} {why}\n".encode())
        HeadWriter(store, lock.generation).note(found.extent)
        return Repaired(found.records, aside, why)
    finally:
        lock.close()


class Ledger:
    """The ledger of one sweep, open for appending; only one can be open at a time.

    Attributes:
        records: The records that were there when it was opened, unless somebody else has taken them.
        is_known: Whether nothing was written since it was read before, so that it was not read again.
    """

    def __init__(
        self,
        sweep: Store | Path | str,
        notice: Callable[[str], None] = lambda text: None,
        clock: Callable[[], datetime] = now,
        lock: Lock | None = None,
        take: Take | None = None,
        known: Scan | None = None,
    ):
        """Drop a torn last line, and read what is there.

        Args:
            sweep: The sweep `D`.
            notice: Takes what the user should know, in a sentence.
            clock: The time of day, for tests.
            lock: The sweep's lock, if the caller has taken it; otherwise it is taken and given back here.
            take: Takes the records that are there, one after the other; without it `records` has them.
            known: What a reader has found in it before.

        Raises:
            InputError: If another driver holds the lock, the store cannot be written, or the ledger is damaged.
        """
        self._store, self._clock = open_store(sweep), clock
        self._gives_lock_back = lock is None
        self._lock = lock or take_lock(self._store, notice)
        self._head = HeadWriter(self._store, self._lock.generation)
        records: list[Record] = []
        self._segment: list[bytes] = []
        self._is_new = True
        """Whether the newest file is not there yet."""
        self._first, self._waiting, self._committed_at, self._checked_at = 0, False, -math.inf, -math.inf
        try:
            self.is_known = known is not None and known.is_still(self._store)
            if known is not None and self.is_known:
                found = known
                for text in found.notices:
                    notice(text)
            else:
                found = read_whole(self._store, notice, take or records.append)
            if found.torn is not None:
                _cut(self._store, found)
        except BaseException:
            self.close()
            raise
        self.records = tuple(records)
        self._extent = found.extent

    def append(self, event: Event) -> Record:
        """Add one record; when this returns, a crash does not lose it, unless it is one that may wait a second.

        Numbers that are not finite are written as null.

        Raises:
            StorageError: If it cannot be written, for instance on a full disk.
            InputError: If another driver has taken over.
        """
        before = self._extent
        record = Record(before.records + 1, self._clock().isoformat(), event.kind, _finite(event.to_json()))
        if not self._segment:
            self._first, self._is_new = record.n, True
        line, seal = record.sealed(before.seal)
        self._segment.append(line)
        self._extent, self._waiting = Extent(record.n, seal), True
        try:
            if isinstance(event, MAY_WAIT):
                self.tick()
            else:
                self.commit()
        except BaseException:
            self._segment.pop()
            self._extent = before
            raise
        return record

    def tick(self) -> None:
        """Write records that have waited for a second; call this regularly.

        Raises:
            InputError: If another driver has taken over.
        """
        at = time.monotonic()
        if self._waiting and at - self._committed_at >= _WAIT_S:
            self.commit()
        elif self._store.local is not None and at - self._checked_at >= _WAIT_S:
            self._check()
        elif not self._waiting:
            self._head.tick()

    def commit(self) -> None:
        """Write what waits.

        Raises:
            StorageError: If it cannot be written.
            InputError: If another driver has taken over.
        """
        if not self._waiting:
            return
        self._check()
        content, key = b"".join(self._segment), f"{FOLDER}/{segment_name(self._first, self._lock.mark)}"
        if self._is_new:
            try:
                self._store.create(key, content)
            except FileExistsError:
                raise taken_over(self._store) from None
            self._is_new = False
        else:
            self._store.write(key, content)
        self._check()  # whoever has taken over meanwhile may have read the ledger before this commit
        self._waiting, self._committed_at = False, time.monotonic()
        self._head.note(self._extent)
        if len(content) >= SEGMENT_BYTES:
            self._segment = []

    def close(self) -> None:
        """Write what waits, and let another driver have it."""
        try:
            self.commit()
            self._head.flush()
        finally:
            if self._gives_lock_back:
                self._lock.close()

    def _check(self) -> None:
        self._lock.check()
        self._checked_at = time.monotonic()


def _finite(data: Content) -> Content:
    return {sys.intern(str(key)): _finite_value(value) for key, value in data.items()}


def _finite_value(value: object) -> object:
    if isinstance(value, Mapping):
        return _finite(value)
    if isinstance(value, list | tuple):
        return [_finite_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _cut(store: Store, found: Scan) -> None:
    """Remove what is not whole: from the back, so that a crash in between leaves nothing worse."""
    for name in reversed(found.after[1:]):
        store.delete(f"{FOLDER}/{name}")
    if found.kept:
        store.write(f"{FOLDER}/{found.after[0]}", found.kept)
    elif found.after:
        store.delete(f"{FOLDER}/{found.after[0]}")


def _offer(store: Store, found: Scan) -> str:
    count = found.records
    before = f"records 1 to {count} are intact" if count else "there is no record before the damage"
    return (
        f"the ledger is damaged: {found.damage}; {before}: restore `{FOLDER}/` from a copy, or run "
        f"`kdsweep repair {shlex.quote(str(store))}` and then the same command again"
    )
