"""The progress of a sweep: on a terminal or in a log while it runs, and from its files at any time."""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from analysis.conditions.memory import advice
from analysis.formats import duration
from analysis.selection.halving import all_seeds, trainings
from sweeps.driver.allocation import (
    candidates,
    confirms,
    final_runs,
    searches,
    spent_epochs,
    spent_trials,
)
from sweeps.driver.audit import drawn
from sweeps.driver.limits import steps_of
from sweeps.driver.looking import seeds_now
from sweeps.ledger.events import Event
from sweeps.ledger.search_name import search_name
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_events import Ended
from sweeps.ledger.trial_record import TrialRecord
from sweeps.ledger.trial_state import Phase, TrialState
from sweeps.show.commands import next_command
from sweeps.show.printer import Printer
from sweeps.spec.spec import SweepSpec
from sweeps.spec.study import Study

OPTIMISTIC = "highest mIoU in the search (1 seed, optimistic)"
"""The highest score of a search is optimistic: the maximum of noisy values."""
CONFIRMED = "mIoU on fresh seeds"
REUSED = "reused"
"""What a complete trial is called that took over the outcome of another one, and trained nothing."""
_STATES = (
    TrialState.COMPLETE,
    REUSED,
    TrialState.RUNNING,
    TrialState.PLANNED,
    TrialState.PRUNED,
    TrialState.DIVERGED,
    TrialState.FAILED,
)
_REDRAW, _REPRINT = 0.5, 5.0
_FAILURES = 3
"""Failures that are shown."""


@dataclass(frozen=True)
class StudyProgress:
    """One study: trials by state, budget spent (0..1), best searched score, best mean on fresh seeds."""

    name: str
    states: dict[str, int]
    spent: float
    budget: str
    best: float | None
    confirmed: float | None
    fresh_runs: int
    invalid: int = 0
    """Proposals that made no valid config."""


@dataclass(frozen=True)
class Summary:
    """The whole sweep. `seconds_left` is none as long as no epoch was timed."""

    name: str
    phase: str
    studies: tuple[StudyProgress, ...]
    best: tuple[str, float] | None
    seconds_left: float | None
    failures: tuple[str, ...]
    """The last ones."""
    memory: str
    """What trials hold of a GPU, and what follows from it; empty on a CPU."""
    invalid: tuple[str, ...] = ()
    """The proposals that made no valid config, a sentence for each study that has some."""

    @property
    def states(self) -> dict[str, int]:
        """Trials by state, over all studies."""
        total: Counter[str] = Counter()
        for study in self.studies:
            total.update(study.states)
        return {state: total[state] for state in _STATES if total[state]}


def summarize(spec: SweepSpec, state: SweepState) -> Summary:
    """The summary of a sweep: what every display shows."""
    broken = state.tally.broken
    failed = (broken[place] for place in sorted(broken, reverse=True) if broken[place].state is TrialState.FAILED)
    last = [f"{trial.id}: {trial.reason.splitlines()[0]}" for trial in islice(failed, _FAILURES) if trial.reason]
    best = [trial for of_search in state.tally.searches.values() for trial in of_search.best(1)]
    first = max(best, key=lambda trial: (trial.score or 0.0, -state.tally.place(trial)), default=None)
    return Summary(
        name=spec.name,
        phase=_phase(spec, state),
        studies=tuple(_study(spec, state, study) for study in spec.studies),
        best=None if first is None or first.score is None else (first.id, first.score),
        seconds_left=_seconds_left(spec, state),
        failures=tuple(reversed(last)),
        memory=_memory(spec, state),
        invalid=tuple(
            f"{study}: proposals of no valid config, at no cost: {len(proposals)}; the last: {proposals[-1].reason}"
            for study, proposals in state.searches.invalid.items()
        ),
    )


def line(summary: Summary) -> str:
    """The sweep in one plain line."""
    parts = [f"{summary.name}: {summary.phase}"]
    parts.append(_states(summary))
    parts.append("budget " + ", ".join(f"{study.name} {study.spent:.0%}" for study in summary.studies))
    fresh = [study for study in summary.studies if study.confirmed is not None]
    seeds = sorted({study.fresh_runs for study in fresh})
    if len(seeds) == 1:
        first = max(fresh, key=lambda study: study.confirmed or 0.0)
        parts.append(f"highest {CONFIRMED} {points(first.confirmed or 0.0)} {first.name} (n={first.fresh_runs})")
    elif seeds:  # means over other seeds are not compared
        parts.append(f"{seeds[0]} to {seeds[-1]} fresh seeds per study so far")
    elif summary.best is not None:
        parts.append(f"{OPTIMISTIC} {points(summary.best[1])} {summary.best[0]}")
    if left := _left(summary):
        parts.append(left)
    return " | ".join(parts)


def points(score: float) -> str:
    """A fraction in points, as the field writes it."""
    return f"{100 * score:.1f}"


