"""What a scheduler sees of the trials of a search, and what it decides."""

from bisect import bisect_right
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Curve = Mapping[int, float]
"""Value by epoch, evaluated epochs only."""
Place = tuple[float, int]
"""The value of a trial and minus its number, so that of equal values the earlier trial's place is higher."""
Lists = Mapping[Hashable, Sequence[Place]]
"""The places of the trials of a search, ascending, in each list in which the scheduler compares them."""


class ScheduledTrial(Protocol):
    """A trial of a search up to now; `sweeps.ledger.trial_record.TrialRecord` implements this protocol."""

    @property
    def number(self) -> int:
        """Its number in its study."""

    @property
    def number_in_search(self) -> int:
        """Its place among the trials of its search, from 0."""

    @property
    def epochs(self) -> int:
        """The epochs that are planned."""

    @property
    def curve(self) -> Curve:
        """Its values so far, the more the better."""

    @property
    def stopped_at(self) -> int | None:
        """The rung at which it was stopped; none for a trial that runs or has ended in another way."""


@dataclass(frozen=True)
class Verdict:
    """What a report means for its trial.

    Attributes:
        action: Whether the training continues.
        rung: The epoch at which the trial is compared; none if this report compares it with nothing.
        entered: The trials that are compared, this one included.
        kept: How many of them continue.
        reason: Why the trial is stopped, in words; empty if it is not among the best `kept` of `entered`.
    """

    action: Literal["continue", "stop"]
    rung: int | None = None
    entered: int = 0
    kept: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Promotion:
    """A stopped trial that is now among the best of its rung, and goes on.

    Attributes:
        number: The trial's number in its study.
        rung: Where it was stopped.
        value: With which it entered the rung.
        entered: The trials that have entered the rung by now.
        kept: How many of them continue.
    """

    number: int
    rung: int
    value: float
    entered: int
    kept: int


@dataclass(frozen=True)
class Needs:
    """What a scheduler needs before it stops any trial.

    Attributes:
        setting: The setting that asks for it.
        trials: The trials of a search without which none is stopped.
        words: The same, as the beginning of a sentence.
    """

    setting: str
    trials: float
    words: str


class StopsForGood:
    """A scheduler whose stopped trials never go on."""

    resumes = False

    def promotion(self, lists: Lists) -> Promotion | None:
        """See `sweeps.driver.scheduler.Scheduler`."""
        return None


GO_ON = Verdict("continue")
"""A report that decides nothing."""


def count_better(places: Sequence[Place], value: float) -> int:
    """How many places of an ascending list have a higher value."""
    return len(places) - bisect_right(places, (value, 1))
