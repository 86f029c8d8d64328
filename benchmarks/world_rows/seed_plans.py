"""Rows about plans of further seeds: what they name finds the gain as often as they say."""

import math

import numpy as np
from scipy import special
from world_rows.row import Row, Simulate

from analysis.stats.looks import NO_LOOKS, Looks, alpha_at
from analysis.stats.power import first_step, median_unbiased
from analysis.stats.seed_plan import MOST, DifferenceNoise, Situation

_SD = 0.01
_KNOWN = DifferenceNoise(_SD, _SD, _SD)


def _found(rng: np.random.Generator, worlds: int, gain: float, n: int, comparisons: int, looks: Looks) -> np.ndarray:
    differences = rng.normal(gain, _SD, (worlds, n))
    t = differences.mean(1) / (differences.std(1, ddof=1) / math.sqrt(n))
    return 2 * special.stdtr(n - 1, -np.abs(t)) < first_step(alpha_at(n, looks), comparisons)


def _named(gain: float, comparisons: int, now: int = 0) -> Simulate:
    """How often the seeds that a plan names find the gain, the noise being known."""

    def simulate(rng: np.random.Generator, worlds: int) -> np.ndarray:
        looks = Looks.unplanned([now]) if now else NO_LOOKS
        seeds = Situation(_KNOWN, comparisons, now, looked=bool(now)).need(gain).seeds
        assert seeds is not None
        return _found(rng, worlds, gain, seeds, comparisons, looks)

    return simulate


def _missed(gain: float, comparisons: int, n: int) -> Simulate:
    """The chance to miss that is named, minus whether the gain was missed."""

    def simulate(rng: np.random.Generator, worlds: int) -> np.ndarray:
        named = Situation(_KNOWN, comparisons, n).missed(gain)
        return named - 1.0 + _found(rng, worlds, gain, n, comparisons, NO_LOOKS)

    return simulate


def _estimated(gain: float, quantile: float) -> Simulate:
    """The seeds that plans name where the noise is estimated from three seeds of two configs, as a quantile."""

    def simulate(rng: np.random.Generator, worlds: int) -> np.ndarray:
        sds = median_unbiased(_SD * np.sqrt(rng.chisquare(2, worlds) / 2), 2)
        named = [Situation(DifferenceNoise(sd, sd, sd)).need(gain).seeds or MOST + 1 for sd in sds]
        return np.full(worlds, float(np.quantile(named, quantile)))

    return simulate


ROWS = [
    *(
        Row("plans of seeds", f"gain {gain / _SD:g} sd, family of {family}", "found", _named(gain, family), 0.78, 0.95)
        for gain, family in ((0.01, 1), (0.015, 4), (0.02, 4), (0.02, 10))
    ),
    *(
        Row(
            "plans of seeds", f"gain 1.5 sd, family of 4, after a look at {n}", "found", _named(0.015, 4, n), 0.78, 0.95
        )
        for n in (2, 3, 5)
    ),
    *(
        Row(
            "plans of seeds",
            f"gain 1.5 sd, family of 4, {n} seeds",
            "chance to miss, named minus true",
            sim,
            -0.01,
            0.01,
        )
        for n, sim in ((n, _missed(0.015, 4, n)) for n in (3, 5, 10))
    ),
    *(
        Row(
            "plans of seeds",
            f"gain 2 sd, noise from 3 seeds (with the true noise {Situation(_KNOWN).need(0.02).seeds} seeds)",
            f"seeds that are named, {name}",
            _estimated(0.02, quantile),
            percent=False,
        )
        for quantile, name in ((0.1, "tenth of the worlds"), (0.5, "median"), (0.9, "nine tenths of the worlds"))
    ),
]
