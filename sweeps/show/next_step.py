"""The last lines of a command that shows a result: what to do next, and the headline of the report."""

import re
import shlex
from pathlib import Path

from analysis.selection.halving import GROWN
from analysis.tables.commands import shared
from sweeps.driver.allocation import count_final_runs, final_runs
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_state import Phase
from sweeps.show.commands import next_command
from sweeps.spec.spec import SweepSpec
from sweeps.store.store import Store


def last_lines(headline: str, step: str) -> str:
    """The last lines of a command that shows a result.

    Args:
        headline: Of the report.
        step: From `next_step`.
    """
    return f"{step}\nverdict: {headline}" if step else f"verdict: {headline}"


def next_step(sweep: Store, spec: SweepSpec, state: SweepState, decide: str) -> str:
    """What comes next, with the command that does it on a line of its own.

    More seeds where they would decide, else the freeze; after the freeze the final seeds.

    Args:
        sweep: The sweep.
        spec: Its spec.
        state: How far it is.
        decide: What would decide, from `analysis.report.verdict.Verdict`.

    Returns:
        Empty for a sweep that has not finished, and where nothing is left to do.
    """
    if not state.finished:
        return ""
    if state.frozen is not None:
        return _final_seeds(sweep, spec, state)
    grows = GROWN in decide
    freeze = _freeze(sweep, spec, decided=not grows)
    decide = command_below(decide)
    return "\n".join(filter(None, (freeze, decide) if grows else (decide, freeze)))


def _freeze(sweep: Store, spec: SweepSpec, decided: bool) -> str:
    """What the freeze allows; the next step where no more seeds would decide, and the data have images for it."""
    if not (runs := count_final_runs(spec)):
        return ""
    command = next_command("best", str(sweep), freeze=True)
    if decided and spec.data.has_test and spec.purpose != "ablation":
        what = f"up to {runs} trainings on final seeds give the held-out result, on role test"
        return f"next: freeze the selection; then {what}:\n  {command}"
    return f"selection not frozen; {runs} runs on final seeds are allowed by: {command}"


def _final_seeds(sweep: Store, spec: SweepSpec, state: SweepState) -> str:
    """The trainings that a frozen selection lacks."""
    lacking = len(list(final_runs(spec, state))) - len(state.of_phase(Phase.FINAL))
    command = resume_command(sweep, state)
    return f"next: {lacking} trainings on final seeds, for the held-out result:\n  {command}" if lacking else ""


def command_below(sentence: str) -> str:
    """A sentence that ends with a command in backticks, the command on a line of its own, to be pasted."""
    return re.sub(r": `([^`]+)`\.$", r":\n  \1", sentence)


def resume_command(sweep: Store, state: SweepState) -> str:
    """The command that began the last session; the kept spec's, where the sweep was moved, or no command began it."""
    begun = state.command
    line = None if begun is None else f"cd {shlex.quote(begun['folder'])} && {begun['line']}"
    if begun is None or line is None or begun["sweep"] != sweep.place:
        options = {} if line is None else shared(line).by_name()
        return next_command("run", f"{sweep}/spec.yaml", dir=str(sweep), **options)
    return begun["line"] if Path(begun["folder"]) == Path.cwd() else line
