"""What it costs to read a teacher's maps and to compute them, measured on this machine, and which of both is chosen.

The seconds of a stream of maps lie beside its views, for all trainings of the machine. Every measurement counts half of
the mean, so that a wrong one is soon forgotten.
"""

import json
import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kdtrain.errors import StorageError
from kdtrain.replay.array_file import ArrayFile
from kdtrain.runtime.atomic_files import write_atomically

PROBED = 3
"""Chunks that are read to measure the seconds of a read; the fastest counts, which no pause of the process can be."""
NEGLIGIBLE_S = 1e-4
"""Seconds per image up to which reading is chosen without a comparison: a clock cannot compare less."""
_CLEARLY = 1.25
"""A choice changes only where the other way is quicker by this factor, so that noise does not change it."""


@dataclass(frozen=True)
class MapCosts:
    """Seconds per image.

    Attributes:
        read_s: To read what is recorded of one image, by the name of the array.
        ask_s: In which the teacher computes the maps of one image, at all layers in one pass; None if not measured.
        asked: The names of the arrays that are computed, because computing them was quicker.
    """

    read_s: Mapping[str, float] = field(default_factory=dict)
    ask_s: float | None = None
    asked: frozenset[str] = frozenset()

    def is_worth_reading(self, names: Collection[str]) -> bool:
        """Whether reading these arrays takes no longer than computing all of them in one pass.

        What was not measured is read, which measures it.
        """
        if self.ask_s is None or not all(name in self.read_s for name in names):
            return True
        seconds = sum(self.read_s[name] for name in names)
        if seconds <= NEGLIGIBLE_S * len(names):
            return True
        factor = _CLEARLY if any(name in self.asked for name in names) else 1 / _CLEARLY
        return seconds * factor <= self.ask_s

    def worth_recording(self, names: Iterable[str]) -> frozenset[str]:
        """The arrays that some training may read: each alone is worth reading."""
        return frozenset(name for name in names if self.is_worth_reading([name]))

    def with_measured(self, read_s: Mapping[str, float], ask_s: float | None = None) -> "MapCosts":
        """These seconds and new ones, and the choice that follows for each array alone."""
        reads = {**self.read_s, **{name: _mean(self.read_s.get(name), value) for name, value in read_s.items()}}
        asks = self.ask_s if ask_s is None else _mean(self.ask_s, ask_s)
        measured = MapCosts(reads, asks, self.asked)
        return MapCosts(reads, asks, frozenset(name for name in reads if not measured.is_worth_reading([name])))


def _mean(before: float | None, now: float) -> float:
    return now if before is None else (before + now) / 2


def read_costs(path: Path) -> MapCosts:
    """The noted seconds; none if there is no sound note."""
    try:
        content = json.loads(path.read_text())
        reads = {str(name): float(value) for name, value in content["read_s"].items()}
        asks = None if content["ask_s"] is None else float(content["ask_s"])
        return MapCosts(reads, asks, frozenset(map(str, content["asked"])))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return MapCosts()


def write_costs(path: Path, costs: MapCosts) -> None:
    """Note the seconds; without the note the next training measures again."""
    with suppress(StorageError):
        write_atomically(path, json.dumps({**asdict(costs), "asked": sorted(costs.asked)}).encode())


def seconds_to_read(arrays: Mapping[str, ArrayFile], chunks: Sequence[int]) -> dict[str, float]:
    """Seconds per row to read every byte of some of these chunks, by array; without arrays that hold none of them.

    The check of a chunk's bytes counts, and so does the disk where the system does not hold the bytes in memory, as in
    an epoch; so the chunks are spread evenly.
    """
    spread = chunks[:: max(1, len(chunks) // PROBED)][:PROBED]
    measured = {
        name: [seconds for chunk in spread if (seconds := _seconds(array, chunk)) is not None]
        for name, array in arrays.items()
    }
    return {name: min(seconds) for name, seconds in measured.items() if seconds}


def forget_cached(file: Path) -> None:
    """Ask the system to drop a file from its memory, so that it is read from the disk next."""
    with suppress(OSError, AttributeError), file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _seconds(array: ArrayFile, chunk: int) -> float | None:
    rows = range(chunk * array.chunk_rows, min(array.rows, (chunk + 1) * array.chunk_rows))
    begin = time.perf_counter()
    if not array.has(chunk):
        return None
    array.read(rows).clone()
    return (time.perf_counter() - begin) / len(rows)
