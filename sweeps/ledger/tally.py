"""What the trials of a sweep amount to, kept up to date event by event, so that nobody has to walk over them all."""

import math
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

from sweeps.ledger.failure import Failure
from sweeps.ledger.search_name import search_name
from sweeps.ledger.trial_state import Phase, TrialState


class Counted(Protocol):
    """What is counted of a trial; `sweeps.ledger.trial_record.TrialRecord` implements this protocol."""

    id: str
    study: str
    search: int
    phase: Phase
    state: TrialState
    failure: Failure | None
    reused_from: str | None

    @property
    def committed(self) -> int:
        """What it takes from the budget of its study, in epochs."""

    @property
    def curve(self) -> Mapping[int, float]:
        """Its values by epoch, in ascending order of epochs."""

    @property
    def score(self) -> float | None:
        """What it is worth; none unless it is complete."""

    @property
    def reached(self) -> float | None:
        """What its last evaluations gave, however it ended; none if none gave a number."""

    @property
    def stopped_at(self) -> int | None:
        """The rung at which it was stopped and has ended; none for others."""


T = TypeVar("T", bound=Counted)
Place = tuple[float, int]
"""A value that orders trials, and the number or minus the number of the trial that has it."""


class _InSearch(NamedTuple):
    """What was counted of a trial of a search."""

    number: int
    committed: int = 0
    ended_epochs: int | None = None
    score: Place | None = None


@dataclass
class SearchTally(Generic[T]):
    """The trials of one search."""

    trials: list[T] = field(default_factory=list)
    """In the order in which they were proposed."""
    epochs: int = 0
    """What they take from the budget together."""
    ended: int = 0
    """How many of them have ended."""
    ended_epochs: int = 0
    """The epochs of those."""
    _scores: list[Place] = field(default_factory=list)
    _seen: dict[str, _InSearch] = field(default_factory=dict)
    _values: list[Place] = field(default_factory=list, compare=False)
    _value_of: dict[str, Place] = field(default_factory=dict, compare=False)
    _reported: dict[str, T] = field(default_factory=dict, compare=False)
    """Trials with reports that nobody has asked for yet."""

    @property
    def unfinished(self) -> int:
        """How many of them have not ended."""
        return len(self.trials) - self.ended

    @property
    def evaluated(self) -> int:
        """How many of them were evaluated."""
        self._read_reports()
        return len(self._values)

    def best(self, count: int, skip: int = 0) -> list[T]:
        """The complete trials with the highest scores, the highest first; of equals the earlier first."""
        return [self.trials[number] for _, number in self._scores[skip : skip + count]]

    def leading(self, count: int) -> list[T]:
        """The trials whose last evaluation is the highest, whatever epoch they are in."""
        self._read_reports()
        return [self.trials[-number] for _, number in reversed(self._values[-count:])]

    def update(self, trial: T) -> None:
        """Take in a new trial, or what has happened to one."""
        before = self._seen.get(trial.id)
        if before is None:
            before = _InSearch(len(self.trials))
            self.trials.append(trial)
        number, score = before.number, trial.score
        now = self._seen[trial.id] = _InSearch(
            number,
            trial.committed,
            trial.committed if trial.state.is_over else None,
            None if score is None else (-score, number),
        )
        if trial.state.is_over:
            self.reported(trial)
        self.epochs += now.committed - before.committed
        self.ended += (now.ended_epochs is not None) - (before.ended_epochs is not None)
        self.ended_epochs += (now.ended_epochs or 0) - (before.ended_epochs or 0)
        _move(self._scores, before.score, now.score)

    def reported(self, trial: T) -> None:
        """Take in that a trial may have a new evaluation."""
        self._reported[trial.id] = trial

    def _read_reports(self) -> None:
        for trial in self._reported.values():
            if values := [*trial.curve.values()]:
                last = values[-1] if math.isfinite(values[-1]) else -math.inf
                before, now = self._value_of.get(trial.id), (last, -self._seen[trial.id].number)
                self._value_of[trial.id] = now
                _move(self._values, before, now)
        self._reported.clear()


class _Ended(NamedTuple):
    """What was counted of a trial that has ended."""

    state: TrialState
    failure: Failure | None
    reached: float | None


