"""Requests to stop: SIGTERM, SIGUSR1 (a scheduler's warning) and SIGINT."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

GRACE_S = 20.0
"""How long trials may take to save themselves before the driver stops without them."""
_NAMES = ("SIGTERM", "SIGUSR1", "SIGINT")
_SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))  # Windows has no SIGUSR1


class Interrupted(Exception):  # noqa: N818
    """A long step was stopped by a request, and has saved itself; the message says how far it came."""


class StopRequest:
    """Whether this process was requested to stop, and by which signal.

    Attributes:
        signal: The signal; none as long as there was no request.
    """

    def __init__(self) -> None:
        """There was no request yet."""
        self.signal: signal.Signals | None = None
        self._requested_at = 0.0

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def overdue(self) -> bool:
        """Whether the time for stopping in an orderly way has passed."""
        return self.signal is not None and time.monotonic() - self._requested_at > GRACE_S

    @property
    def seconds(self) -> float:
        """Seconds since the request."""
        return time.monotonic() - self._requested_at

    def listen(self) -> None:
        """Receive the signals; to be called again after a library has set handlers for them."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, self.ask)

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """Request a stop; a second Ctrl-C does not wait any longer."""
        if self.signal == signal.SIGINT == number:
            raise KeyboardInterrupt
        if self.signal is None:
            self.signal, self._requested_at = signal.Signals(number), time.monotonic()


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Receive the signals for the time of the block; only in the main thread, in others there is never a request."""
    stop_request, before = StopRequest(), {number: signal.getsignal(number) for number in _SIGNALS}
    stop_request.listen()
    try:
        yield stop_request
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)
