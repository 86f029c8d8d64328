"""A sweep that a driver has opened. What is kept up to date with the ledger follows it, event by event."""

from collections.abc import Callable

from sweeps.ledger.event_base import EventBase
from sweeps.ledger.events import Event, trial_of
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_record import TrialRecord
from sweeps.spec.spec import SweepSpec
from sweeps.store.store import Store


class OpenSweep:
    """What all parts of a driver share.

    Attributes:
        spec: The sweep's spec.
        store: The sweep `D`.
        state: Its state; `append` alone changes it.
        notice: Prints a sentence for the user.
    """

    def __init__(
        self, spec: SweepSpec, store: Store, state: SweepState, ledger: Ledger, notice: Callable[[str], None]
    ) -> None:
        self.spec, self.store, self.state, self.notice = spec, store, state, notice
        self._ledger = ledger
        self._followers: list[Callable[[Event], object]] = []

    @property
    def teacher(self) -> str | None:
        """The digest of the sweep's teacher."""
        return self.state.teacher.digest if self.state.teacher else None

    def follow(self, update: Callable[[Event], object]) -> None:
        """Call a function with every event that the state has taken in, after the functions that follow already."""
        self._followers.append(update)

    def follow_trials(
        self, update: Callable[[TrialRecord], object], kinds: tuple[type[EventBase], ...] = (EventBase,)
    ) -> None:
        """Call a function with the trial of every event that is about one trial, or of the events of some kinds."""

        def follow(event: Event) -> None:
            trial_id = trial_of(event) if isinstance(event, kinds) else None
            if trial_id is not None:
                update(self.state.trials[trial_id])

        self.follow(follow)

    def append(self, event: Event) -> None:
        """Write an event to the ledger, and let the state and its followers take it in."""
        applied = self.state.apply(self._ledger.append(event))
        for update in self._followers:
            update(applied)
