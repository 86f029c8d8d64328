"""Which trainings of a config have collapsed: they reach far less than the same config reaches on other seeds.

A collapse is a loss that matters in practice and that noise does not explain. What noise explains is measured on the
config itself and on the other finalists of its study, so that configs of other noise make no difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST_LOSS = 0.08
"""A run that loses less (fraction of mIoU) has not collapsed."""
LEAST_SHARE = 0.4
"""Where a config reaches little: neither has one that loses less than this share of it."""
RANGES = 2.0
"""The loss exceeds so many times the range of the config's other runs."""
SDS = 4.0
"""The loss exceeds so many standard deviations of the runs of one config, pooled over the study."""
FEW_SEEDS = 2
"""Of so many fresh seeds all may have collapsed: the score in the search tells."""
FENCE = 10.0
"""In a search, the loss also exceeds so many times the distance from the median to the upper quartile."""


@dataclass(frozen=True)
class Runs:
    """The trainings of one config that came to their end.

    Attributes:
        fresh: Scores on fresh seeds (fractions 0..1).
        screened: The score of the search trial that proposed the config, which helps where there are few fresh seeds;
            None if it was not searched.
    """

    fresh: Sequence[float]
    screened: float | None = None

    @property
    def all(self) -> np.ndarray:
        """The scores that are compared with each other, shape (runs,)."""
        helps = len(self.fresh) <= FEW_SEEDS and self.screened is not None
        return np.asarray([*self.fresh, *((self.screened,) if helps else ())], dtype=float)

    @property
    def level(self) -> float:
        """What the config reaches when nothing fails: the median of the better half of its runs, of two the higher."""
        ordered = np.sort(self.all)[::-1]
        half = (len(ordered) + 1) // 2
        return float(ordered[(half - 1) // 2]) if len(ordered) else float("nan")


def least_loss(level: float) -> float:
    """The smallest loss (fraction) that is a collapse, for a config that reaches `level`."""
    return min(LEAST_LOSS, LEAST_SHARE * level)


def collapsed(study: Sequence[Runs]) -> list[list[bool]]:
    """Of every config of a study, which fresh runs have collapsed.

    A run has collapsed that lies further below the config's level than `least_loss`, `RANGES` times the range of the
    config's runs that have not collapsed, and `SDS` times their standard deviation, pooled over the study. The limits
    start at `least_loss` and are widened until the runs within them agree with them.
    """
    runs, levels = [config.all for config in study], [config.level for config in study]
    limits = [least_loss(level) for level in levels]
    while True:
        sound = [each[each >= level - limit] for each, level, limit in zip(runs, levels, limits, strict=True)]
        noise = SDS * _pooled_sd(sound)
        wider = [
            max(limit, noise, RANGES * float(np.ptp(each)) if len(each) else 0.0)
            for limit, each in zip(limits, sound, strict=True)
        ]
        if wider == limits:
            break
        limits = wider
    return [
        [score < level - limit for score in config.fresh]
        for config, level, limit in zip(study, levels, limits, strict=True)
    ]


def collapsed_in_search(scores: Sequence[float]) -> list[bool]:
    """Which trials of a study's search have collapsed, though every one has hyperparameters of its own.

    Those further below the median than `least_loss` and than `FENCE` times the distance from the median to the upper
    quartile: the lower half is that of bad hyperparameters, so that the upper half measures the spread.
    """
    if not len(scores):
        return []
    middle, upper = np.quantile(scores, [0.5, 0.75])
    limit = max(least_loss(float(middle)), FENCE * float(upper - middle))
    return [bool(score < middle - limit) for score in scores]


def _pooled_sd(samples: Sequence[np.ndarray]) -> float:
    squares = sum(float(((sample - sample.mean()) ** 2).sum()) for sample in samples if len(sample))
    freedom = sum(len(sample) - 1 for sample in samples if len(sample))
    return float(np.sqrt(squares / freedom)) if freedom else 0.0