def table(summary: Summary) -> Group:
    """The sweep as a table on a terminal."""
    grid = Table(box=None, pad_edge=False, header_style="dim")
    grid.add_column("study")
    grid.add_column("budget of its search")
    grid.add_column("")
    for state in summary.states:
        grid.add_column(state, justify="right")
    grid.add_column(OPTIMISTIC, justify="right")
    grid.add_column(CONFIRMED, justify="right")
    for study in summary.studies:
        grid.add_row(
            study.name,
            ProgressBar(total=1.0, completed=min(1.0, study.spent), width=20),
            study.budget,
            *(str(study.states.get(state, 0) or "") for state in summary.states),
            "" if study.best is None else points(study.best),
            "" if study.confirmed is None else f"{points(study.confirmed)} (n={study.fresh_runs})",
        )
    head = Text.assemble((summary.name, "bold"), f"  {summary.phase}  {_states(summary)}  {_left(summary)}")
    failures = [Text(f"failed {failure}", style="red") for failure in summary.failures]
    memory = [Text(summary.memory, style="dim")] if summary.memory else []
    invalid = [Text(sentence, style="dim") for sentence in summary.invalid]
    return Group(head, grid, *memory, *invalid, *failures)


class Display:
    """A watcher that shows a running sweep: a table in place on a terminal, else a plain line now and then."""

    def __init__(
        self,
        spec: SweepSpec,
        notice: Callable[[str], None] = print,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
        folder: str = "D",
    ) -> None:
        """Make it; it shows nothing before the first event.

        Args:
            spec: The sweep.
            notice: Takes the plain lines.
            console: Where the table is drawn if it is a terminal; standard output where none is given.
            clock: Seconds, for tests.
            folder: The sweep's folder or URI, for the commands that are printed.
        """
        self._spec, self._notice, self._clock = spec, notice, clock
        self._status = next_command("status", folder)
        self._console = console or Printer()
        self._live: Live | None = None
        self._shown_at, self._shown = -math.inf, ""
        self._state: SweepState | None = None
        self._failed: set[str] = set()
        """Studies of which a failure was shown."""

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._show()
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: Event, state: SweepState) -> None:
        """Show the state after an event, unless another was shown a moment ago; a study's first failure at once."""
        self._state = state
        if isinstance(event, Ended) and event.state is TrialState.FAILED:
            self._show_failure(state.trials[event.trial])
        self.update()

    def _show_failure(self, trial: TrialRecord) -> None:
        if trial.study not in self._failed:
            self._failed.add(trial.study)
            cause = (trial.reason or "").partition("\n")[0]
            self._notice(f"{trial.id} failed: {cause} (`{self._status}` lists every failure)")

    def update(self) -> None:
        """Show the last state, unless it was shown a moment ago; to be called now and then between events."""
        if self._clock() - self._shown_at >= (_REDRAW if self._live else _REPRINT):
            self._show()

    def _show(self) -> None:
        if self._state is None:
            return
        self._shown_at = self._clock()
        summary = summarize(self._spec, self._state)
        if self._live is not None:
            self._live.update(table(summary), refresh=True)
        elif (text := line(summary)) != self._shown:
            self._shown = text
            self._notice(text)


def _study(spec: SweepSpec, state: SweepState, study: Study) -> StudyProgress:
    counts: Counter[str] = Counter()
    for (ended, is_reused), count in state.tally.states.get(study.name, {}).items():
        counts[REUSED if is_reused and ended is TrialState.COMPLETE else ended] += count
    searches_of = range(1, spec.repeats_of(study) + 1)
    best = [trial.score for n in searches_of for trial in state.tally.of_search(study.name, n).best(1)]
    fresh = _fresh_scores(state.of_study(study.name, Phase.CONFIRM))
    best_fresh = max(fresh, key=lambda scores: (len(scores), sum(scores) / len(scores)), default=[])
    spent, budget = _spent(spec, state, study)
    return StudyProgress(
        name=study.name,
        states={name: counts[name] for name in _STATES if counts[name]},
        spent=spent,
        budget=budget,
        best=max((score for score in best if score is not None), default=None),
        confirmed=sum(best_fresh) / len(best_fresh) if best_fresh else None,
        fresh_runs=len(best_fresh),
        invalid=len(state.searches.invalid.get(study.name, ())),
    )


def _fresh_scores(trials: Sequence[TrialRecord]) -> list[list[float]]:
    """The scores of every config on fresh seeds; of a config that two searches found each training counts once."""
    by_config: dict[str, dict[int, float]] = {}
    for trial in trials:
        if (score := trial.score) is not None:
            by_config.setdefault(trial.config_id, {})[trial.seed] = score
    return [list(by_seed.values()) for by_seed in by_config.values()]


def _spent(spec: SweepSpec, state: SweepState, study: Study) -> tuple[float, str]:
    if not searches(spec, study):
        return 1.0, "nothing to search"
    numbers, budget = range(1, spec.repeats_of(study) + 1), spec.search_budget
    ended = {
        n: reason for n in numbers if (reason := state.searches.exhausted.get(search_name(study.name, n))) is not None
    }
    if len(ended) == len(numbers):
        return 1.0, ended[1].partition(";")[0]
    shares = []
    for unit, spent_by, granted in (
        ("trials", spent_trials, budget.trials),
        ("epochs", spent_epochs, budget.epochs),
    ):
        if granted is not None:
            spent = {n: spent_by(state, study, n) for n in numbers}
            share = sum(1.0 if n in ended else spent[n] / granted for n in numbers) / len(numbers)
            shares.append((share, f"{', '.join(f'{spent[n]}/{granted}' for n in numbers)} {unit}"))
    share, text = max(shares)
    return share, text if len(numbers) == 1 else f"{len(numbers)} searches: {text}"


