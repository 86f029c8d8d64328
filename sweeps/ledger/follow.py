"""The state of a sweep while a driver writes: of a ledger that has grown only what was added is read."""

from sweeps.ledger.ledger import say_once
from sweeps.ledger.read_state import read_state
from sweeps.ledger.record import Line
from sweeps.ledger.state import SweepState
from sweeps.store.generations import LEDGER, parse_segment
from sweeps.store.store import Store


class Follower:
    """A reader of a sweep's ledger that remembers how far it has read.

    Where the ledger does not simply go on (another driver has taken over, a record does not read, a file is gone) all
    of it is read again, with all the checks of a first reading.

    Attributes:
        state: What the records say, after the first `update`.
    """

    def __init__(self, sweep: Store) -> None:
        """Make it; nothing is read yet.

        Args:
            sweep: The sweep `D`.
        """
        self.state = SweepState()
        self._sweep = sweep
        self._file, self._kept = "", b""
        self._records, self._seal = 0, ""

    def update(self) -> bool:
        """Read what was added since the last time.

        Returns:
            Whether there was something.

        Raises:
            InputError: If a record is damaged or lost, or a later version wrote it.
            OSError: If the store cannot be read.
        """
        before = self._records
        if not self._file or not self._go_on():
            self._read_all()
            return True
        return self._records > before

    def _read_all(self) -> None:
        self._file = ""  # after a reading that fails all is read again
        read = read_state(self._sweep, say_once)
        self.state, found = read.state, read.found
        self._records, self._seal = found.records, found.seal
        if found.files and found.torn is None:
            segments = sorted(segment for name in found.files if (segment := parse_segment(name)) is not None)
            self._file, self._kept = segments[-1].name, found.end

    def _go_on(self) -> bool:
        """Take in the records behind those that are known; False where the ledger does not simply go on."""
        names = [name for name in self._sweep.names(LEDGER) if name.endswith(".jsonl")]
        segments = sorted(segment for name in names if (segment := parse_segment(name)) is not None)
        place = next((place for place, segment in enumerate(segments) if segment.name == self._file), None)
        if place is None or len(segments) != len(names):
            return False
        for segment in segments[place:]:
            content = self._sweep.read(f"{LEDGER}/{segment.name}")
            known = self._kept if segment.name == self._file else b""
            begins_new = segment.name != self._file
            if not content.startswith(known) or (begins_new and not self._follows(segment.generation, segment.first)):
                return False
            self._file, self._kept = segment.name, known
            for raw in content[len(known) :].splitlines(keepends=True):
                if not raw.endswith(b"\n"):
                    return True  # a record that is being written
                if not self._take(raw):
                    return False
                self._kept += raw
        return True

    def _follows(self, generation: int, first: int) -> bool:
        last = parse_segment(self._file)
        return last is not None and last.generation == generation and first == self._records + 1

    def _take(self, raw: bytes) -> bool:
        try:
            line = Line.parse(raw, self._seal)
        except (ValueError, KeyError, TypeError):
            return False
        if line.record.n != self._records + 1 or not line.follows:
            return False
        self.state.apply(line.record)
        self._records, self._seal = line.record.n, line.seal
        return True
