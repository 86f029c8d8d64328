"""How trials that ended in different ways compare, and which of them a sampler looks at in a long search."""

import heapq
import math
from collections.abc import Sequence

from sweeps.driver.searched import SearchedTrial
from sweeps.ledger.trial_state import TrialState

Worth = tuple[int, float, float]
"""The larger the better: how the trial ended, the last epoch at which it was evaluated, and its score there."""
COMPLETE, PRUNED, WORST = 2, 1, 0
"""How a trial ended, as `Worth` has it; the worst ones diverged or are not valid."""
GOOD, OTHERS = 25, 225
"""The trials that a model is fitted to at most: the best, and the newest others."""


def worth(trial: SearchedTrial) -> Worth | None:
    """What a trial says about its parameters; none if it says nothing, because it has not ended or has failed.

    A complete trial counts more than a pruned one, whatever their scores, and a pruned one more than one that diverged
    or whose parameters make no valid config. Of pruned trials the one that came further counts more.
    """
    state = trial.state
    if state is TrialState.COMPLETE and trial.is_valid:
        score = trial.score
        return None if score is None else (COMPLETE, 0.0, score)
    if state is TrialState.PRUNED:
        curve = trial.curve
        last = max(curve, default=-1)
        value = curve.get(last, -math.inf)
        return (PRUNED, float(last), value if math.isfinite(value) else -math.inf)
    return (WORST, 0.0, 0.0) if state is TrialState.DIVERGED or not trial.is_valid else None


def bounded(trials: Sequence[SearchedTrial]) -> Sequence[SearchedTrial]:
    """The trials that a model is fitted to, so that the cost of a proposal does not grow with the search.

    Up to `GOOD + OTHERS` trials that say something: all. Beyond: the `GOOD` best, of the others the `OTHERS` newest,
    and all that have not ended. TPE calls no more than 25 trials good, and weighs older trials less.
    """
    told = {number: value for number, trial in enumerate(trials) if (value := worth(trial)) is not None}
    if len(told) <= GOOD + OTHERS:
        return trials
    good = set(heapq.nlargest(GOOD, told, key=told.__getitem__))
    newest = [number for number in reversed(told) if number not in good][:OTHERS]
    kept = good.union(newest)
    return [trial for number, trial in enumerate(trials) if number in kept or trial.state.is_unfinished]
