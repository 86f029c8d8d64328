"""The standard deviation over seeds, with its uncertainty: two or three seeds hardly know it."""

from dataclasses import dataclass

import numpy as np
from scipy import special

NAN = float("nan")


@dataclass(frozen=True)
class Spread:
    """A standard deviation over seeds with its interval, in the unit of the scores.

    Attributes:
        sd: The estimate; NaN where no config has two seeds.
        low: Lower end of its interval (chi-square).
        high: Upper end.
        df: Its degrees of freedom.
    """

    sd: float = NAN
    low: float = NAN
    high: float = NAN
    df: float = 0.0


def spread(sd: float, df: float, confidence: float = 0.95) -> Spread:
    """A standard deviation with its chi-square interval."""
    if not df > 0 or np.isnan(sd):
        return Spread()
    tail = (1 - confidence) / 2
    low, high = sd * np.sqrt(df / special.chdtri(df, [tail, 1 - tail]))
    return Spread(float(sd), float(low), float(high), float(df))


def own_spreads(values: np.ndarray, confidence: float = 0.95) -> list[Spread]:
    """The spread of every config by itself.

    Args:
        values: Scores (configs, seeds), NaN where a config lacks a seed.
        confidence: Of the intervals.
    """
    variances, df = _variances(values)
    return [spread(float(np.sqrt(v)), float(f), confidence) for v, f in zip(variances, df, strict=True)]


def pooled_spread(values: np.ndarray, confidence: float = 0.95) -> Spread:
    """The root mean square of the configs' standard deviations.

    Its degrees of freedom allow for unequal spreads and for configs that share the luck of a seed (Box 1954; from
    three seeds on estimated as by Greenhouse & Geisser 1959, rather too few than too many; with two seeds only those of
    one config are certain).

    Args:
        values: Scores (configs, seeds), NaN where a config lacks a seed.
        confidence: Of the interval.
    """
    variances, df = _variances(values)
    several = df > 0
    if not several.any():
        return Spread()
    total = df[several].sum()
    sd = float(np.sqrt((variances[several] * df[several]).sum() / total))
    return spread(sd, float(np.clip(_freedom(values[several]), df[several].max(), total)), confidence)


def _freedom(values: np.ndarray) -> float:
    """Degrees of freedom of the mean variance over configs, from the seeds that all of them have; 0 if unknown."""
    whole = values[:, np.isfinite(values).all(0)]
    df = whole.shape[1] - 1
    if df < 2:
        return 0.0
    covariance = np.atleast_2d(np.cov(whole))
    squares = float((covariance**2).sum())
    return df * float(np.trace(covariance)) ** 2 / squares if squares > 0 else 0.0


def _variances(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variance over seeds of each config (NaN for one seed) and its degrees of freedom."""
    df = np.isfinite(values).sum(1) - 1
    centered = values - np.nanmean(values, axis=1, keepdims=True)
    return np.where(df > 0, np.nansum(centered**2, axis=1) / np.maximum(df, 1), np.nan), df
