"""Watchers: functions that are called with every record that the driver appends, such as the progress display.

A watcher looks and never decides: it must neither change the state nor call the driver. An error in a watcher does not
stop the sweep. The error is reported once, and the watcher goes on being called, since what made it fail, such as a
full disk, may pass.
"""

from collections.abc import Callable, Sequence

from kdtrain.explain import kind_and_line
from sweeps.ledger.events import Event
from sweeps.ledger.state import SweepState

Watcher = Callable[[Event, SweepState], None]
"""Takes what has just happened and the sweep's state after it."""


class Watchers:
    """Calls a list of watchers, one after the other.

    Args:
        watchers: Whom to tell.
        notice: Takes one sentence for every watcher that fails, at its first failure.
    """

    def __init__(self, watchers: Sequence[Watcher], notice: Callable[[str], None]) -> None:
        self._watchers, self._notice = tuple(watchers), notice
        self._failed: set[int] = set()

    def tell(self, event: Event, state: SweepState) -> None:
        """Tell all watchers; `KeyboardInterrupt` passes, other errors and `sys.exit` are reported."""
        for index, watcher in enumerate(self._watchers):
            try:
                watcher(event, state)
            except (Exception, SystemExit) as error:
                if index not in self._failed:
                    self._failed.add(index)
                    self._notice(
                        f"the watcher {_name(watcher)} failed at a record of kind {event.kind} "
                        f"({kind_and_line(error)}); the sweep continues, further errors of this watcher are "
                        "not reported"
                    )


def _name(watcher: Watcher) -> str:
    named = watcher if hasattr(watcher, "__qualname__") else type(watcher)
    return f"{named.__module__}.{named.__qualname__}"
