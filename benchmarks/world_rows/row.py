"""One line of the table of simulated worlds: a world whose truth is known, what is measured, and what it must be."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Simulate = Callable[[np.random.Generator, int], np.ndarray]
"""From random numbers and the number of worlds to what is measured, one number (or True and False) per world."""


@dataclass(frozen=True)
class Row:
    """A world and what is measured in it.

    Attributes:
        topic: What the row is about; a part of a table.
        world: The world, in words.
        measure: What is measured, in words; the mean over the worlds is shown.
        simulate: Draws the worlds and measures.
        least: What the mean must be at least, but for two Monte Carlo errors.
        most: What it must be at most, but for two Monte Carlo errors.
        percent: Whether the mean is a share, shown in percent.
        most_worlds: Worlds that are enough; None for as many as are asked for.
    """

    topic: str
    world: str
    measure: str
    simulate: Simulate
    least: float | None = None
    most: float | None = None
    percent: bool = True
    most_worlds: int | None = None

    @property
    def name(self) -> str:
        """What ``--rows`` searches."""
        return f"{self.topic}: {self.world}: {self.measure}"

    def run(self, worlds: int, seed: int = 0) -> "Result":
        """Simulate; the same worlds for the same seed."""
        worlds = worlds if self.most_worlds is None else min(worlds, self.most_worlds)
        rng = np.random.default_rng([seed, zlib.crc32(self.name.encode())])
        outcomes = np.asarray(self.simulate(rng, worlds), dtype=float)
        error = float(outcomes.std(ddof=1) / np.sqrt(len(outcomes))) if len(outcomes) > 1 else float("nan")
        return Result(self, float(outcomes.mean()), error, len(outcomes))


@dataclass(frozen=True)
class Result:
    """What a row came to.

    Attributes:
        row: The row.
        mean: Over the worlds.
        error: Its Monte Carlo error.
        worlds: How many were drawn.
    """

    row: Row
    mean: float
    error: float
    worlds: int

    @property
    def holds(self) -> bool:
        """Whether the mean is within its bounds, two Monte Carlo errors allowed."""
        slack = 2 * self.error + 1e-12
        low, high = self.row.least, self.row.most
        return (low is None or self.mean >= low - slack) and (high is None or self.mean <= high + slack)
