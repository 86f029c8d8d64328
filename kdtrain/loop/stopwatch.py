"""Seconds by the part of an epoch in which they were spent."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from kdtrain.loop.reports import Part

T = TypeVar("T")


class Stopwatch:
    """Adds up seconds by part.

    Attributes:
        seconds: By the name of the part, as in `EpochReport.seconds`.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, part: Part) -> Iterator[None]:
        """Count the time of a block under `part`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part.value] += time.perf_counter() - start

    @contextmanager
    def around(self, part: Part) -> Iterator[None]:
        """Count the time of a block under `part`, without what is counted inside of the block under other parts."""
        start, before = time.perf_counter(), sum(self.seconds.values())
        try:
            yield
        finally:
            inside = sum(self.seconds.values()) - before
            self.seconds[part.value] += max(0.0, time.perf_counter() - start - inside)

    def take(self, other: "Stopwatch") -> None:
        """Move the seconds of another stopwatch over to this one."""
        for name, seconds in other.seconds.items():
            self.seconds[name] += seconds
        other.seconds.clear()

    def timed(self, part: Part, items: Iterator[T]) -> Iterator[T]:
        """Yield the items, counting the time of waiting for each under `part`."""
        while True:
            with self(part):
                item = next(items, None)
            if item is None:
                return
            yield item
