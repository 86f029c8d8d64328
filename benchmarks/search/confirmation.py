"""The same confirmation for all policies: the best configs of a search race on fresh seeds, and one is returned.

The race is that of the product (`analysis.selection.halving`): sequential halving, everyone on the same seeds.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np

from analysis.selection.halving import schedule, survivors
from analysis.selection.one_standard_error import within_one_se
from search.tables import Params, Space

Scores = Mapping[int, float]
"""By fresh seed."""
MEAN, ONE_SE = "mean", "one_se"
"""The rules of `choice`."""


class Race:
    """The trainings of the best configs on fresh seeds.

    Args:
        configs: The configs that enter, best first.
        seeds: Fresh seeds per config on average.
    """

    def __init__(self, configs: Sequence[Params], seeds: int) -> None:
        self._rounds = schedule(len(configs), seeds)
        self._until = list(accumulate(each.seeds for each in self._rounds))
        self._configs = list(configs)
        self._begun: set[tuple[int, int]] = set()
        self._scores: dict[int, dict[int, float]] = {number: {} for number in range(len(configs))}
        self._alive = list(self._scores)
        self._round = 0

    def next(self) -> tuple[int, Params, int] | None:
        """A config to train, by number, and its fresh seed, from 1; none while a round runs, and after the last."""
        while self._round < len(self._rounds):
            for seed in range(1, self._until[self._round] + 1):
                for number in self._alive:
                    if (number, seed) not in self._begun:
                        self._begun.add((number, seed))
                        return number, self._configs[number], seed
            if any(len(self._scores[number]) < self._until[self._round] for number in self._alive):
                return None
            if self._round + 1 == len(self._rounds):
                return None
            self._round += 1
            scores = {number: list(self._scores[number].values()) for number in self._alive}
            self._alive = survivors(scores, self._rounds[self._round].alive)
        return None

    def ended(self, number: int, seed: int, score: float) -> None:
        """A training has ended."""
        self._scores[number][seed] = score

    def finalists(self) -> list[tuple[Params, Scores]]:
        """The configs of the last round, in the order in which they entered, with their scores."""
        return [(self._configs[number], self._scores[number]) for number in self._alive]


def choice(finalists: Sequence[tuple[Params, Scores]], space: Space, default: Params | None, rule: str) -> Params:
    """The config that a procedure returns.

    Args:
        finalists: The configs of the last round with their scores.
        space: Where they come from.
        default: The published config.
        rule: `mean`, the highest mean, or `one_se`, as the product chooses among configs that cost the same: of all
            within one standard error of the best mean that closest to the published config.
    """
    means = [float(np.mean(list(scores.values()))) for _, scores in finalists]
    best = finalists[int(np.argmax(means))][0]
    if rule == MEAN or default is None:
        return best
    tied = within_one_se([dict(scores) for _, scores in finalists])
    distances = [_distance(space, params, default) for params, _ in finalists]
    able = [number for number, is_tied in enumerate(tied) if is_tied]
    return finalists[min(able, key=lambda number: (distances[number], -means[number]))][0]


def _distance(space: Space, params: Params, default: Params) -> float:
    """As `analysis.tables.ranges.distance`: the mean of shares of ranges, 1 for another choice."""
    steps = [
        float(params[path] != default[path])
        if domain.choices
        else abs(domain.places(params[path])[0] - domain.places(default[path])[0])
        for path, domain in space.items()
    ]
    return sum(steps) / len(steps)
