"""The ledger: an append-only record of all that happened in a sweep, written by its driver alone.

`D/ledger/<first record>.jsonl`; one record a line, numbered, with a checksum. Whatever else is known about a sweep is
a pure function of these lines, and every prefix of them is a valid ledger. The newest file is written anew, whole,
with every commit until it is long enough; that costs little, and is the one way that works alike on a disk, on NFS
and in an object store, where nothing can be appended to.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from kdtrain.errors import InputError
from sweeps.ledger.event_reader import parse_event
from sweeps.ledger.events import MAY_WAIT, Content, Event
from sweeps.store.lock import Lock, take_lock
from sweeps.store.store import Store, open_store

FOLDER = "ledger"
SEGMENT_BYTES = 1 << 16
"""A file of the ledger is closed once it is longer than this."""
SET_ASIDE = "ledger-set-aside"
_WAIT_S = 1.0
"""Seconds that records of events that may wait do so."""


@dataclass(frozen=True)
class Record:
    """One line: its running number, when (UTC, ISO 8601), what kind of event, and the event's content."""

    n: int
    at: str
    kind: str
    data: Content

    @property
    def event(self) -> Event:
        """What happened.

        Raises:
            InputError: If a later version wrote the record.
        """
        return parse_event(self.n, self.kind, self.data)

    def line(self) -> bytes:
        """The line as written."""
        content = {"n": self.n, "at": self.at, "kind": self.kind, "data": self.data}
        body = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
        return body[:-1] + _end(body) + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> "Record":
        """Read a line.

        Raises:
            ValueError: If it is torn or altered.
        """
        line = line.rstrip(b"\n")
        body, end = line[:-_END_LENGTH] + b"}", line[-_END_LENGTH:]
        if end != _end(body):
            raise ValueError("the checksum does not match")
        content = json.loads(body)
        return cls(content["n"], content["at"], content["kind"], content["data"])


def now() -> datetime:
    """The time of day, UTC."""
    return datetime.now(UTC)


def read(sweep: Store | Path | str, notice: Callable[[str], None] = lambda text: None) -> list[Record]:
    """All records of a sweep, also while a driver writes.

    Args:
        sweep: The sweep `D`.
        notice: Takes a sentence if the last record was torn by a crash and is left out.

    Raises:
        InputError: If a record in the middle is damaged or missing.
    """
    scan = _scan(open_store(sweep))
    if scan.damage is not None:
        raise InputError(_offer(scan))
    if scan.torn is not None:
        notice(scan.torn)
    return scan.records


def repair(sweep: Store | Path | str) -> tuple[int, list[str]]:
    """Cut a damaged ledger back to the records before the damage.

    What is cut off is kept in `D/ledger-set-aside/`. The same command then continues from there: it proposes
    the cut-off trials again, and a training whose folder is still there is not trained again.

    Returns:
        How many records are left, and the files that were set aside; none where the ledger is whole.

    Raises:
        InputError: If another driver has the sweep open.
    """
    store = open_store(sweep)
    lock = take_lock(store)
    try:
        scan = _scan(store)
        if scan.damage is None and scan.torn is None:
            return len(scan.records), []
        for name in scan.after:
            store.write(f"{SET_ASIDE}/{name}", store.read(f"{FOLDER}/{name}"))
        _cut(store, scan)
        return len(scan.records), scan.after
    finally:
        lock.close()


