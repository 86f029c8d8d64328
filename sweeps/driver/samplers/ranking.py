"""How trials that ended in different ways compare, and which of them a sampler looks at in a long search."""

import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from heapq import nlargest
from typing import NamedTuple, overload

from sweeps.driver.searched import SearchedTrial
from sweeps.ledger.trial_state import TrialState

Worth = tuple[int, float, float]
"""The larger the better: how the trial ended, the last epoch at which it was evaluated, and its score there."""
COMPLETE, PRUNED, WORST = 2, 1, 0
"""How a trial ended, as `Worth` has it; the worst ones diverged or are not valid."""
GOOD, OTHERS, RUNNING = 25, 225, 100
"""The trials that a model is fitted to at most: the best, the newest others, and the newest that have not ended."""


class _Place(NamedTuple):
    """Where a trial stands.

    Attributes:
        arrived: Its number among all proposals, in order.
        not_valid: Whether it made no valid config.
        number: Its number among those that did, or did not.
    """

    arrived: int
    not_valid: bool
    number: int

    def shown(self) -> tuple[bool, int]:
        """The order in which a model sees trials: what is not valid behind the others."""
        return (self.not_valid, self.number)


def worth(trial: SearchedTrial) -> Worth | None:
    """What a trial says about its parameters; none if it says nothing, because it has not ended or has failed.

    A complete trial counts more than a pruned one, whatever their scores, and a pruned one more than one that diverged
    or whose parameters make no valid config. Of pruned trials the one that came further counts more.
    """
    return worth_at(trial, trial.state, math.inf)


def worth_at(trial: SearchedTrial, state: TrialState, epoch: float) -> Worth | None:
    """The same when the trial had this state and had been evaluated up to this epoch."""
    if state is TrialState.COMPLETE and trial.is_valid:
        score = trial.score
        return None if score is None else (COMPLETE, 0.0, score)
    if state is TrialState.PRUNED:
        curve = trial.curve
        last = max((each for each in curve if each <= epoch), default=-1)
        value = curve.get(last, -math.inf)
        return (PRUNED, float(last), value if math.isfinite(value) else -math.inf)
    return (WORST, 0.0, 0.0) if state is TrialState.DIVERGED or not trial.is_valid else None


class Ranked(Sequence[SearchedTrial]):
    """Trials in the order in which they were proposed, then what was not valid; ranked as they end.

    The ranks follow from the trials alone. Because they are kept, a proposal costs no more in a long search than in a
    short one.

    Args:
        trials: The trials so far, in the order in which they ended.
    """

    def __init__(self, trials: Iterable[SearchedTrial] = ()) -> None:
        self.told: list[tuple[Worth, SearchedTrial]] = []
        """What was said about parameters, in the order in which trials ended, each time that one did."""
        self._trials: list[SearchedTrial] = []
        self._valid = 0
        self._places: dict[int, _Place] = {}
        self._worth: dict[_Place, Worth] = {}
        self._ended: list[_Place] = []
        self._ranks: list[tuple[Worth, int, int, _Place]] = []
        self._unfinished: set[_Place] = set()
        for trial in trials:
            self.update(trial)
            self.tell(trial, trial.state, math.inf)

    @overload
    def __getitem__(self, index: int) -> SearchedTrial: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[SearchedTrial]: ...

    def __getitem__(self, index: int | slice) -> SearchedTrial | Sequence[SearchedTrial]:
        return self._trials[index]

    def __len__(self) -> int:
        return len(self._trials)

    def __iter__(self) -> Iterator[SearchedTrial]:
        return iter(self._trials)

    @property
    def not_valid(self) -> int:
        """How many of them made no valid config."""
        return len(self._trials) - self._valid

    @property
    def informative(self) -> int:
        """How many valid trials say something about their parameters."""
        return len(self._ended) - self.not_valid

    def update(self, trial: SearchedTrial) -> None:
        """Take in a new trial, or what has happened to one."""
        place = self._places.get(id(trial))
        if place is None:
            number = self._valid if trial.is_valid else self.not_valid
            place = self._places[id(trial)] = _Place(len(self), not trial.is_valid, number)
            self._trials.insert(self._valid if trial.is_valid else len(self), trial)
            self._valid += trial.is_valid
        (self._unfinished.add if trial.state.is_unfinished else self._unfinished.discard)(place)
        before, now = self._worth.pop(place, None), worth(trial)
        if now is not None:
            self._worth[place] = now
        if before == now:
            return
        if before is not None:
            del self._ended[bisect_left(self._ended, place)]
            del self._ranks[bisect_left(self._ranks, (before, *_earlier_first(place)))]
        if now is not None:
            insort(self._ended, place)
            insort(self._ranks, (now, *_earlier_first(place), place))

    def tell(self, trial: SearchedTrial, state: TrialState, epoch: float) -> None:
        """Take in that a trial has ended with this state, when it had been evaluated up to this epoch."""
        if (said := worth_at(trial, state, epoch)) is not None:
            self.told.append((said, trial))

    def worth_of(self, trial: SearchedTrial) -> Worth | None:
        """What one of them says about its parameters, see `worth`."""
        return self._worth.get(self._places[id(trial)])

    def best(self, count: int) -> list[SearchedTrial]:
        """The best trials, best first; none that has diverged or is not valid."""
        ranks = reversed(self._ranks[-count:]) if count > 0 else ()
        return [self._trials[-number] for (kind, *_), _, number, _ in ranks if kind > WORST]

    def bounded(self, good: int = GOOD, others: int = OTHERS) -> Sequence[SearchedTrial]:
        """The trials that a model is fitted to, so that the cost of a proposal does not grow with the search.

        Up to `good + others` trials that say something: all. Beyond: the best `good` ones, of the rest the newest
        `others`. And of those that have not ended the newest, too. TPE calls no more than 25 trials good, and
        weighs older trials less.
        """
        most_running = min(others, RUNNING)
        if len(self._ended) <= good + others and len(self._unfinished) <= most_running:
            return self
        kept = {place for *_, place in self._ranks[-good:]}
        for place in reversed(self._ended):
            if len(kept) == good + others:
                break
            kept.add(place)
        running = self._unfinished
        if len(running) > most_running:
            running = set(nlargest(most_running, running))
        shown = sorted(place.shown() for place in kept | running)
        return [self._trials[number + not_valid * self._valid] for not_valid, number in shown]


def ranked(trials: Sequence[SearchedTrial]) -> Ranked:
    """Trials with their ranks."""
    return trials if isinstance(trials, Ranked) else Ranked(trials)


def _earlier_first(place: _Place) -> tuple[int, int]:
    """Of equal worth the earlier trial ranks higher."""
    return (-place.not_valid, -place.number)
