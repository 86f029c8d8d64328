"""The ledger: an append-only record of all that happened in a sweep, written by its driver alone.

`D/ledger/<first record>.jsonl`, one file per driver session; one record a line, numbered, with a checksum.
Whatever else is known about a sweep is a pure function of these lines.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from kdtrain.errors import InputError

FOLDER = "ledger"
_UNSYNCED = {"report", "started"}
"""Records that may be lost with the machine's power: the run's own checkpoint has them again."""


@dataclass(frozen=True)
class Record:
    """One line: its running number, when (UTC, ISO 8601), what kind, and its content."""

    n: int
    at: str
    kind: str
    data: dict[str, Any]

    def line(self) -> bytes:
        """The line as written."""
        body = _body(self.n, self.at, self.kind, self.data)
        return f'{body[:-1]},"sum":"{_checksum(body)}"}}\n'.encode()

    @classmethod
    def parse(cls, line: bytes) -> "Record":
        """Read a line.

        Raises:
            ValueError: If it is torn or altered.
        """
        content = json.loads(line)
        record = cls(content["n"], content["at"], content["kind"], content["data"])
        if line.rstrip(b"\n") != record.line().rstrip(b"\n"):
            raise ValueError("the checksum does not match")
        return record


def now() -> datetime:
    """The time of day, UTC."""
    return datetime.now(UTC)


def read(sweep: Path, notice: Callable[[str], None] = lambda text: None) -> list[Record]:
    """All records of a sweep folder, also while a driver writes.

    Args:
        sweep: The folder `D`.
        notice: Told if the last record was torn by a crash and is left out.

    Raises:
        InputError: If a record in the middle is damaged or missing.
    """
    return list(_records(sweep, notice))


def is_driven(sweep: Path) -> bool:
    """Whether a driver on this machine (or, where the file system keeps locks, on any) has the sweep open."""
    if not (sweep / FOLDER / "lock").is_file():
        return False
    try:
        _lock(sweep / FOLDER, sweep).close()
    except InputError:
        return True
    return False


class Ledger:
    """The ledger of one sweep, open for appending; only one can be open at a time."""

    def __init__(
        self,
        sweep: Path,
        notice: Callable[[str], None] = lambda text: None,
        clock: Callable[[], datetime] = now,
    ):
        """Take the lock, drop a torn last line, and read what is there into `found`.

        Raises:
            InputError: If another driver holds the lock, the folder cannot be written, or the ledger is
                damaged.
        """
        self._clock = clock
        self._folder = sweep / FOLDER
        self._file: BinaryIO | None = None
        self._lock = _lock(self._folder, sweep)
        try:
            self.found = tuple(_records(sweep, notice, repair=True))
        except BaseException:
            self.close()
            raise
        self._count = len(self.found)

    def append(self, kind: str, data: Mapping[str, Any]) -> Record:
        """Write one record; when this returns, a crash of the driver does not lose it.

        Numbers that are not finite are written as null.

        Raises:
            InputError: If it cannot be written, for instance on a full disk.
        """
        record = Record(self._count + 1, self._clock().isoformat(), kind, _plain(data))
        try:
            if self._file is None:
                self._file = (self._folder / f"{record.n:09d}.jsonl").open("ab", buffering=0)
            _write(self._file, record.line(), sync=kind not in _UNSYNCED)
        except OSError as error:
            raise InputError(
                f"cannot write to {self._folder}: {error.strerror or error}; make room and run again"
            ) from error
        self._count = record.n
        return record

    def close(self) -> None:
        """Let another driver have it."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._lock.close()


def _write(file: BinaryIO, line: bytes, sync: bool) -> None:
    """The whole line or nothing of it."""
    start = os.fstat(file.fileno()).st_size
    try:
        written = 0
        while written < len(line):
            written += file.write(line[written:])
        if sync:
            os.fsync(file.fileno())
    except OSError:
        os.truncate(file.fileno(), start)
        raise


def _body(n: int, at: str, kind: str, data: Mapping[str, Any]) -> str:
    return json.dumps({"n": n, "at": at, "kind": kind, "data": data}, separators=(",", ":"), allow_nan=False)


def _checksum(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:12]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _records(sweep: Path, notice: Callable[[str], None], repair: bool = False) -> Iterator[Record]:
    paths = sorted((sweep / FOLDER).glob("*.jsonl"))
    expected = 1
    for path in paths:
        content = path.read_bytes()
        start = 0
        while start < len(content):
            end = content.find(b"\n", start) + 1 or len(content)
            line = content[start:end]
            try:
                record = Record.parse(line)
                if not line.endswith(b"\n"):
                    raise ValueError("the line has no end")
            except (ValueError, KeyError, TypeError):
                if path != paths[-1] or end < len(content):
                    raise InputError(
                        f"the ledger is damaged: record {expected} in {path} does not read; "
                        "put back the file from a copy, or start a new sweep in another folder"
                    ) from None
                notice(f"record {expected} in {path.name} was cut off by a crash and is left out")
                if repair:
                    os.truncate(path, start)
                return
            if record.n != expected:
                raise InputError(f"the ledger is damaged: {path} has record {record.n} where record {expected} belongs")
            yield record
            expected += 1
            start = end


def _lock(folder: Path, sweep: Path) -> BinaryIO:
    import fcntl  # not on Windows, where everything but driving a sweep still works

    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("wb")
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror or error}; make room or choose another folder"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise InputError(f"another driver is running the sweep in {sweep}; wait for it or end it first") from None
    return file
