"""Which students a sweep's target allows. Each architecture is measured once, and recorded in the ledger."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

from kdtrain.deploy.speed import Cost
from kdtrain.errors import InputError
from kdtrain.models import Network
from kdtrain.space import Choice
from sweeps.ledger.events import Event
from sweeps.ledger.state import SweepState
from sweeps.ledger.sweep_events import StudentMeasured
from sweeps.spec.spec import SweepSpec
from sweeps.spec.study import Study
from sweeps.spec.target import Target

CostOf = Callable[[Network], Cost]
"""Measures what a network costs."""

STUDENT = "student."
"""What the paths of a student's fields begin with."""
_MOST_AHEAD = 64
"""Students of a study that are measured before the first trial; of more, each is measured when it is proposed."""


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
