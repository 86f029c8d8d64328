"""Sends a sweep to one tracker, from a thread of its own: a tracker that is away or slow never stops the sweep."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdtrain.explain import kind_and_line
from kdtrain.redact import redacted
from sweeps.ledger.events import Event
from sweeps.ledger.state import SweepState
from sweeps.ledger.sweep_events import Finished, Frozen, SessionBegun
from sweeps.spec.spec import SweepSpec
from sweeps.trackers.tracked_run import (
    INTERRUPTED,
    RUNNING,
    Held,
    TrackedRun,
    keys_after,
    lacking,
    tracked_run,
)
from sweeps.trackers.tracker import TrackedSweep, Tracker
from sweeps.trackers.winner import winner_of

RETRY_S = 5.0
"""Seconds between two attempts after an error."""
CLOSE_S = 10.0
"""Seconds in which a tracker may send what is left when the sweep ends."""


class Feed:
    """A watcher that keeps the copy of a sweep in a tracker up to date.

    The driver's thread only notes which runs have changed, as they are now. The queue holds each run once, in its
    newest form, so that it is never longer than the sweep has runs, and nothing is lost while the tracker is away.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[TrackedSweep], Tracker],
        spec: SweepSpec,
        folder: Path | None,
        notice: Callable[[str], None],
        retry_s: float = RETRY_S,
        close_s: float = CLOSE_S,
    ) -> None:
        """Make it; nothing is opened before the first event.

        Args:
            name: What the tracker is called in messages.
            make: Makes the tracker, in the thread of the feed.
            spec: The sweep's spec.
            folder: Where trackers may keep files; none where the sweep is in an object store.
            notice: Takes a sentence at the first error, and at the end if something was not sent.
            retry_s: Seconds between two attempts after an error.
            close_s: Seconds that `close` waits at most.
        """
        self._name, self._make, self._spec, self._folder, self._notice = name, make, spec, folder, notice
        self._retry_s, self._close_s = retry_s, close_s
        self._changed: dict[str, TrackedRun] = {}
        self._news = threading.Condition()
        self._closing = False
        self._failed = False
        self._winner: str | None = None
        self._held: dict[str, Held] = {}
        self._running: dict[str, TrackedRun] = {}
        self._lost: list[str] = []
        self._thread: threading.Thread | None = None

    def __call__(self, event: Event, state: SweepState) -> None:
        """Note the runs that an event has changed."""
        if isinstance(event, Finished | Frozen | SessionBegun):
            try:
                self._winner = winner_of(self._spec, state)
            except Exception as error:  # without a winner all else is still shown
                self._report(error)
        runs = (tracked_run(self._spec, state, key, self._winner) for key in keys_after(event, state))
        changed = {run.id: run for run in runs if run is not None}
        if not changed:
            return
        with self._news:
            self._changed |= changed
            self._news.notify()
        if self._thread is None:
            sweep = TrackedSweep(state.sweep.sweep_id, self._spec, self._folder)
            self._thread = threading.Thread(target=self._send_all, args=(sweep,), name=self._name, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Send what is left, in a bounded time, and end the runs that another driver will continue as interrupted."""
        if self._thread is None:
            return
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join(self._close_s)
        if self._thread.is_alive() or self._changed or self._lost:
            self._notice(
                f"the tracker {self._name} has not taken all runs; the ledger has them, and the same command sends "
                "them when it is run again"
            )

    def _send_all(self, sweep: TrackedSweep) -> None:
        tracker: Tracker | None = None
        while True:
            try:
                if tracker is None:
                    tracker = self._make(sweep)
                    self._held = dict(tracker.held())
                while (run := self._next()) is not None:
                    self._send(tracker, run)
                self._interrupt_unfinished(tracker)
                tracker.close()
                return
            except (Exception, SystemExit) as error:
                self._report(error)
                if self._closing and tracker is None:
                    return
                with self._news:
                    self._news.wait_for(lambda: self._closing, self._retry_s)

    def _next(self) -> TrackedRun | None:
        """The run that has waited longest; none once the feed closes and nothing is left."""
        with self._news:
            self._news.wait_for(lambda: self._changed or self._closing)
            first = next(iter(self._changed), None)
            return None if first is None else self._changed.pop(first)

    def _send(self, tracker: Tracker, run: TrackedRun) -> None:
        """Send what a tracker lacks of a run; after an error the run waits again, behind the others."""
        try:
            deliver(tracker, run, self._held.get(run.id), self._note)
        except BaseException:
            with self._news:
                if self._closing:
                    self._lost.append(run.id)
                else:
                    self._changed.setdefault(run.id, run)
            raise

    def _note(self, run: TrackedRun, held: Held) -> None:
        self._held[run.id] = held
        if held.state == RUNNING:
            self._running[run.id] = run
        else:
            self._running.pop(run.id, None)

    def _interrupt_unfinished(self, tracker: Tracker) -> None:
        """End the runs that another driver will continue."""
        for run in tuple(self._running.values()):
            self._running.pop(run.id)
            if not run.is_over:
                ended = max((epoch.at for epoch in run.epochs_after(0)), default=run.began)
                self._send(tracker, replace(run, state=INTERRUPTED, ended=ended))

    def _report(self, error: BaseException) -> None:
        if not self._failed:
            self._failed = True
            self._notice(
                f"the tracker {self._name} failed ({redacted(kind_and_line(error))}); the sweep continues, what the "
                "tracker lacks is sent later, and further errors of this tracker are not reported"
            )


def deliver(
    tracker: Tracker,
    run: TrackedRun,
    held: Held | None,
    note: Callable[[TrackedRun, Held], None] = lambda run, held: None,
) -> Held:
    """Send what a tracker lacks of a run.

    Args:
        tracker: The tracker.
        run: The run as it is now.
        held: What the tracker holds of it; none if it has not begun it.
        note: Takes what it holds after every call, in case that the next one fails.

    Returns:
        What it holds then.
    """
    todo, now = lacking(run, held), held or Held()
    steps: tuple[tuple[bool, Callable[[], None], dict[str, Any]], ...] = (
        (todo.starts, lambda: tracker.start(run), {"state": RUNNING}),
        (bool(todo.epochs), lambda: tracker.log(run, todo.epochs), {"epoch": run.last_epoch}),
        (todo.summarizes, lambda: tracker.summarize(run), {"summary": run.summary}),
        (todo.ends, lambda: tracker.end(run), {"state": run.state}),
    )
    for is_due, send, after in steps:
        if is_due:
            send()
            now = replace(now, **after)
            note(run, now)
    return now
