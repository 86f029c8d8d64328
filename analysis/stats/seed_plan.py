"""How many seeds decide: from the noise of a difference, the looks so far and the gain that matters.

The noise is known from a few seeds alone, so every answer has a range: what the ends of the noise's interval would ask.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.stats.looks import NO_LOOKS, Looks
from analysis.stats.power import UNPAIRED, PairedTest

GAINS = (0.003, 0.005, 0.01, 0.02)
"""The gains of the table (fractions)."""
MOST = 30
"""More seeds per config than this are no plan."""


@dataclass(frozen=True)
class DifferenceNoise:
    """How far the difference of two configs on the same seed spreads over seeds (fractions).

    Attributes:
        sd: Its standard deviation.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    sd: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is a spread to plan with."""
        return math.isfinite(self.sd) and self.sd > 0


@dataclass(frozen=True)
class Need:
    """The seeds that a gain takes.

    Attributes:
        gain: The true difference (fraction).
        seeds: Seeds per config that separate it from 0 in 80 of 100 sweeps; None where `MOST` do not.
        fewest: The same if the noise were at the lower end of its interval.
        most: The same at the upper end.
        missed: How often the seeds at hand miss it; 1 without seeds.
    """

    gain: float
    seeds: int | None
    fewest: int | None
    most: int | None
    missed: float


@dataclass(frozen=True)
class Situation:
    """What a plan of seeds starts from.

    Attributes:
        noise: Of the differences.
        comparisons: Size of the family.
        seeds: Seeds per config at hand or planned; 0 for none.
        looks: The looks before the seeds at hand, whose words spent a part of the error.
        looked: Whether the words of the seeds at hand were said, so that the next look has less left.
    """

    noise: DifferenceNoise
    comparisons: int = 1
    seeds: int = 0
    looks: Looks = NO_LOOKS
    looked: bool = False

    def need(self, gain: float) -> Need:
        """The seeds that a gain takes from here on."""
        seeds, fewest, most = (self._seeds(gain, sd) for sd in (self.noise.sd, self.noise.low, self.noise.high))
        return Need(gain, seeds, fewest, most, self.missed(gain))

    def missed(self, gain: float) -> float:
        """How often a true difference would not be separated from 0 by the seeds at hand."""
        return PairedTest(self.noise.sd, self.comparisons, self.looks).missed(gain, self.seeds)

    def finds(self, seeds: int) -> float:
        """The smallest true difference that so many seeds in all separate from 0 in 80 of 100 sweeps."""
        return self._next(self.noise.sd).smallest(seeds)

    def _seeds(self, gain: float, sd: float) -> int | None:
        return self._next(sd).seeds(gain, MOST) if math.isfinite(sd) and sd > 0 else None

    def _next(self, sd: float) -> PairedTest:
        """The test at the next look."""
        looks = self.looks.after(self.seeds) if self.looked and self.seeds > 1 else self.looks
        return PairedTest(sd, self.comparisons, looks)


def in_sds(seeds: Sequence[int], comparisons: int) -> list[float]:
    """The smallest difference that each number of seeds finds in 80 of 100 sweeps, in sds of one config over seeds."""
    return [float(np.round(PairedTest(UNPAIRED, comparisons).smallest(n), 2)) for n in seeds]
