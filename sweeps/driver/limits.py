"""Which students a sweep's target allows. Each architecture is measured once, and recorded in the ledger."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

from kdtrain.deploy.speed import Cost
from kdtrain.errors import InputError
from kdtrain.models import Network
from kdtrain.space import Choice, Scalar
from sweeps.ledger.events import Event
from sweeps.ledger.state import SweepState
from sweeps.ledger.sweep_events import StudentMeasured
from sweeps.ledger.trial_record import TrialRecord
from sweeps.spec.paths import STUDENT
from sweeps.spec.spec import SweepSpec
from sweeps.spec.study import Study
from sweeps.spec.target import Target

CostOf = Callable[[Network], Cost]
"""Measures what a network costs."""

_MOST_AHEAD = 64
"""Students of a study that are measured before the first trial; of more, each is measured when it is proposed."""
_MOST_IN_A_ROW = 4
"""Students that are measured at most for one trial, until one lies at the limit whose turn it is."""


def no_cost(student: Network) -> Cost:
    """Where a sweep has no target."""
    raise AssertionError("a sweep with a target must be given a function that measures students")


class Limits:
    """The limits of one sweep.

    Args:
        target: Of the sweep.
        state: What it has measured so far.
        append: Writes an event to its ledger.
        cost_of: Measures a student.
    """

    def __init__(
        self,
        target: Target | None,
        state: SweepState,
        append: Callable[[Event], object],
        cost_of: CostOf,
    ) -> None:
        self._target, self._state, self._append, self._cost_of = target, state, append, cost_of

    def excess(self, student: Network) -> str | None:
        """Which limits a student is above, in words; none if it is within all."""
        if self._target is None:
            return None
        above = self._target.excess(self.cost(student))
        return above and f"student {student.title}: {above}"

    def is_measured(self, student: Network) -> bool:
        """Whether the cost of a student is recorded."""
        return key_of(student) in self._state.costs

    def cost(self, student: Network) -> Cost:
        """What a student costs; it is measured and recorded if it is not yet."""
        if not self.is_measured(student):
            cost = self._cost_of(student)
            self._append(StudentMeasured(student.model_dump(mode="json"), student.title, cost.model_dump(mode="json")))
        return self._state.costs[key_of(student)]

    def check(self, study: str, students: list[Network]) -> None:
        """Raise InputError if every one of the students that a study may train is above a limit."""
        above = [self.excess(student) for student in students]
        if above and all(above):
            least = min(students, key=lambda student: self.cost(student).order)
            raise InputError(
                f"target: no student of study {study} is within the limits; the cheapest of {len(students)} is "
                f"{least.title}: {self._target and self._target.excess(self.cost(least))}"
            )

    def may_be_at(self, student: Network, step: int) -> bool:
        """Whether the limit at a place among several may be the smallest one that a student is within.

        That is known of a student that was measured.
        """
        cost = self._state.costs.get(key_of(student))
        if self._target is None or cost is None:
            return True
        return self._target.step(cost) == step and self._target.excess(cost) is None

    def steps(self, students: Sequence[Network]) -> list[int]:
        """The places of the limits at which some of a study's students lie, ascending.

        That is, of those that are the smallest limit which a student is within. Of all limits, as long as a student is
        not measured.

        Args:
            students: All that the study may train; none if they are many.
        """
        if self._target is None:
            return []
        costs = [self._state.costs.get(key_of(student)) for student in students]
        known = [cost for cost in costs if cost is not None and self._target.excess(cost) is None]
        if not students or None in costs:
            return list(range(len(self._target.limits)))
        return sorted({self._target.step(cost) for cost in known})

    def may_measure(self, student: Network) -> bool:
        """Whether a student was not measured, and can be for the trial that is proposed."""
        return not self.is_measured(student) and self._state.measured_in_a_row < _MOST_IN_A_ROW


def steps_of(spec: SweepSpec) -> int:
    """How many limits a sweep finds the best student below; 1 without a target."""
    return 1 if spec.target is None else len(spec.target.limits)


def step_of(spec: SweepSpec, trial: TrialRecord) -> int:
    """The place among the limits of a sweep of the smallest one that the student of a trial is within."""
    return 0 if spec.target is None or trial.cost is None else spec.target.step(trial.cost)


def turn(steps: Sequence[int], trials: int) -> int | None:
    """At which of several limits the next student of a search lies: in turn, from the largest to the smallest.

    So students of every cost are looked at.

    Args:
        steps: The places of the limits at which the search may have students, see `Limits.steps`; ascending.
        trials: Trials that it has proposed.

    Returns:
        The place of the limit; none where there is one at most.
    """
    return steps[-1 - trials % len(steps)] if len(steps) > 1 else None


class StudentOf:
    """The students of the configs of a study, each made once.

    Args:
        spec: The sweep.
        study: The study.
    """

    def __init__(self, spec: SweepSpec, study: Study) -> None:
        self._spec, self._study = spec, study
        self._students: dict[tuple[str, ...], Network | None] = {}

    @cached_property
    def few(self) -> list[Network]:
        """All of them, as of `students_of`."""
        return students_of(self._spec, self._study)

    def __call__(self, params: Mapping[str, Scalar]) -> Network | None:
        """The student of a config; none where its parameters make none."""
        searched = {path: value for path, value in params.items() if path.startswith(STUDENT)}
        key = tuple(f"{path}={value!r}" for path, value in searched.items())
        if key not in self._students:
            try:
                self._students[key] = self._spec.config_for(self._study, searched).student
            except InputError:
                self._students[key] = None
        return self._students[key]


def key_of(student: Network) -> str:
    """The identity of a kind of network."""
    return student.model_dump_json()


def students_of(spec: SweepSpec, study: Study) -> list[Network]:
    """The students that a study may train, where its space holds few of them; otherwise none."""
    space = {path: domain for path, domain in spec.space_of(study).items() if path.startswith(STUDENT)}
    choices = [domain.choices for domain in space.values() if isinstance(domain, Choice)]
    if len(choices) < len(space) or math.prod(map(len, choices)) > _MOST_AHEAD:
        return []
    return list(_networks(spec, study, tuple(space), choices))


def _networks(
    spec: SweepSpec, study: Study, paths: tuple[str, ...], choices: Sequence[tuple[object, ...]]
) -> Iterator[Network]:
    for values in itertools.product(*choices):
        try:
            yield spec.config_for(study, dict(zip(paths, values, strict=True))).student
        except InputError:  # these values are not valid together, which the search notices
            continue