def _memory(spec: SweepSpec, state: SweepState) -> str:
    """The most that any trial has held of its GPU, seen from its first epoch on."""
    if state.most_memory is None:
        return ""
    peak, total = state.most_memory
    fitting = advice(peak, total)
    held = f"GPU memory: a trial holds up to {peak / 2**30:.1f} of {total / 2**30:.0f} GiB"
    if spec.resources.is_measured:
        use = state.gpu_use
        busy = "" if use.busy is None else f", and {use.busy_with} keep it busy {use.busy:.0%} of the time"
        return f"{held}{busy}: the next trials take {use.share:g} of a GPU"
    now = spec.resources.gpus_alone
    return f"{held}: {fitting.fit} would fit (resources.gpu: {fitting.fraction:g}, now {now:g})"


def _phase(spec: SweepSpec, state: SweepState) -> str:
    if state.aborted:
        return "aborted"
    if state.finished:
        return "finished"
    if not state.trials:
        return "starting"
    if state.frozen is not None:
        return "training on final seeds"
    unfinished = {trial.phase for trial in state.tally.unfinished}
    if Phase.AUDIT in unfinished:
        return "training stopped trials to their end"
    searching, confirming = Phase.SEARCH in unfinished, bool(state.of_phase(Phase.CONFIRM))
    if searching and confirming:
        return "searching and confirming"
    return "confirming on fresh seeds" if confirming else "searching"


def _states(summary: Summary) -> str:
    return ", ".join(f"{count} {state}" for state, count in summary.states.items()) or "no trials yet"


def _left(summary: Summary) -> str:
    if summary.seconds_left is None or summary.phase in ("finished", "aborted"):
        return ""
    return f"about {duration(summary.seconds_left)} left"


def _seconds_left(spec: SweepSpec, state: SweepState) -> float | None:
    """Epochs that are still to come, at the mean pace so far, shared among the trials that run at once."""
    if (epoch_s := state.pace.mean) is None:
        return None
    at_once = max(1, sum(trial.state is TrialState.RUNNING for trial in state.tally.unfinished))
    return _epochs_left(spec, state) * epoch_s / at_once


def _seeds_after_next_look(spec: SweepSpec, state: SweepState) -> int:
    """Seeds of each study that are trained only if the next look does not end the confirm phase."""
    now = seeds_now(spec, state)
    return 0 if now is None else spec.confirm.most - now


def _races(spec: SweepSpec, state: SweepState, study: Study, search: int) -> float:
    """The races of a search, one for each limit of cost; those that share configs so far count in part."""
    steps = steps_of(spec) if spec.space_of(study) else 1
    of_steps = [candidates(spec, state, study, search, step) for step in range(steps)] if steps > 1 else []
    entries = sum(map(len, of_steps))
    return steps * len({trial.id for each in of_steps for trial in each}) / entries if entries else steps


def _epochs_left(spec: SweepSpec, state: SweepState) -> float:
    left = float(sum(trial.epochs - trial.epochs_run for trial in state.tally.unfinished))
    if state.frozen is not None:
        to_come = [run.study.name for run in final_runs(spec, state)][len(state.of_phase(Phase.FINAL)) :]
        return left + sum(spec.epochs[study] for study in to_come)
    audited = {audit.candidate_of for audit in state.of_phase(Phase.AUDIT)}
    left += sum(trial.epochs - trial.epochs_run for trial in drawn(spec, state) if trial.id not in audited)
    for study in spec.studies:
        epochs = spec.epochs[study.name]
        numbers, budget = range(1, spec.repeats_of(study) + 1), spec.search_budget
        for search in numbers if searches(spec, study) else ():
            if search_name(study.name, search) in state.searches.exhausted:
                continue
            searched = state.tally.of_search(study.name, search)
            usual = searched.ended_epochs / searched.ended if searched.ended else float(epochs)
            lefts = []
            if budget.trials is not None:
                lefts.append((budget.trials - len(searched.trials)) * usual)
            if budget.epochs is not None:
                lefts.append(float(budget.epochs - spent_epochs(state, study, search)))
            left += max(0.0, min(lefts))
        if confirms(spec):
            rounds = spec.confirm.rounds
            of_search = trainings(rounds, spec.confirm.top) if searches(spec, study) else all_seeds(rounds)
            races = sum(_races(spec, state, study, search) for search in numbers)
            runs = math.ceil((of_search - _seeds_after_next_look(spec, state)) * races)
            begun = len(state.of_study(study.name, Phase.CONFIRM))
            left += max(0, runs - begun) * epochs
    return left