@dataclass
class Tally(Generic[T]):
    """The trials of a sweep: the same whether they are counted at once or as events arrive."""

    searches: dict[str, SearchTally[T]] = field(default_factory=dict)
    """By `search_name`."""
    phases: dict[Phase, list[T]] = field(default_factory=dict)
    """The trials of a phase, in the order in which they were proposed."""
    states: dict[str, Counter[tuple[TrialState, bool]]] = field(default_factory=dict)
    """By study, how many trials have a state, and whether they took over the outcome of another one; audits do not
    count."""
    broken: dict[int, T] = field(default_factory=dict)
    """The trials that diverged or failed, audits apart, by their place among all."""
    stopped: dict[int, T] = field(default_factory=dict)
    """The trials of searches that were stopped early, by their place among all."""
    _reached: dict[tuple[TrialState, Failure | None], list[float]] = field(default_factory=dict)
    _studies: dict[tuple[str, Phase], list[T]] = field(default_factory=dict)
    _places: dict[str, int] = field(default_factory=dict)
    _shown: dict[str, tuple[TrialState, bool]] = field(default_factory=dict)
    _ended: dict[str, _Ended] = field(default_factory=dict)
    _unfinished: dict[int, T] = field(default_factory=dict)
    _order: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, trials: Iterable[T]) -> "Tally[T]":
        """Count trials, in the order in which they were proposed."""
        tally = cls()
        for trial in trials:
            tally.update(trial)
        return tally

    @property
    def unfinished(self) -> list[T]:
        """The trials of which more epochs are to come, in the order in which they were proposed."""
        return [self._unfinished[place] for place in self._order]

    def place(self, trial: T) -> int:
        """The place of a trial among all, in the order in which they were proposed."""
        return self._places[trial.id]

    def of_search(self, study: str, search: int) -> SearchTally[T]:
        """The trials of one search of a study."""
        return self.searches.get(search_name(study, search)) or SearchTally()

    def of_study(self, study: str, phase: Phase) -> Sequence[T]:
        """The trials of a study in a phase, in the order in which they were proposed."""
        return self._studies.get((study, phase), [])

    def lowest_reached(self) -> Mapping[tuple[TrialState, Failure | None], float]:
        """By how trials ended, audits apart, the lowest value that one of them reached."""
        return {end: values[0] for end, values in self._reached.items()}

    def update(self, trial: T) -> None:
        """Take in a new trial, or what has happened to one; its phase stays."""
        place = self._places.setdefault(trial.id, len(self._places))
        if place == len(self._shown):
            self.phases.setdefault(trial.phase, []).append(trial)
            self._studies.setdefault((trial.study, trial.phase), []).append(trial)
        self._count_unfinished(place, trial)
        if trial.phase is not Phase.AUDIT and (trial.state.is_over or trial.id in self._ended):
            self._count_end(place, trial)
        if trial.phase is Phase.SEARCH:
            _keep(self.stopped, place, trial, trial.stopped_at is not None)
            self.searches.setdefault(search_name(trial.study, trial.search), SearchTally()).update(trial)
        self._count_state(trial)

    def reported(self, trial: T) -> None:
        """Take in that an epoch of a trial that was counted before has ended."""
        if trial.state.is_over:
            self.update(trial)
        elif trial.phase is Phase.SEARCH:
            self.searches[search_name(trial.study, trial.search)].reported(trial)

    def _count_unfinished(self, place: int, trial: T) -> None:
        if trial.state.is_unfinished != (place in self._unfinished):
            _keep(self._unfinished, place, trial, trial.state.is_unfinished)
            if trial.state.is_unfinished:
                insort(self._order, place)
            else:
                del self._order[bisect_left(self._order, place)]

    def _count_end(self, place: int, trial: T) -> None:
        _keep(self.broken, place, trial, trial.state in (TrialState.FAILED, TrialState.DIVERGED))
        before = self._ended.pop(trial.id, None)
        if before is not None and before.reached is not None:
            values = self._reached[before.state, before.failure]
            del values[bisect_left(values, before.reached)]
            if not values:
                del self._reached[before.state, before.failure]
        if trial.state.is_over:
            now = self._ended[trial.id] = _Ended(trial.state, trial.failure, trial.reached)
            if now.reached is not None:
                insort(self._reached.setdefault((now.state, now.failure), []), now.reached)

    def _count_state(self, trial: T) -> None:
        before, now = self._shown.get(trial.id), (trial.state, trial.reused_from is not None)
        self._shown[trial.id] = now
        if trial.phase is not Phase.AUDIT and before != now:
            counts = self.states.setdefault(trial.study, Counter())
            counts[now] += 1
            if before is not None:
                counts[before] -= 1


def _keep(trials: dict[int, T], place: int, trial: T, is_among: bool) -> None:
    if is_among:
        trials[place] = trial
    else:
        trials.pop(place, None)


def _move(places: list[Place], before: Place | None, now: Place | None) -> None:
    """Let a trial have another place in an ascending list, or none."""
    if before == now:
        return
    if before is not None:
        del places[bisect_left(places, before)]
    if now is not None:
        insort(places, now)
