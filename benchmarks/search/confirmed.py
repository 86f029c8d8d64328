"""A search and then the confirmation, within one budget: what makes a whole policy of the searches of others."""

from dataclasses import dataclass, field
from typing import Protocol

from search.clock import Training
from search.confirmation import MEAN, Race, choice
from search.plan import Plan
from search.tables import Params, Space


@dataclass(frozen=True)
class Job:
    """What a search wants trained.

    Attributes:
        key: Names the training; the same as before where a training goes on from its checkpoint.
        params: The config.
        until: The epoch after which it ends, unless the search ends it earlier.
    """

    key: str
    params: Params
    until: int


class Search(Protocol):
    """Proposes trainings, and is told their scores."""

    def ask(self) -> Job | None:
        """A training; none if there can be none before another one ends."""

    def tell(self, key: str, epoch: int, score: float) -> bool:
        """An epoch has ended with a score in percent, the more the better; returns whether the training goes on."""

    def ended(self, key: str) -> None:
        """A training has ended, after its last epoch or because `tell` said so; it may be asked for again."""


@dataclass
class _Trial:
    params: Params
    order: int
    planned: int = 0
    """The epoch until which it runs now; that which it has reached when it does not run."""
    scores: list[float] = field(default_factory=list)


class Confirmed:
    """A policy; implements `search.clock.Policy`.

    A training is begun if it brings the epochs of the search closer to the budget, as in the product. The candidates
    of the confirmation are the configs that were trained longest, of these the best by their last score.
    """

    def __init__(
        self, study: str, search: Search, plan: Plan, space: Space, epochs: int, default: Params | None
    ) -> None:
        """Begin.

        Args:
            study: The name of the study.
            search: What is searched with.
            plan: The budget, in full trainings.
            space: The space that is searched.
            epochs: Epochs of a full training.
            default: The published config, if there is one.
        """
        self._study, self._search, self._plan, self._space, self._epochs, self._default = (
            study,
            search,
            plan,
            space,
            epochs,
            default,
        )
        self._trials: dict[str, _Trial] = {}
        self._running: set[str] = set()
        self._held: Job | None = None
        self._is_over = False
        self._race: Race | None = None
        self._fresh: dict[str, tuple[int, int, float]] = {}

    def next(self) -> Training | None:
        """See `search.clock.Policy`."""
        if (job := self._next_job()) is not None:
            trial = self._trials.setdefault(job.key, _Trial(job.params, len(self._trials)))
            begin, trial.planned = len(trial.scores), job.until
            self._running.add(job.key)
            return Training(self._study, job.key, trial.params, 0, begin, job.until)
        if self._running or not self._plan.top:
            return None
        if self._race is None:
            self._race = Race([trial.params for trial in self._ranked()[: self._plan.top]], self._plan.seeds)
        if (fresh := self._race.next()) is None:
            return None
        number, params, seed = fresh
        key = f"fresh-{number}-{seed}"
        self._fresh[key] = (number, seed, 0.0)
        return Training(self._study, key, params, seed, 0, self._epochs)

    def report(self, key: str, epoch: int, score: float) -> bool:
        """See `search.clock.Policy`."""
        if key in self._fresh:
            self._fresh[key] = (*self._fresh[key][:2], score)
            return True
        self._trials[key].scores.append(score)
        return self._search.tell(key, epoch, score)

    def ended(self, key: str) -> None:
        """See `search.clock.Policy`."""
        if key in self._fresh:
            assert self._race is not None
            self._race.ended(*self._fresh[key])
            return
        trial = self._trials[key]
        trial.planned = len(trial.scores)
        self._running.remove(key)
        self._search.ended(key)

    def chosen(self, study: str) -> Params | None:
        """See `search.clock.Policy`."""
        if self._race is not None:
            return choice(self._race.finalists(), self._space, self._default, MEAN)
        ranked = self._ranked()
        return ranked[0].params if ranked else None

    def _next_job(self) -> Job | None:
        """The next training of the search within its budget."""
        if self._is_over:
            return None
        job = self._held or self._search.ask()
        if job is None:
            self._is_over = not self._running
            return None
        before = self._trials[job.key].planned if job.key in self._trials else 0
        spent = sum(trial.planned for trial in self._trials.values())
        fits = spent + (job.until - before) / 2 <= self._plan.search * self._epochs
        self._held = None if fits or not spent else job
        if self._held is not None:
            self._is_over = not self._running
            return None
        return job

    def _ranked(self) -> list[_Trial]:
        """Each config once, best first; of equals the earlier."""
        trained = [trial for trial in self._trials.values() if trial.scores]
        trained.sort(key=lambda trial: (-len(trial.scores), -trial.scores[-1], trial.order))
        distinct = {repr(sorted(trial.params.items())): trial for trial in reversed(trained)}
        return [trial for trial in trained if distinct[repr(sorted(trial.params.items()))] is trial]
