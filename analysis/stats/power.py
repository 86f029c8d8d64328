"""Which differences a number of seeds can detect, how often a gain would be missed, and how many seeds it takes.

All for the test of `analysis.stats.seed_contrasts`: paired differences over seeds, several comparisons with one
reference, the error rate of this look.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, special

from analysis.stats.looks import ALPHA, NO_LOOKS, Looks, alpha_at, as_looks
from analysis.stats.sign_flips import usable

POWER = 0.8
_POINTS = (np.arange(1000) + 0.5) / 1000


def smallest_detectable(
    sd: float,
    n: int,
    comparisons: int = 1,
    rho: float = 0.0,
    power: float = POWER,
    looks: Looks | Sequence[int] = NO_LOOKS,
    alpha: float = ALPHA,
) -> float:
    """Smallest true difference to the reference that is detected with the given power.

    Args:
        sd: Standard deviation over seeds of one config; the result is in its unit.
        n: Seeds per config, the same ones for all.
        comparisons: Size of the family.
        rho: Correlation of two configs on the same seed.
        power: Share of repetitions in which the difference is detected.
        looks: The earlier looks, or their seeds.
        alpha: Familywise error rate of all looks together.

    Returns:
        The difference; NaN if one seed leaves nothing to estimate the noise from.
    """
    if n < 2:
        return math.nan
    return _se(sd, n, rho) * detectable_ses(n - 1, _level(n, comparisons, looks, alpha), power)


def chance_to_miss(
    gain: float,
    sd: float,
    n: int,
    comparisons: int = 1,
    rho: float = 0.0,
    looks: Looks | Sequence[int] = NO_LOOKS,
    alpha: float = ALPHA,
) -> float:
    """How often a true difference of ``gain`` would not be separated from 0; arguments of `smallest_detectable`."""
    if n < 2:
        return 1.0
    return 1.0 - detected(gain / _se(sd, n, rho), n - 1, _level(n, comparisons, looks, alpha))


def seeds_needed(
    gain: float,
    sd: float,
    comparisons: int = 1,
    rho: float = 0.0,
    power: float = POWER,
    looks: Looks | Sequence[int] = NO_LOOKS,
    alpha: float = ALPHA,
    most: int = 1000,
) -> int | None:
    """Seeds per config that detect a true difference of ``gain`` with the given power; None if ``most`` do not.

    After earlier ``looks`` the answer is the number of seeds of the next look, more than at any earlier one. Arguments
    of `smallest_detectable`.
    """
    low, high = max(2, as_looks(looks).counted(2)), most
    if chance_to_miss(gain, sd, high, comparisons, rho, looks, alpha) > 1 - power:
        return None
    while low < high:
        middle = (low + high) // 2
        missed = chance_to_miss(gain, sd, middle, comparisons, rho, looks, alpha)
        low, high = (middle + 1, high) if missed > 1 - power + 1e-9 else (low, middle)
    return low


def _se(sd: float, n: int, rho: float) -> float:
    """Standard error of the mean difference of two configs over n seeds."""
    return sd * math.sqrt(2 * (1 - rho) / n)


def _level(n: int, comparisons: int, looks: Looks | Sequence[int], alpha: float) -> float:
    """The level of the largest difference of a family at a look at n seeds."""
    return first_step(usable(n, alpha_at(n, looks, alpha)), comparisons)


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
