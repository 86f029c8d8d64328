"""The beginning of a session: a sweep is begun or goes on, and what the last session left undone is done."""

import hashlib
from datetime import datetime

from kdtrain.version import __version__
from sweeps.driver.attempts import decide
from sweeps.driver.endings import Endings
from sweeps.driver.growth import check_inputs, corrections, grown
from sweeps.driver.open_sweep import OpenSweep
from sweeps.driver.running_code import changed_code
from sweeps.driver.standings import Standings
from sweeps.ledger import sweep_events, trial_events
from sweeps.ledger.environment import TrainContext
from sweeps.ledger.mending import runs_again
from sweeps.spec.recorded import facts_of
from sweeps.spec.spec import SweepSpec


def begin_session(
    sweep: OpenSweep, context: TrainContext, standings: Standings, endings: Endings, now: datetime
) -> None:
    """Record that a session begins.

    Args:
        sweep: The sweep.
        context: Data, teacher and environment of the session.
        standings: The places of the trials.
        endings: What the end of an attempt means.
        now: The time.

    Raises:
        InputError: If the sweep holds something else.
    """
    state = sweep.state
    if state.begun is None:
        sweep.append(_identity(sweep.spec, context, now))
    else:
        check_inputs(state, context, str(sweep.store))
        changes = grown(state, sweep.spec, sweep.store)
        _decide_what_is_left(sweep, standings)
        if changes:
            left_out, content = corrections(state, sweep.spec), sweep.spec.model_dump(mode="json")
            sweep.append(sweep_events.Grown(content, changes, left_out, facts_of(sweep.spec)))
            sweep.notice(f"the sweep continues with changes: {'; '.join(changes)}")
    sweep.store.write("spec.yaml", sweep.spec.dump().encode())
    if context.teacher is not None and state.teacher is None:
        sweep.append(context.teacher)
    sweep.append(sweep_events.SessionBegun(context.environment, context.command))
    for trial in state.tally.unfinished:
        if trial.stopped:
            endings.of_stop(trial)
    _run_mended_again(sweep)
    for change in changed_code(state):
        sweep.notice(change)


def _identity(spec: SweepSpec, context: TrainContext, created: datetime) -> sweep_events.SweepBegun:
    unique = hashlib.sha256(f"{spec.digest} {created.isoformat()}".encode()).hexdigest()[:8]
    return sweep_events.SweepBegun(
        sweep_id=f"{spec.name}-{unique}",
        kdsweep_version=__version__,
        spec=spec.model_dump(mode="json"),
        data=context.data,
        foreign=facts_of(spec),
    )


def _decide_what_is_left(sweep: OpenSweep, standings: Standings) -> None:
    """Take the decision after the last report, if the driver was killed between the two."""
    last = sweep.state.last.event if sweep.state.last else None
    if isinstance(last, trial_events.EpochReported):
        decide(sweep, standings, sweep.state.trials[last.trial], last.report.epoch)


def _run_mended_again(sweep: OpenSweep) -> None:
    """Plan the trials again that failed for a cause outside of them."""
    frozen = sweep.state.frozen is not None
    again = [trial for trial in sweep.state.trials.values() if runs_again(trial, frozen)]
    for trial in again:
        assert trial.failure is not None
        sweep.append(trial_events.Retried(trial.id, trial.reason or "", trial.failure))
    if again:
        cause = (again[0].reason or "").partition("\n")[0]
        sweep.notice(
            f"{len(again)} failed trial{'s run' if len(again) > 1 else ' runs'} again, first {again[0].id}: {cause}"
        )
