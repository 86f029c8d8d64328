"""Reading a ledger: its records in order, and what of it is damaged, lost or left over."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from analysis.tables import parquet
from analysis.tables.files import FOLDER as TABLES
from sweeps.ledger.extent import HEAD, Extent, read_head
from sweeps.ledger.record import START, Line, Record
from sweeps.store.generations import LEDGER, Segment, parse_segment
from sweeps.store.store import Store


@dataclass
class Scan:
    """What a ledger holds: its whole records, and what stops them from going on."""

    records: list[Record] = field(default_factory=list)
    seals: list[str] = field(default_factory=list)
    """By record."""
    generations: list[int] = field(default_factory=list)
    """By record, the generation of the driver that wrote it."""
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

    @property
    def notices(self) -> list[str]:
        """What a reader should know of a ledger that is not damaged, in sentences."""
        return [*self.left_out, *(text for text in (self.torn, self.unnoted) if text is not None)]

    @property
    def seal(self) -> str:
        """The seal of the last record."""
        return self.seals[-1] if self.seals else START

    @property
    def extent(self) -> Extent:
        """How far the whole records reach."""
        return Extent(len(self.records), self.seal)

    def holds(self, extent: Extent) -> bool:
        """Whether the records begin with those of which somebody has noted the extent."""
        return extent.records == 0 or self.seals[extent.records - 1 : extent.records] == [extent.seal]

    def _add(self, line: Line, generation: int) -> None:
        self.records.append(line.record)
        self.seals.append(line.seal)
        self.generations.append(generation)
        self.has_seals |= line.is_sealed

    def _cut_back(self, records: int) -> None:
        for each in (self.records, self.seals, self.generations):
            del each[records:]


def scan(store: Store) -> Scan:
    """Read a ledger, also while a driver writes."""
    head = read_head(store)  # first: records that a driver adds meanwhile are not lost
    found = Scan()
    names = [name for name in store.names(LEDGER) if name.endswith(".jsonl")]
    segments = sorted(segment for name in names if (segment := parse_segment(name)) is not None)
    written = head.extent.records if head else 0
    for index, segment in enumerate(segments):
        _read_segment(store, segment, found, index == len(segments) - 1, written)
        if found.damage is not None or found.torn is not None:
            found.after = [each.name for each in segments[index:]]
            return found
    if strange := [name for name in names if parse_segment(name) is None]:
        found.damage, found.after = f"{_path(store, strange[0])} is not a name of a file of the ledger", strange
    elif head is not None and len(found.records) < head.extent.records:
        found.damage = _lost(found, head.extent.records)
    elif head is not None and not found.holds(head.extent):
        # A driver that another one has followed may have noted, when it woke, a record that does not count.
        if found.generations[head.extent.records - 1] <= head.generation:
            found.damage = f"record {head.extent.records} is not the one that was written"
    elif (known := noted_in_tables(store)) is not None and not found.holds(known):
        found.damage = (
            _lost(found, known.records)
            if known.records > len(found.records)
            else (f"record {known.records} is not the one that the tables were made from")
        )
    if head is None and found.has_seals and found.damage is None:
        found.unnoted = (
            f"{store}/{HEAD} is missing or damaged, so it cannot be known whether records behind record "
            f"{len(found.records)} are lost; the next `kdsweep run` writes it again"
        )
    return found


def _read_segment(store: Store, segment: Segment, found: Scan, is_last: bool, written: int) -> None:
    """Add the records of a segment to those before; `written` records are known to have been committed."""
    content = store.read(f"{LEDGER}/{segment.name}")
    start = 0
    for raw in _lines(content):
        number = len(found.records) + 1
        try:
            if start == 0 and segment.first < number and _takes_over(found, segment, raw):
                count = number - segment.first
                found._cut_back(segment.first - 1)
                number = segment.first
                found.left_out.append(
                    f"{count} record{'s' if count > 1 else ''} of a driver that another one had followed "
                    f"{'are' if count > 1 else 'is'} left out, before {segment.name}"
                )
            line = Line.parse(raw, found.seal)
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
        start += len(raw)


def _takes_over(found: Scan, segment: Segment, first: bytes) -> bool:
    """Whether a driver began a segment before records that a driver before it has written too late."""
    if segment.first < 1 or segment.generation <= found.generations[segment.first - 1]:
        return False
    before = found.seals[segment.first - 2] if segment.first > 1 else START
    line = Line.parse(first, before)
    return line.is_sealed and line.follows and line.record.n == segment.first


def _lines(content: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(content):
        end = content.find(b"\n", start) + 1 or len(content)
        yield content[start:end]
        start = end


def _lost(found: Scan, written: int) -> str:
    first = len(found.records) + 1
    if written == first:
        return f"its end is lost, record {written}"
    return f"its end is lost, records {first} to {written}"


def noted_in_tables(store: Store) -> Extent | None:
    """How far the ledger reached when the tables were made; none where no table says so."""
    key = f"{TABLES}/trials.parquet"
    with contextlib.suppress(OSError, ValueError, pa.ArrowException):
        if store.exists(key):
            with store.open_file(key) as file:
                source = parquet.source_of(file)
            return None if source is None else Extent.parse(source)
    return None


def _path(store: Store, name: str) -> str:
    return f"{store}/{LEDGER}/{name}"
