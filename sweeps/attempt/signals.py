"""Being asked to leave: SIGTERM, SIGUSR1 (a scheduler's warning) and SIGINT."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

GRACE_S = 20.0
"""How long trials may take to save themselves before the driver leaves without them."""
_ASKED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Interrupted(Exception):  # noqa: N818
    """A long step was asked to leave, and has saved itself; the message says how far it came."""


class StopRequest:
    """Whether, and by what, this process was asked to leave.

    Attributes:
        signal: The signal; none as long as nobody asked.
    """

    def __init__(self) -> None:
        """Nobody has asked."""
        self.signal: signal.Signals | None = None
        self._asked_at = 0.0

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def overdue(self) -> bool:
        """Whether the time for leaving in an orderly way has passed."""
        return self.signal is not None and time.monotonic() - self._asked_at > GRACE_S

    @property
    def seconds(self) -> float:
        """Seconds since it was asked."""
        return time.monotonic() - self._asked_at

    def listen(self) -> None:
        """Be the one that the signals come to; to be called again after a library has taken them for itself."""
        if threading.current_thread() is threading.main_thread():
            for number in _ASKED:
                signal.signal(number, self.ask)

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """Take note of a signal; a second Ctrl-C does not wait any longer."""
        if self.signal == signal.SIGINT == number:
            raise KeyboardInterrupt
        if self.signal is None:
            self.signal, self._asked_at = signal.Signals(number), time.monotonic()


@contextlib.contextmanager
def departure() -> Iterator[StopRequest]:
    """Listen to the signals for the time of the block; only the main thread can, others never are asked."""
    asked, before = StopRequest(), {number: signal.getsignal(number) for number in _ASKED}
    asked.listen()
    try:
        yield asked
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)
