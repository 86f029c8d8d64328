"""What the trials of a sweep amount to, kept up to date event by event, so that no proposal has to count them all."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from sweeps.ledger.search_name import search_name
from sweeps.ledger.trial_state import Phase, TrialState


class Counted(Protocol):
    """What is counted of a trial; `sweeps.ledger.state.TrialRecord` implements this protocol."""

    id: str
    study: str
    search: int
    phase: Phase
    state: TrialState

    @property
    def committed(self) -> int:
        """What it takes from the budget of its study, in epochs."""


T = TypeVar("T", bound=Counted)


@dataclass
class SearchTally(Generic[T]):
    """The trials of one search."""

    trials: list[T] = field(default_factory=list)
    """In the order in which they were proposed."""
    epochs: int = 0
    """What they take from the budget together."""
    _committed: dict[str, int] = field(default_factory=dict)

    def update(self, trial: T) -> None:
        """Take in a new trial, or what has happened to one."""
        if trial.id not in self._committed:
            self.trials.append(trial)
        self.epochs += trial.committed - self._committed.get(trial.id, 0)
        self._committed[trial.id] = trial.committed


@dataclass
class Tally(Generic[T]):
    """The trials of a sweep: the same whether they are counted at once or as events arrive."""

    searches: dict[str, SearchTally[T]] = field(default_factory=dict)
    """By `search_name`."""
    _places: dict[str, int] = field(default_factory=dict)
    _unfinished: dict[int, T] = field(default_factory=dict)

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
        return [self._unfinished[place] for place in sorted(self._unfinished)]

    def of_search(self, study: str, search: int) -> SearchTally[T]:
        """The trials of one search of a study."""
        return self.searches.get(search_name(study, search)) or SearchTally()

    def update(self, trial: T) -> None:
        """Take in a new trial, or what has happened to one; its phase stays."""
        place = self._places.setdefault(trial.id, len(self._places))
        if trial.state.is_unfinished:
            self._unfinished[place] = trial
        else:
            self._unfinished.pop(place, None)
        if trial.phase is Phase.SEARCH:
            self.searches.setdefault(search_name(trial.study, trial.search), SearchTally()).update(trial)
