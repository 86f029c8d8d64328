"""Progress and health of a sweep from its files, at any time and from any machine."""

import time
from datetime import datetime

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from analysis.formats import duration
from sweeps.driver.allocation import GOOD_SPLIT, all_searches, final_runs, race
from sweeps.ledger.ledger import now
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_state import Phase
from sweeps.outcome.loaded import load_state
from sweeps.outcome.stale import written_verdict
from sweeps.show.looks import earlier_looks, last_look
from sweeps.show.next_step import last_lines, next_step, resume_command
from sweeps.show.progress import summarize, table
from sweeps.spec.spec import SweepSpec
from sweeps.store.lock import is_driven
from sweeps.store.store import Store


def watch_terminal(sweep: Store, every: float | None, console: Console) -> None:
    """The same on a terminal: the table of `kdsweep status`, in place where it can be, until the sweep has finished.

    Raises:
        InputError: If there is no sweep, or its ledger is damaged.
    """
    if every is None:
        console.print(show_status(sweep))
        return
    with Live(show_status(sweep), console=console, auto_refresh=False) as live:
        while not is_over(load_state(sweep)[1]):
            time.sleep(every)
            live.update(show_status(sweep), refresh=True)


def show_status(sweep: Store) -> Group:
    """Progress and health of a sweep, from its files.

    Raises:
        InputError: If there is no sweep in the folder, or its ledger is damaged.
    """
    spec, state = load_state(sweep)
    lines = [*_fresh_seeds(spec, state), health(sweep, state)]
    if state.finished or state.frozen:  # nothing is concluded before
        headline, decide = _verdict(sweep, spec, state)
        lines.append(last_lines(headline, next_step(sweep, spec, state, decide)))
    return Group(table(summarize(spec, state)), Text("\n".join(lines)))


def _verdict(sweep: Store, spec: SweepSpec, state: SweepState) -> tuple[str, str]:
    """The headline of the report, and what would decide: as `best.yaml` has them, unless more is known now."""
    if (written := written_verdict(sweep)) is not None:
        return written
    from analysis.report.verdict import verdict_of
    from sweeps.outcome.tabulate import short_frames

    found = verdict_of(short_frames(state, spec, sweep.place))
    return found.headline, found.decide


def health(sweep: Store, state: SweepState) -> str:
    """Whether a sweep is alive, in words."""
    assert state.last is not None
    age = max(0.0, (now() - datetime.fromisoformat(state.last.at)).total_seconds())
    last_record = f"last record {duration(age)} ago"
    if state.aborted:
        return f"aborted: {state.aborted}"
    if is_driven(sweep):
        return f"running, {last_record}"
    if not state.finished:
        return f"not running here, {last_record}; to resume: {resume_command(sweep, state)}"
    return last_record


def _fresh_seeds(spec: SweepSpec, state: SweepState) -> list[str]:
    """The cost of fresh seeds beside the search, and how far the final seeds are."""
    search = sum(of_search.epochs for of_search in state.tally.searches.values())
    confirm = sum(trial.committed for trial in state.of_phase(Phase.CONFIRM))
    lines = []
    if search and confirm:
        share = search / (search + confirm)
        begun = min(len(race(spec, state, *each)) for each in all_searches(spec))
        lines.append(
            f"fresh seeds: round {begun} of {len(spec.confirm.rounds)}; of the epochs so far the search took "
            f"{share:.0%} ({GOOD_SPLIT})"
        )
    lines += [text for text in (last_look(spec, state), earlier_looks(state)) if text]
    if state.frozen is not None and state.frozen_by is not None:
        chosen, runs = state.frozen.chosen, len(list(final_runs(spec, state)))
        ended = sum(trial.state.is_over for trial in state.of_phase(Phase.FINAL))
        lines.append(
            f"selection frozen at {state.frozen_by.at[:16]}: config {chosen.config_id} of {chosen.study}; "
            f"final seeds: {ended} of {runs} runs"
        )
    return lines


def is_over(state: SweepState) -> bool:
    """Whether nothing of a sweep is still to come."""
    return state.finished or bool(state.aborted)
