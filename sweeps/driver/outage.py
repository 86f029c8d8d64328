"""Outages: an input of the sweep that was there when the session started is away for a while.

Trials that fail for that reason are planned again, and no trial is started before the input is back.
"""

import time
from collections.abc import Callable

from kdtrain.errors import StorageError
from sweeps.ledger.failure import Crash, Failure
from sweeps.store.store import PATIENCE_S

MOST_RETRIES = 3
"""Attempts that a trial gets when its input is there again, or is away on its node alone."""
PAUSE_S = 5.0
"""Seconds between two looks at an input that is away."""
_UNCERTAIN: tuple[Failure, ...] = ("missing", "input", "error", "lost")
"""Failures that an input which is away can cause."""


class Outages:
    """Whether inputs are away, and for how long.

    Args:
        lacking: Looks, and returns one sentence about an input that is away; None if all inputs are there.
        notice: Prints a sentence for the user.
        patience_s: For how long the sweep waits before it stops.
    """

    def __init__(
        self,
        lacking: Callable[[], str | None] = lambda: None,
        notice: Callable[[str], None] = lambda text: None,
        patience_s: float | None = None,
    ) -> None:
        self._lacking, self._notice = lacking, notice
        self._patience_s = PATIENCE_S if patience_s is None else patience_s
        self._since: float | None = None
        self._next_look = 0.0
        self._retries: dict[str, int] = {}

    def explains(self, trial_id: str, crash: Crash) -> bool:
        """Whether an attempt failed because of an outage, so that the trial is tried again after it."""
        if crash.failure not in _UNCERTAIN:
            return False
        cause = self._lacking()
        if cause is None and crash.failure == "missing":
            self._retries[trial_id] = self._retries.get(trial_id, 0) + 1
            if self._retries[trial_id] > MOST_RETRIES:
                return False
            cause = crash.error  # it is back by now, or away on one node alone
        if cause is None:
            return False
        now = time.monotonic()
        if self._since is None:
            self._notice(f"{trial_id}: {cause}; waiting up to {self._patience_s:.0f} s for it, nothing is lost")
            self._since = now
        self._next_look = now + PAUSE_S
        return True

    def lasts(self) -> bool:
        """Whether no trial can start because an input is away; looks at most every few seconds.

        Raises:
            StorageError: If it is away for too long.
        """
        if self._since is None:
            return False
        if (now := time.monotonic()) < self._next_look:
            return True
        self._next_look = now + PAUSE_S
        cause = self._lacking()
        if cause is None:
            self._notice("it is there again, the sweep continues")
            self._since = None
            return False
        if now - self._since > self._patience_s:
            raise StorageError(
                f"{cause}; it was there when this session started and is away for {now - self._since:.0f} s: put it "
                "back and run the same command again, nothing is lost"
            )
        return True
