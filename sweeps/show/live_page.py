"""The page of a sweep that is still running: progress and health, without a verdict.

While trials are still to come, which method leads is partly chance; so methods are neither ranked nor compared here.
"""

import math
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pandas as pd

from analysis.figures import svg
from analysis.figures.canvas import BASELINE, Figure, colors
from analysis.figures.marks import Curve, Dots
from analysis.formats import duration, points, share
from analysis.report import html as page
from analysis.report.html import TableCell, number
from analysis.tables import domains, scores
from analysis.tables.atomic_write import write_atomically
from kdtrain.loop.reports import OUTSIDE
from kdtrain.space import Range
from sweeps.ledger.events import Event
from sweeps.ledger.ledger import now
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_record import TrialRecord
from sweeps.ledger.trial_state import TrialState
from sweeps.outcome.loaded import load_state
from sweeps.show.looks import earlier_looks, last_look, words
from sweeps.show.progress import Summary, summarize
from sweeps.show.status import health, is_over
from sweeps.spec.spec import SweepSpec
from sweeps.store.store import Store

PAGE = "report/live.html"
OPTIMISTIC = "in the search, 1 seed, optimistic"
SHOWN = 5
STALE = 5.0
"""A trial is stale if it reported nothing for this many usual epochs."""


_NO_CLAIMS = (
    "This page compares no methods: while trials are still to come, the leader is partly chance. The report compares, "
    "once the sweep has finished."
)
_SAID_AT_LOOKS = (
    "This page compares methods at planned looks alone, and repeats the words of the last look until the next one: "
    "scores that came in between change no word."
)


def watch_page(sweep: Store, target: Path, every: float | None, notice: Callable[[str], None]) -> None:
    """Write the page, and rewrite it until the sweep has finished.

    Args:
        sweep: The sweep `D`.
        target: The file to write.
        every: Seconds between two updates; a single update if None.
        notice: Takes a line at the start and at the end.

    Raises:
        InputError: If there is no sweep, or its ledger is damaged.
    """
    while True:
        spec, state = load_state(sweep)
        over = every is None or is_over(state)
        fresh = target.exists()
        shown = live_page(spec, state, health(sweep, state), None if over else max(1, round(every or 0)))
        write_atomically(target, shown.encode())
        if not fresh or every is None:
            notice(str(target))
        if over or every is None:
            return
        time.sleep(every)


