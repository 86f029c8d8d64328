"""What the trials of a search say to a model of final scores, now and when its lengths were last fitted."""

import math
from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kdtrain.space import Scalar, contains
from sweeps.driver.samplers.ranking import COMPLETE, PRUNED, WORST, Worth, worth
from sweeps.driver.searched import SearchedTrial
from sweeps.spec.paths import Space

GOOD, NEWEST = 24, 24
"""The trials that a model is fitted to at most: the best, and the newest others."""
OF_OTHERS = 48
"""Trials of other studies that it is fitted to at most, all studies together."""
_EVERY, _MOST_EVERY = 16, 8
"""Among this many ends one more is waited for before lengths are fitted anew, and at most for so many."""
Statement = tuple[SearchedTrial, Worth | None]
"""A trial and what it says about its parameters; one that runs speaks as if it had been stopped."""


@dataclass(frozen=True)
class FullScore:
    """A score at full length, with the variance of its extrapolation; its study by number, 0 for the searched one."""

    params: Mapping[str, Scalar]
    value: float
    variance: float = 0.0
    group: int = 0


class Gains:
    """What complete trials have gained from an epoch to the end.

    Args:
        complete: The trials.
    """

    def __init__(self, complete: Iterable[SearchedTrial]) -> None:
        self._of_epoch: dict[int, list[float]] = {}
        self._since: dict[int, tuple[float, float]] = {}
        for trial in complete:
            if (score := trial.score) is not None:
                for epoch, then in trial.curve.items():
                    self._of_epoch.setdefault(epoch, []).append(score - then)

    def since(self, epoch: int) -> tuple[float, float] | None:
        """Mean and variance of the gains; none if no complete trial was evaluated after this epoch."""
        if epoch not in self._since and (gains := self._of_epoch.get(epoch)):
            middle = float(np.mean(gains))
            self._since[epoch] = middle, float(np.var(gains, ddof=1)) if len(gains) > 2 else (middle / 2) ** 2
        return self._since.get(epoch)


class Ends:
    """The statements of a search as they were when its lengths were last to be fitted.

    It follows from the ends of the trials in their order alone, so that a sweep that was resumed fits what an
    uninterrupted one fits.
    """

    def __init__(self) -> None:
        self.count = 0
        """How many ends were read."""
        self._best: list[tuple[Worth, int, SearchedTrial]] = []
        self._newest: dict[int, Statement] = {}

    def update(self, ends: Sequence[tuple[Worth, SearchedTrial]]) -> None:
        """Read on, up to the last fit that is due.

        Args:
            ends: What was said at each end so far, see `Ranked.told`.
        """
        until = len(ends)
        until -= until % min(max(1, until // _EVERY), _MOST_EVERY)
        for number in range(self.count, until):
            said, trial = ends[number]
            self._best = [each for each in self._best if each[2] is not trial]
            insort(self._best, (_reversed(said), number, trial))
            del self._best[GOOD:]
            self._newest.pop(id(trial), None)
            self._newest[id(trial)] = trial, said
            if len(self._newest) > GOOD + NEWEST:
                del self._newest[next(iter(self._newest))]
        self.count = max(self.count, until)

    def complete(self) -> list[SearchedTrial]:
        """The best complete trials."""
        return [trial for said, _, trial in self._best if -said[0] == COMPLETE]

    def shown(self, good: int, newest: int) -> list[Statement]:
        """The best trials, and the newest others, in the order in which they ended."""
        best: list[Statement] = [(trial, _reversed(said)) for said, _, trial in self._best[:good]]
        ids = {id(trial) for trial, _ in best}
        others = [each for key, each in self._newest.items() if key not in ids]
        return best + others[-newest:]


@dataclass(frozen=True)
class Evidence:
    """What trials say to a model.

    Attributes:
        scores: Scores of the searched study.
        others: Scores of other studies, by the parameters of the recipe.
        running: The parameters of the trials that run and say nothing yet.
    """

    scores: Sequence[FullScore]
    others: Sequence[FullScore]
    running: Sequence[Mapping[str, Scalar]]


def statement(trial: SearchedTrial) -> Statement:
    """What a trial says now."""
    said, curve = worth(trial), trial.curve
    if said is None and curve:
        said = (PRUNED, float(max(curve)), curve[max(curve)])
    return trial, said


def evidence(
    searched: Iterable[Statement], others: Sequence[Iterable[Statement]], gains: Gains, recipe: Space
) -> Evidence:
    """The evidence in what trials say.

    Args:
        searched: The statements of the searched study.
        others: Those of other studies, study by study.
        gains: What complete trials have gained.
        recipe: What all studies search, see `sweeps.spec.paths.recipe_of`.
    """
    of_others = []
    for group, statements in enumerate(others, start=1):
        there = [
            FullScore({path: each.params[path] for path in recipe}, each.value, each.variance, group)
            for each in _scores(statements, gains)[0]
            if all(path in each.params and contains(recipe[path], each.params[path]) for path in recipe)
        ]
        of_others += there if len(there) > 1 else []
    scores, running = _scores(searched, gains)
    return Evidence(scores, of_others, running)


def _scores(statements: Iterable[Statement], gains: Gains) -> tuple[list[FullScore], list[Mapping[str, Scalar]]]:
    """The scores that statements come to, and the parameters of trials that run and say nothing yet."""
    scores, worst, running = list[FullScore](), list[Mapping[str, Scalar]](), list[Mapping[str, Scalar]]()
    for trial, said in statements:
        kind, epoch, value = (None, 0.0, math.nan) if said is None else said
        if kind == WORST:
            worst.append(trial.params)
        elif kind == COMPLETE:
            scores.append(FullScore(trial.params, value))
        elif math.isfinite(value) and (since := gains.since(int(epoch))) is not None:
            scores.append(FullScore(trial.params, value + since[0], since[1]))
        elif trial.state.is_unfinished:
            running.append(trial.params)
    lowest = min((each.value for each in scores), default=0.0)
    return [*scores, *(FullScore(params, lowest) for params in worst)] if scores else [], running


def _reversed(said: Worth) -> Worth:
    """Numbers that put the best first."""
    kind, epoch, value = said
    return -kind, -epoch, -value