class Ledger:
    """The ledger of one sweep, open for appending; only one can be open at a time.

    Attributes:
        records: The records that were there when it was opened.
    """

    def __init__(
        self,
        sweep: Store | Path | str,
        notice: Callable[[str], None] = lambda text: None,
        clock: Callable[[], datetime] = now,
        lock: Lock | None = None,
    ):
        """Drop a torn last line, and read what is there.

        Args:
            sweep: The sweep `D`.
            notice: Takes what the user should know, in a sentence.
            clock: The time of day, for tests.
            lock: The sweep's lock, if the caller has taken it; otherwise it is taken and given back here.

        Raises:
            InputError: If another driver holds the lock, the store cannot be written, or the ledger is damaged.
        """
        self._store, self._clock = open_store(sweep), clock
        self._gives_lock_back = lock is None
        self._lock = lock or take_lock(self._store, notice)
        self._segment: list[bytes] = []
        self._first, self._waiting, self._committed_at = 0, False, -math.inf
        try:
            scan = _scan(self._store)
            if scan.damage is not None:
                raise InputError(_offer(scan))
            if scan.torn is not None:
                notice(scan.torn)
                _cut(self._store, scan)
        except BaseException:
            self.close()
            raise
        self.records = tuple(scan.records)
        self._count = len(self.records)

    def append(self, event: Event) -> Record:
        """Add one record; when this returns, a crash does not lose it, unless it is one that may wait a second.

        Numbers that are not finite are written as null.

        Raises:
            StorageError: If it cannot be written, for instance on a full disk.
            InputError: If another driver has taken over.
        """
        record = Record(self._count + 1, self._clock().isoformat(), event.kind, _finite(event.to_json()))
        if not self._segment:
            self._first = record.n
        self._segment.append(record.line())
        self._count, self._waiting = record.n, True
        try:
            if isinstance(event, MAY_WAIT):
                self.tick()
            else:
                self.commit()
        except BaseException:
            self._segment.pop()
            self._count = record.n - 1
            raise
        return record

    def tick(self) -> None:
        """Write records that have waited for a second."""
        if self._waiting and time.monotonic() - self._committed_at >= _WAIT_S:
            self.commit()

    def commit(self) -> None:
        """Write what waits.

        Raises:
            StorageError: If it cannot be written.
            InputError: If another driver has taken over.
        """
        if not self._waiting:
            return
        self._lock.check()
        content = b"".join(self._segment)
        self._store.write(f"{FOLDER}/{self._first:09d}.jsonl", content)
        self._waiting, self._committed_at = False, time.monotonic()
        if len(content) >= SEGMENT_BYTES:
            self._segment = []

    def close(self) -> None:
        """Write what waits, and let another driver have it."""
        try:
            self.commit()
        finally:
            if self._gives_lock_back:
                self._lock.close()


def _end(body: bytes) -> bytes:
    """The end of a line in place of the body's last brace: the checksum of the body."""
    return b',"sum":"%s"}' % hashlib.sha256(body).hexdigest()[:12].encode()


_END_LENGTH = len(_end(b""))


def _finite(data: Content) -> Content:
    return {str(key): _finite_value(value) for key, value in data.items()}


def _finite_value(value: object) -> object:
    if isinstance(value, Mapping):
        return _finite(value)
    if isinstance(value, list | tuple):
        return [_finite_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@dataclass(frozen=True)
class _Scan:
    """What a ledger holds: its whole records, and what stops them from going on."""

    records: list[Record]
    torn: str | None = None
    """A last record that a crash has cut off."""
    damage: str | None = None
    """A record that does not read although others follow."""
    kept: bytes = b""
    """The whole records of the file in which they end."""
    after: list[str] = field(default_factory=list)
    """That file, and those behind it."""


def _scan(store: Store) -> _Scan:
    names = [name for name in store.names(FOLDER) if name.endswith(".jsonl")]
    records: list[Record] = []
    for index, name in enumerate(names):
        content = store.read(f"{FOLDER}/{name}")
        start = 0
        while start < len(content):
            end = content.find(b"\n", start) + 1 or len(content)
            number = len(records) + 1
            kept, after = content[:start], names[index:]
            try:
                record = Record.parse(content[start:end])
                if content[end - 1 : end] != b"\n":
                    raise ValueError("the line has no end")
            except (ValueError, KeyError, TypeError):
                if index == len(names) - 1 and end == len(content):
                    torn = f"record {number} in {name} was cut off by a crash and is left out"
                    return _Scan(records, torn, None, kept, after)
                return _Scan(records, None, f"record {number} in {_path(store, name)} does not read", kept, after)
            if record.n != number:
                wrong = f"{_path(store, name)} has record {record.n} where record {number} belongs"
                return _Scan(records, None, wrong, kept, after)
            records.append(record)
            start = end
    return _Scan(records)


def _cut(store: Store, scan: _Scan) -> None:
    """Remove what is not whole: from the back, so that a crash in between leaves nothing worse."""
    for name in reversed(scan.after[1:]):
        store.delete(f"{FOLDER}/{name}")
    if scan.kept:
        store.write(f"{FOLDER}/{scan.after[0]}", scan.kept)
    else:
        store.delete(f"{FOLDER}/{scan.after[0]}")


def _offer(scan: _Scan) -> str:
    before = f"records 1 to {len(scan.records)} are intact" if scan.records else "there is no record before the damage"
    return (
        f"the ledger is damaged: {scan.damage}; {before}: restore the file from a copy, or run "
        "`kdsweep repair` and then the same command again"
    )


def _path(store: Store, name: str) -> str:
    return f"{store}/{FOLDER}/{name}"
