"""Asynchronous Hyperband: successive halving in brackets, each with first rungs of its own.

Halving with a short grace period loses configs that start slowly, with a long one it saves little. So bracket `s` has
its first rung at `grace * factor ** s`, the last bracket has none, and trials of different brackets are not compared.
As many trials come to a bracket as in Hyperband (Li et al. 2018), where all brackets cost about the same. Which trial
comes to which bracket follows from its place in its search alone, so that repeated searches have the same brackets.
"""

import math

from sweeps.driver.asha import HalvingRule
from sweeps.driver.verdict import ScheduledTrial

_GOLDEN = (math.sqrt(5) - 1) / 2
"""The multiples of the golden ratio, modulo 1, fill the unit interval evenly from the first number on."""


class HyperbandRule(HalvingRule):
    """Stops a trial at a rung of its bracket unless it is among the best there."""

    def words(self, rungs: list[int], epochs: int, every: int = 1) -> str:
        """See `sweeps.driver.scheduler.Scheduler`."""
        shares = bracket_shares(len(self.rungs(epochs)), self._factor)
        starts: dict[int, float] = {}
        for share, rung in zip(shares, rungs, strict=False):
            evaluated = math.ceil(rung / every) * every
            starts[evaluated] = starts.get(evaluated, 0) + share
        parts = [f"{share:.0%} from epoch {epoch}" for epoch, share in starts.items()]
        return f"{super().words(rungs, epochs, every)}: {', '.join(parts)}, {sum(shares[len(rungs) :]):.0%} to the end"

    def _bracket(self, trial: ScheduledTrial) -> tuple[int, list[int]]:
        rungs = self.rungs(trial.epochs)
        mine = bracket(trial.number_in_search, len(rungs), self._factor)
        return mine, rungs[mine:]


def bracket_shares(rungs: int, factor: int) -> list[float]:
    """The share of the trials that comes to each bracket: one bracket for each rung, and one without any."""
    last = rungs
    sizes = [math.ceil((last + 1) / (left + 1) * factor**left) for left in range(last, -1, -1)]
    return [size / sum(sizes) for size in sizes]


def bracket(number: int, rungs: int, factor: int) -> int:
    """The bracket of a trial, from 0 for the one with all rungs.

    Args:
        number: Of the trial in its search, from 0.
        rungs: How many rungs the first bracket has.
        factor: Of the scheduler.
    """
    place, below = (number + 1) * _GOLDEN % 1, 0.0
    for index, share in enumerate(bracket_shares(rungs, factor)):
        below += share
        if place < below:
            return index
    return rungs