class LivePage:
    """A watcher that keeps `D/report/live.html` up to date while the sweep runs."""

    def __init__(
        self, spec: SweepSpec, sweep: Store, every: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Make it; the page is written at the first event.

        Args:
            spec: The sweep's spec.
            sweep: The sweep `D`.
            every: Seconds between two pages at least; the last page is written when the sweep ends.
            clock: Seconds, for tests.
        """
        self._spec, self._sweep, self._every, self._clock = spec, sweep, every, clock
        self._written_at = -math.inf

    def __call__(self, event: Event, state: SweepState) -> None:
        """Write the page, unless it was written a moment ago."""
        over = is_over(state)
        if not over and self._clock() - self._written_at < self._every:
            return
        self._written_at = self._clock()
        page_text = live_page(
            self._spec, state, health(self._sweep, state), None if over else max(1, round(self._every))
        )
        self._sweep.write(PAGE, page_text.encode())


def live_page(spec: SweepSpec, state: SweepState, healthy: str, refresh: int | None = 10) -> str:
    """The page.

    Args:
        spec: The sweep.
        state: How far it is.
        healthy: Whether it is alive, in words.
        refresh: The browser loads the page again after so many seconds; never, if none.
    """
    head = (
        f'<p class="eyebrow">{page.escape(spec.name)} · live, as of {now():%Y-%m-%d %H:%M:%S} UTC</p>'
        f"<h1>{page.escape(spec.name)}: {page.escape(summarize(spec, state).phase)}</h1>"
    )
    return page.document(f"{spec.name}: live", head + live_body(spec, state, healthy), refresh=refresh)


def live_body(spec: SweepSpec, state: SweepState, healthy: str = "") -> str:
    """What is between its heading and its end: progress, budget, the learning curves that lead.

    Args:
        spec: The sweep.
        state: How far it is.
        healthy: Whether it is alive, in words; empty where that stands elsewhere.
    """
    summary = summarize(spec, state)
    palette = _colors(spec)
    best = (
        "no trial of a search is complete yet"
        if summary.best is None
        else f"{points(summary.best[1])} mIoU, {summary.best[0]} ({OPTIMISTIC})"
    )
    lines = [
        ("State", "; ".join(filter(None, (summary.phase, healthy))), "" if not state.aborted else "red"),
        ("Trials", ", ".join(f"{count} {name}" for name, count in summary.states.items()) or "none yet", ""),
        ("Time left", _left(summary), ""),
        ("Failures", *_failures(state, summary)),
        ("Running best", best, ""),
    ]
    stale = _stale(state)
    if stale:
        lines.append(("Silent", "; ".join(stale), "amber"))
    if summary.invalid:
        lines.append(("Not valid", "; ".join(summary.invalid), ""))
    if summary.memory:
        lines.append(("GPU memory", summary.memory, ""))
    if text := earlier_looks(state):
        lines.append(("Looks", f"{text[0].upper()}{text[1:]}.", ""))
    said = words(state)
    if said and (text := last_look(spec, state)):
        lines.append(("Last look", f"{text[0].upper()}{text[1:]}. {'; '.join(said)}.", ""))
    claims = _SAID_AT_LOOKS if said else _NO_CLAIMS
    body = [
        page.verdict(lines),
        f'<p class="aside below"><b>Not claimed.</b> {claims}</p>',
        page.section("budget", "Budget and trials", _budgets(summary, palette)),
    ]
    if drawn := _curves(state, palette):
        body.append(page.section("curves", "Learning curves", drawn))
    if edges := _edges(spec, state):
        body.append(page.section("edges", "At the edge of a range", page.warnings(edges)))
    return "".join(body)


def _colors(spec: SweepSpec) -> dict[str, str]:
    first = spec.baseline
    baseline = [study == first for study in spec.studies]
    return colors(pd.DataFrame({"study": [study.name for study in spec.studies], "is_baseline": baseline}))


def _left(summary: Summary) -> str:
    if summary.phase in ("finished", "aborted"):
        return "none"
    seconds = summary.seconds_left
    return "not known before the first epoch" if seconds is None else f"about {duration(seconds)} at the pace so far"


def _failures(state: SweepState, summary: Summary) -> tuple[str, str]:
    wrong = state.tally.broken
    if not wrong:
        return (f"none; {state.retries} attempts were repeated after an error" if state.retries else "none"), ""
    counts = [pair for of_study in state.tally.states.values() for pair in of_study.items()]
    ended = sum(count for (trial_state, _), count in counts if trial_state.is_over)
    last = max(wrong.values(), key=lambda trial: trial.ended_at or "")
    reason = (last.reason or "no reason recorded").strip().splitlines()[-1]
    text = f"{len(wrong)} of {ended} ended trials ({share(len(wrong) / ended)}); last {last.id}: {reason}"
    return text, "amber"


def _stale(state: SweepState) -> list[str]:
    """Trials that run but have long reported nothing, by the clock of the ledger."""
    if state.last is None or (usual := state.pace.usual) is None:
        return []
    silent_trials = []
    for trial in state.tally.unfinished:
        if trial.state is not TrialState.RUNNING or trial.started_at is None:
            continue
        reported = sum(r.seconds.get(part, 0.0) for r in trial.reports.values() for part in ("total", *OUTSIDE))
        silent = (now() - datetime.fromisoformat(trial.started_at)).total_seconds() - reported
        if silent > max(60.0, STALE * usual):
            silent_trials.append(f"{trial.id} reported nothing for about {duration(silent)}")
    return silent_trials


def _budgets(summary: Summary, palette: dict[str, str]) -> str:
    states = list(summary.states)
    rows = [
        [
            TableCell(html=page.key(study.name, palette[study.name])),
            TableCell(html=svg.bar(study.spent, palette[study.name]), small=study.budget, sort=study.spent),
            *(number(str(study.states.get(name, 0)), study.states.get(name, 0)) for name in states),
            number("" if study.best is None else points(study.best), study.best),
        ]
        for study in summary.studies
    ]
    columns = ["Study", "Budget of the search", *(name.capitalize() for name in states), f"Best so far ({OPTIMISTIC})"]
    return page.table(columns, rows)


def _curves(state: SweepState, palette: dict[str, str]) -> str:
    """The trials of the search with the highest scores now, whatever epoch they are in."""
    searches = state.tally.searches.values()
    begun = sum(of_search.evaluated for of_search in searches)
    leading = (trial for of_search in searches for trial in of_search.leading(SHOWN))
    top = sorted(leading, key=lambda trial: (-_last(trial), state.tally.place(trial)))[:SHOWN]
    looks = {trial.id: palette.get(trial.study, BASELINE) for trial in top}
    figure = Figure(230, x="epoch", y="score (points)")
    figure.x.low = 0
    for trial in top:
        epochs, scores_so_far = list(trial.curve), [100 * trial.curve[epoch] for epoch in trial.curve]
        title = f"{trial.id}: {points(_last(trial))} in epoch {max(epochs)}"
        figure.add(Curve(epochs, scores_so_far, looks[trial.id], title=title))
        figure.add(Dots(epochs[-1:], scores_so_far[-1:], looks[trial.id], 6, titles=[title]))
    names = {f"{trial.id} ({trial.state})": looks[trial.id] for trial in top}
    rest = f"{len(top)} of {begun} search trials, by {scores.in_words(state.score_evaluations)}; {OPTIMISTIC}."
    return page.figure(page.keys(names) + figure.draw(), "The trials with the highest scores now.", rest) if top else ""


def _last(trial: TrialRecord) -> float:
    value = trial.curve[max(trial.curve)]
    return value if math.isfinite(value) else -math.inf


def _edges(spec: SweepSpec, state: SweepState) -> list[str]:
    """The best trial of each study, where a value of it lies at the edge of its range."""
    edges = []
    for study in spec.studies:
        searches = range(1, spec.repeats_of(study) + 1)
        complete = [trial for n in searches for trial in state.tally.of_search(study.name, n).best(1)]
        if not complete:
            continue
        best = max(complete, key=lambda trial: (trial.score or 0.0, -trial.number))
        for name, domain in spec.space_of(study).items():
            value = best.params.get(name)
            if not isinstance(domain, Range) or not isinstance(value, int | float):
                continue
            if side := domains.Range(domain.low, domain.high, domain.log, domain.integer).edge(float(value)):
                edges.append(
                    f"{best.id}: {name} = {value:.3g}, at the {side} edge of {domain.low:g} to {domain.high:g}"
                )
    return edges
