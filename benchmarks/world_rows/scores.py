"""Scores of configs over seeds in simulated worlds, and what `effects` says of them."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from analysis.stats.looks import NO_LOOKS, Looks
from analysis.stats.seed_contrasts import Effects, effects

Noise = Literal["normal", "t3", "collapses"]
UNIT = 0.004
"""A standard deviation of 1 in the words of a row, as a fraction."""


def scores_of(
    rng: np.random.Generator,
    worlds: int,
    sd: Sequence[float],
    seeds: int,
    rho: float = 0.0,
    noise: Noise = "normal",
    truth: Sequence[float] | float = 0.0,
) -> Iterator[np.ndarray]:
    """Scores (configs, seeds) of one world after the other, the reference first.

    Args:
        rng: Random numbers.
        worlds: How many.
        sd: Standard deviation over seeds of every config, in `UNIT`.
        seeds: The same for all configs.
        rho: Correlation of two configs on the same seed.
        noise: ``t3`` has heavy tails, with ``collapses`` 5 % of the trainings score 20 less.
        truth: Of every config, in `UNIT`.
    """
    spread = np.asarray(sd, dtype=float)[:, None]
    for _ in range(worlds):
        own = rng.standard_t(3, (len(sd), seeds)) / np.sqrt(3) if noise == "t3" else rng.normal(size=(len(sd), seeds))
        own = np.sqrt(1 - rho) * own + np.sqrt(rho) * rng.normal(size=(1, seeds))
        if noise == "collapses":
            own = own - 20 * (rng.random(own.shape) < 0.05)
        yield 0.6 + UNIT * (np.reshape(truth, (-1, 1)) + spread * own)


def judged(scores: np.ndarray, smallest: float = 0.0, looks: Looks = NO_LOOKS) -> Effects:
    """What is said of such scores, the first config being the reference ``c0``."""
    configs, seeds = scores.shape
    long = {
        "config": np.repeat([f"c{number}" for number in range(configs)], seeds),
        "seed": np.tile(np.arange(seeds), configs),
        "score": scores.ravel(),
    }
    return effects(pd.DataFrame(long), "c0", smallest, looks=looks)
