"""Generations: the drivers of a sweep, numbered in the order in which they opened it.

Whatever a driver writes below `D/ledger/` has its generation in the name, so no driver writes over a file of another. A
driver that was stopped, and finds a newer generation when it wakes, writes no more; a record that it writes in the
moment before it looks is left out by whoever reads, because the newer driver's records do not follow it.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from sweeps.store.store import Store

LEDGER, CLAIMS = "ledger", "ledger/drivers"
"""The folder of the ledger's segments, and that with a file for every driver that has the sweep open."""
_CLAIM = re.compile(r"(\d{4,})(?:-([0-9a-f]+))?\.json")
_SEGMENT = re.compile(r"(\d{9})(?:-(\d{4,})(?:-([0-9a-f]+))?)?\.jsonl")


class Segment(NamedTuple):
    """A file of the ledger; in this order their records follow one another.

    Attributes:
        first: The number of its first record.
        generation: The generation of the driver that wrote it; 0 for drivers of earlier versions.
        name: Its name.
    """

    first: int
    generation: int
    name: str


def mark(generation: int, token: str = "") -> str:
    """What a driver puts into the names of its files.

    Args:
        generation: Its generation.
        token: Something that no other driver has, where the store cannot make sure that a file is new.
    """
    return f"{generation:04d}{'-' if token else ''}{token}"


def claim_key(driver: str) -> str:
    """The file that says who a driver is, by the driver's mark."""
    return f"{CLAIMS}/{driver}.json"


def segment_name(first: int, driver: str) -> str:
    """The name of a segment, by its first record and the driver's mark."""
    return f"{first:09d}-{driver}.jsonl"


def parse_segment(name: str) -> Segment | None:
    """A segment by its name; none for another file."""
    match = _SEGMENT.fullmatch(name)
    return None if match is None else Segment(int(match[1]), int(match[2] or 0), name)


def claims(names: Iterable[str]) -> dict[str, int]:
    """The generations of the drivers that have files in `CLAIMS`, by the name of the file, newest first."""
    matches = [match for name in names if (match := _CLAIM.fullmatch(name))]
    return {match[0]: int(match[1]) for match in sorted(matches, key=lambda match: -int(match[1]))}


def newest(store: Store) -> int:
    """The newest generation that has left anything; 0 before the first."""
    segments = (segment.generation for name in store.names(LEDGER) if (segment := parse_segment(name)))
    return max([0, *segments, *claims(store.names(CLAIMS)).values()])
