"""Reading a ledger: its records in order, and what of it is damaged, lost or left over."""

import contextlib
import gc
import math
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sweeps.ledger.extent import HEAD, Extent, noted_in_tables, read_head
from sweeps.ledger.record import START, Line, Record
from sweeps.store.generations import LEDGER, Segment, parse_segment
from sweeps.store.store import Store

Take = Callable[[Record], object]
"""Takes the records that count, one after the other in order."""


@dataclass
class Scan:
    """What is known of a ledger that was read: how far its whole records reach, and what stops them from going on."""

    files: tuple[str, ...] = ()
    """The names of its files."""
    end: bytes = b""
    """The content of the last of them."""
    has_seals: bool = False
    """Whether a record has a seal, so that a driver of this version has noted how far the ledger reaches."""
    torn: str | None = None
    """A last record that a crash has cut off before it was committed."""
    damage: str | None = None
    """A record that does not read or is lost."""
    unnoted: str | None = None
    """That nothing says how far the ledger reached."""
    left_out: list[str] = field(default_factory=list)
    """Records that do not count."""
    kept: bytes = b""
    """The whole records of the file in which they end."""
    after: list[str] = field(default_factory=list)
    """That file, and those behind it."""
    _seals: bytearray = field(default_factory=bytearray)
    _generations: "array[int]" = field(default_factory=lambda: array("L"))
    _uncertain: list[Record] = field(default_factory=list)

    @property
    def records(self) -> int:
        """How many whole records there are."""
        return len(self._generations)

    @property
    def notices(self) -> list[str]:
        """What a reader should know of a ledger that is not damaged, in sentences."""
        return [*self.left_out, *(text for text in (self.torn, self.unnoted) if text is not None)]

    @property
    def seal(self) -> str:
        """The seal of the last record."""
        return self.seal_of(self.records)

    @property
    def extent(self) -> Extent:
        """How far the whole records reach."""
        return Extent(self.records, self.seal)

    @property
    def generation(self) -> int:
        """The newest generation of a driver that wrote one of them; 0 where there is none."""
        return max(self._generations, default=0)

    def seal_of(self, record: int) -> str:
        """The seal of a record, by its number from 1."""
        return self._seals[_SEAL_BYTES * (record - 1) : _SEAL_BYTES * record].hex() if record else START

    def generation_of(self, record: int) -> int:
        """The generation of the driver that wrote a record."""
        return self._generations[record - 1]

    def holds(self, extent: Extent) -> bool:
        """Whether the records begin with those of which somebody has noted the extent."""
        return extent.records == 0 or (extent.records <= self.records and self.seal_of(extent.records) == extent.seal)

    def is_still(self, store: Store) -> bool:
        """Whether nothing has been written since; to be asked by who holds the sweep's lock."""
        if self.damage is not None or self.torn is not None or self.files != _files(store):
            return False
        return not self.files or self.end == store.read(f"{LEDGER}/{self.files[-1]}")

    def _add(self, line: Line, generation: int) -> None:
        self._seals += bytes.fromhex(line.seal)
        self._generations.append(generation)
        self._uncertain.append(line.record)
        self.has_seals |= line.is_sealed

    def _cut_back(self, records: int) -> None:
        del self._seals[_SEAL_BYTES * records :], self._generations[records:]
        self._uncertain = [record for record in self._uncertain if record.n <= records]

    def _give(self, take: Take, below: float) -> None:
        """Give away the records below a number, which no later driver has begun before."""
        if self._uncertain and self._uncertain[0].n < below:
            for record in self._uncertain:
                if record.n < below:
                    take(record)
            self._uncertain = [record for record in self._uncertain if record.n >= below]


_SEAL_BYTES = 8


