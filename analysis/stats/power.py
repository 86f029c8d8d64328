"""Which differences a number of seeds can detect, how often a gain would be missed, and how many seeds it takes.

All for the test of `analysis.stats.seed_contrasts`: paired differences over seeds, several comparisons with one
reference, the error rate of this look.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from analysis.stats.looks import NO_LOOKS, Looks, alpha_at
from analysis.stats.sign_flips import usable

POWER = 0.8
"""Share of repetitions in which the smallest detectable difference is detected."""
UNPAIRED = math.sqrt(2)
"""The spread of a difference of two configs that share no luck of the seed, in spreads of one of them."""
_POINTS = (np.arange(1000) + 0.5) / 1000


@dataclass(frozen=True)
class PairedTest:
    """The test of the largest difference of a family, over the seeds of a look.

    Attributes:
        sd: Standard deviation over seeds of a difference of two configs on the same seed; gains are in its unit.
        comparisons: Size of the family.
        looks: The earlier looks.
    """

    sd: float
    comparisons: int = 1
    looks: Looks = NO_LOOKS

    def smallest(self, n: int) -> float:
        """The smallest true difference that n seeds per config detect with a power of ``POWER``; NaN below 2 seeds."""
        return self._se(n) * detectable_ses(n - 1, self._level(n)) if n > 1 else math.nan

    def missed(self, gain: float, n: int) -> float:
        """How often n seeds per config would not separate a true difference of ``gain`` from 0."""
        return 1.0 - detected(gain / self._se(n), n - 1, self._level(n)) if n > 1 else 1.0

    def seeds(self, gain: float, most: int) -> int | None:
        """Seeds per config at the next look that detect ``gain`` with a power of ``POWER``; None if ``most`` do not."""
        low, high = max(2, self.looks.counted(2)), most
        if self.missed(gain, high) > 1 - POWER:
            return None
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.missed(gain, middle) > 1 - POWER + 1e-9 else (low, middle)
        return low

    def _se(self, n: int) -> float:
        return self.sd / math.sqrt(n)

    def _level(self, n: int) -> float:
        return first_step(usable(n, alpha_at(n, self.looks)), self.comparisons)


def first_step(alpha: float, comparisons: int) -> float:
    """The level of the first step of the step-down Sidak procedure, at which the largest difference is tested."""
    return -math.expm1(math.log1p(-alpha) / max(comparisons, 1))


def detected(ses: float, df: float, level: float) -> float:
    """How often a true difference of so many standard errors is detected by a two-sided t test.

    The other tail is left out: it adds nothing at a power that is of use.
    """
    critical = float(special.stdtrit(df, 1 - level / 2))
    return float(special.ndtr(ses - critical * np.sqrt(special.chdtri(df, _POINTS) / df)).mean())


@functools.lru_cache(maxsize=4096)
def detectable_ses(df: float, level: float, power: float = POWER) -> float:
    """The true difference in standard errors that is detected with the given power."""
    high = 2 * float(special.stdtrit(df, 1 - level / 2)) * math.sqrt(float(special.chdtri(df, 1e-3)) / df) + 10.0
    return float(optimize.brentq(lambda ses: detected(ses, df, level) - power, 0.0, high))


def median_unbiased(sd: np.ndarray | float, df: np.ndarray | float) -> np.ndarray:
    """A standard deviation or standard error that is too large as often as too small.

    The usual estimate is too small in most repetitions where ``df`` is small (in 68 of 100 with one degree of freedom).
    """
    return np.asarray(sd) * np.sqrt(np.asarray(df) / special.chdtri(df, 0.5))
