"""How far a ledger reaches: how many records it has, and the seal of the last.

The driver notes it in `D/ledger/head.json` after every commit, and every table notes it in its file. So a ledger that
has lost its end, of which what is left looks whole, is noticed by whoever reads it.
"""

import contextlib
import json
import time
from typing import NamedTuple

import pyarrow as pa

from analysis.tables import parquet
from analysis.tables.folder import FOLDER as TABLES
from kdtrain.errors import StorageError
from sweeps.ledger.line_sum import checked, checksum
from sweeps.store.generations import LEDGER
from sweeps.store.store import Store

HEAD = f"{LEDGER}/head.json"
_PAUSE_S = 1.0
"""Between two notes of a driver in an object store, where each is a request."""


class Extent(NamedTuple):
    """How far a ledger reaches: the number of its records, and the seal of the last."""

    records: int
    seal: str

    def text(self) -> str:
        """For the file of a table."""
        return json.dumps(self._asdict())

    @classmethod
    def parse(cls, text: str) -> "Extent | None":
        """The inverse of `text`; none for another text."""
        try:
            content = json.loads(text)
            return cls(int(content["records"]), str(content["seal"]))
        except (ValueError, KeyError, TypeError):
            return None


class Head(NamedTuple):
    """The last note of a driver: how far the ledger reached, and the driver's generation."""

    extent: Extent
    generation: int


def read_head(store: Store) -> Head | None:
    """The last note; none where there is none that reads."""
    try:
        note = store.read(HEAD)
    except FileNotFoundError:
        return None
    except StorageError as error:
        if isinstance(error.__cause__, NotADirectoryError):
            return None
        raise
    try:
        content = json.loads(checked(note))
        return Head(Extent(content["records"], content["seal"]), content["generation"])
    except (ValueError, KeyError, TypeError):
        return None


class HeadWriter:
    """Notes after every commit how far the ledger reaches; in an object store at most once a second.

    A note is late or missing where the driver was killed in between: the ledger may reach further than the note says,
    but never less far. So a note need not survive a failure of the machine, and costs no wait for the disk.
    """

    def __init__(self, store: Store, generation: int) -> None:
        self._store, self._generation = store, generation
        self._waiting: Extent | None = None
        self._pause = 0.0 if store.local is not None else _PAUSE_S
        self._written_at = -self._pause

    def note(self, extent: Extent) -> None:
        """Take a new extent, and write it unless the last one was written a moment ago."""
        self._waiting = extent
        self.tick()

    def tick(self) -> None:
        """Write what has waited long enough."""
        if self._waiting is not None and time.monotonic() - self._written_at >= self._pause:
            self.flush()

    def flush(self) -> None:
        """Write what waits; a store that refuses gets the note of the next commit."""
        if self._waiting is None:
            return
        body = json.dumps({**self._waiting._asdict(), "generation": self._generation}).encode()
        try:
            self._store.write_note(HEAD, body[:-1] + checksum(body) + b"\n")
        except StorageError:
            return
        self._waiting, self._written_at = None, time.monotonic()


def noted_in_tables(store: Store) -> Extent | None:
    """How far the ledger reached when the tables were made; none where no table says so."""
    key = f"{TABLES}/trials.parquet"
    with contextlib.suppress(OSError, ValueError, pa.ArrowException):
        if store.exists(key):
            with store.open_file(key) as file:
                source = parquet.source_of(file)
            return None if source is None else Extent.parse(source)
    return None
