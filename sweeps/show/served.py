"""One sweep as `kdsweep serve` shows it: a line beside other sweeps, and its runs to look around in."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

from analysis.errors import AnalysisError
from analysis.figures.canvas import colors
from analysis.formats import plural
from analysis.report import html as page
from analysis.report.explorer import MOST_RUNS, ShownRuns, explorer
from analysis.report.html import TableCell
from analysis.report.slices import slices
from analysis.search.history import drawn_values
from kdtrain.errors import InputError
from kdtrain.foreign import reading
from kdtrain.printable import printable
from kdtrain.redact import redacted
from sweeps.ledger.follow import Follower
from sweeps.ledger.state import SweepState
from sweeps.outcome.loaded import spec_of
from sweeps.show.live_page import live_body
from sweeps.show.page_tables import page_tables, run_details
from sweeps.show.progress import OPTIMISTIC, points, summarize
from sweeps.show.status import health
from sweeps.spec.recorded import Recorded
from sweeps.spec.spec import SweepSpec
from sweeps.store.store import Store

ALL_RUNS = 10_000
"""How many runs a page shows if a reader asks for more again and again."""
_SLOW_S, _PAUSE = 2.0, 4.0
"""A body whose drawing took longer is shown for so many times as long, before it is drawn anew."""


@dataclass(frozen=True)
class Glance:
    """What one line says of a sweep.

    Attributes:
        version: Another one after everything that changes its body.
        name: Of the sweep.
        address: Where it is.
        cells: Its cells beside the name: state, trials, best so far.
        error: Why it cannot be shown, as a sentence; empty if it can.
    """

    version: int
    name: str
    address: str = ""
    cells: tuple[TableCell, ...] = ()
    error: str = ""


class ServedSweep:
    """A sweep that is read again when somebody looks and its ledger has grown."""

    def __init__(self, address: str, every: float = 2.0, clock: Callable[[], float] = time.monotonic) -> None:
        """Make it; nothing is read yet.

        Args:
            address: The folder or URI.
            every: Seconds between two looks at its files at least.
            clock: Seconds, for tests.
        """
        self.address = address
        self._every, self._clock = every, clock
        self._looked_at: float | None = None
        self._follower: Follower | None = None
        self._spec: SweepSpec | None = None
        self._spec_content: object = None
        self._version, self._error = 0, ""
        self._body: tuple[int, str] = (-1, "")
        self._runs = MOST_RUNS
        self._draw_from = float("-inf")

    def glance(self) -> Glance:
        """Its line now."""
        self._look()
        if self._error or self._spec is None or self._follower is None:
            return Glance(self._version, redacted(self.address), error=self._error)
        summary = summarize(self._spec, self._follower.state)
        best = "" if summary.best is None else f"{points(summary.best[1])} {summary.best[0]}"
        alive = health(Store(self.address), self._follower.state)
        cells = (
            TableCell(summary.phase, small=alive),
            TableCell(", ".join(f"{number} {name}" for name, number in summary.states.items()) or "none yet"),
            TableCell(best, small=OPTIMISTIC if best else ""),
        )
        return Glance(self._version, summary.name, redacted(self.address), cells)

    def body(self, runs: int = MOST_RUNS) -> tuple[int, str]:
        """Its progress and its runs as HTML, with their version, which may be an earlier one for some seconds.

        Args:
            runs: How many runs are shown at most.
        """
        self._look()
        begin, runs = self._clock(), min(max(runs, MOST_RUNS), ALL_RUNS)
        if runs != self._runs or (self._body[0] != self._version and begin >= self._draw_from):
            self._runs, self._body = runs, (self._version, self._drawn(runs))
            end = self._clock()
            self._draw_from = end + (_PAUSE * (end - begin) if end - begin > _SLOW_S else 0)
        return self._body

    def run(self, trial_id: str) -> dict[str, Any] | None:
        """The details of one run, as of the last look at its files; none where there is no such run."""
        if self._error or self._spec is None or self._follower is None:
            return None
        with reading(Recorded()):
            return run_details(self._follower.state, self._spec, Store(self.address).place, trial_id)

    def _look(self) -> None:
        now = self._clock()
        if self._looked_at is not None and now - self._looked_at < self._every:
            return
        before = self._error
        try:
            store = Store(self.address)
            self._follower = self._follower or Follower(store)
            with reading(Recorded()):
                if self._follower.update() or self._spec is None:
                    self._read_spec(store, self._follower.state)
                    self._version += 1
            self._error = ""
        except (InputError, AnalysisError, OSError) as error:
            self._error = redacted(printable(str(error)))
        self._version += self._error != before
        self._looked_at = self._clock()  # a slow look is not followed by the next one at once

    def _read_spec(self, store: Store, state: SweepState) -> None:
        """Read the spec, unless it is the one that was read before."""
        content = None if state.begun is None else state.begun.spec
        if self._spec is None or content is not self._spec_content:
            self._spec, self._spec_content = spec_of(store, state), content

    def _drawn(self, runs: int) -> str:
        if self._error or self._spec is None or self._follower is None:
            return f'<p class="stale">{page.prose(self._error)}</p>'
        with reading(Recorded()):
            return _body(self._spec, self._follower.state, Store(self.address), runs)


def _body(spec: SweepSpec, state: SweepState, store: Store, most: int) -> str:
    made = page_tables(state, spec, store.place, most)
    palette = colors(made.tables["studies"])
    head = f'<p class="aside">{escape(str(store))}: {plural(len(made.shown), "run")} shown</p>'
    runs = explorer(ShownRuns(made.tables, made.shown, made.hidden, palette)) + _more(len(made.shown), made.hidden)
    searched = slices(made.tables, drawn_values(made.tables), palette, made.drawn)
    sections = [
        page.section(name, title, body)
        for name, title, body in (("runs", "Every run", runs), ("parameters", "Searched parameters", searched))
        if body
    ]
    return f"{head}{live_body(spec, state)}{''.join(sections)}"


def _more(shown: int, hidden: int) -> str:
    """A button for more runs; empty where there are none, or no page shows so many."""
    if not hidden or not shown or shown >= ALL_RUNS:
        return ""
    more = min(hidden, MOST_RUNS)
    return f'<p><button type="button" data-runs="{shown + MOST_RUNS}">show {plural(more, "more run")}</button></p>'