def scan(store: Store, take: Take = lambda record: None) -> Scan:
    """Read a ledger, also while a driver writes.

    Args:
        store: The sweep.
        take: Takes every record, in order, while the ledger is read; of a damaged one those before the damage or fewer.
    """
    head = read_head(store)  # first: records that a driver adds meanwhile are not lost
    names = _files(store)
    found = Scan(names)
    segments = sorted(segment for name in names if (segment := parse_segment(name)) is not None)
    written = head.extent.records if head else 0
    with _without_collection():
        for index, segment in enumerate(segments):
            is_last = index == len(segments) - 1
            _read_segment(store, segment, found, is_last, written)
            if found.damage is not None or found.torn is not None:
                found.after = [each.name for each in segments[index:]]
                if found.damage is None:
                    found._give(take, math.inf)
                return found
            # A later driver may have begun before records that this one wrote too late.
            found._give(take, math.inf if is_last else segments[index + 1].first)
    if strange := [name for name in names if parse_segment(name) is None]:
        found.damage, found.after = f"{_path(store, strange[0])} is not a name of a file of the ledger", strange
    elif head is not None and found.records < head.extent.records:
        found.damage = _lost(found, head.extent.records)
    elif head is not None and not found.holds(head.extent):
        # A driver that another one has followed may have noted, when it woke, a record that does not count.
        if found.generation_of(head.extent.records) <= head.generation:
            found.damage = f"record {head.extent.records} is not the one that was written"
    elif (known := noted_in_tables(store)) is not None and not found.holds(known):
        found.damage = (
            _lost(found, known.records)
            if known.records > found.records
            else (f"record {known.records} is not the one that the tables were made from")
        )
    if head is None and found.has_seals and found.damage is None:
        found.unnoted = (
            f"{store}/{HEAD} is missing or damaged, so it cannot be known whether records behind record "
            f"{found.records} are lost; the next `kdsweep run` writes it again"
        )
    return found


def _read_segment(store: Store, segment: Segment, found: Scan, is_last: bool, written: int) -> None:
    """Add the records of a segment to those before; `written` records are known to have been committed."""
    content = store.read(f"{LEDGER}/{segment.name}")
    if is_last:
        found.end = content
    start, number, seal = 0, found.records + 1, found.seal
    for raw in _lines(content):
        try:
            if start == 0 and segment.first < number and _takes_over(found, segment, raw):
                count = number - segment.first
                found._cut_back(segment.first - 1)
                number, seal = segment.first, found.seal
                found.left_out.append(
                    f"{count} record{'s' if count > 1 else ''} of a driver that another one had followed "
                    f"{'are' if count > 1 else 'is'} left out, before {segment.name}"
                )
            line = Line.parse(raw, seal)
            if not raw.endswith(b"\n"):
                raise ValueError("the line has no end")
        except (ValueError, KeyError, TypeError):
            found.kept = content[:start]
            if is_last and start + len(raw) == len(content) and number > written:
                found.torn = f"record {number} in {segment.name} was cut off by a crash and is left out"
            else:
                found.damage = f"record {number} in {_path(store, segment.name)} does not read"
            return
        if line.record.n != number:
            found.damage = f"{_path(store, segment.name)} has record {line.record.n} where record {number} belongs"
        elif start == 0 and segment.first != number:
            found.damage = f"{_path(store, segment.name)} begins with record {number}, which its name does not say"
        elif not line.follows:
            found.damage = f"record {number} in {_path(store, segment.name)} was not written behind record {number - 1}"
        if found.damage is not None:
            found.kept = content[:start]
            return
        found._add(line, segment.generation)
        start, number, seal = start + len(raw), number + 1, line.seal


def _takes_over(found: Scan, segment: Segment, first: bytes) -> bool:
    """Whether a driver began a segment before records that a driver before it has written too late."""
    if segment.first < 1 or segment.generation <= found.generation_of(segment.first):
        return False
    line = Line.parse(first, found.seal_of(segment.first - 1))
    return line.is_sealed and line.follows and line.record.n == segment.first


def _files(store: Store) -> tuple[str, ...]:
    return tuple(name for name in store.names(LEDGER) if name.endswith(".jsonl"))


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Without the search for cycles, of which records have none: it takes long where there are many objects."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _lines(content: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(content):
        end = content.find(b"\n", start) + 1 or len(content)
        yield content[start:end]
        start = end


def _lost(found: Scan, written: int) -> str:
    first = found.records + 1
    if written == first:
        return f"its end is lost, record {written}"
    return f"its end is lost, records {first} to {written}"


def _path(store: Store, name: str) -> str:
    return f"{store}/{LEDGER}/{name}"
