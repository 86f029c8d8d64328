"""The driver of a sweep: decides what to run next, and records the results.

Every method reads the state, appends a record to the ledger, and applies the record to the state. So a driver that is
killed at any moment and opened again on the same folder continues as if it had not been interrupted.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal

from kdtrain.code_digest import Parts
from kdtrain.loop.calibration import Calibration
from kdtrain.loop.reports import EpochReport, TrainResult
from sweeps.driver.allocation import Rerun, next_confirmation, next_final
from sweeps.driver.attempts import Attempts
from sweeps.driver.audit import Audits, take_over
from sweeps.driver.endings import Endings, SweepAborted
from sweeps.driver.growth import as_begun
from sweeps.driver.limits import CostOf, Limits, no_cost, step_of
from sweeps.driver.looking import Judge, look, look_is_due, to_the_end
from sweeps.driver.measured_pulls import MeasuredPulls
from sweeps.driver.new_trials import NewTrials
from sweeps.driver.open_sweep import OpenSweep
from sweeps.driver.outage import Outages
from sweeps.driver.sampler import make_sampler
from sweeps.driver.scheduler import make_scheduler
from sweeps.driver.session import begin_session
from sweeps.driver.space_check import CheckConfig
from sweeps.driver.standings import Standings
from sweeps.driver.waiting import Waiting
from sweeps.driver.watchers import Watcher, Watchers
from sweeps.ledger import sweep_events
from sweeps.ledger.environment import TrainContext
from sweeps.ledger.event_base import Environment
from sweeps.ledger.failure import Crash
from sweeps.ledger.ledger import Ledger, now
from sweeps.ledger.read_state import ReadState
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_events import Ended, EpochReported, Promoted
from sweeps.ledger.trial_record import TrialRecord
from sweeps.ledger.trial_state import Phase
from sweeps.ledger.unknown_trials import unknown_trials
from sweeps.spec.calibrations import Measurement
from sweeps.spec.spec import SweepSpec
from sweeps.store.lock import Lock
from sweeps.store.store import Store, open_store


class Idle(Enum):
    """Why there is no trial to start."""

    WAIT = "wait"
    """No trial can start before a running trial ends, or before an input that is away is there again."""
    DONE = "done"
    """No trial is left to start."""


WAIT, DONE = Idle.WAIT, Idle.DONE
__all__ = ["DONE", "WAIT", "Driver", "Idle", "SweepAborted"]


class Driver:
    """One sweep, opened to run or to resume. `D` is the sweep's folder, or its place in a store."""

    def __init__(
        self,
        spec: SweepSpec,
        sweep: Store | Path | str,
        context: TrainContext,
        notice: Callable[[str], None] = lambda text: None,
        clock: Callable[[], datetime] = now,
        lock: Lock | None = None,
        watchers: Sequence[Watcher] = (),
        check_config: CheckConfig = lambda config: None,
        lacking: Callable[[], str | None] = lambda: None,
        judge: Judge = to_the_end,
        known: ReadState | None = None,
        cost_of: CostOf = no_cost,
    ) -> None:
        """Open the ledger and continue from its last record.

        Args:
            spec: The spec; it may have grown since the sweep began, see `sweeps.driver.growth`.
            sweep: The sweep `D`.
            context: Data, teacher and environment of this session.
            notice: Prints a sentence for the user, such as one about a torn record.
            clock: The time of day, for tests.
            lock: The sweep's lock, where the caller holds it.
            watchers: Called with every record that is appended, also while the ledger is opened, see
                `sweeps.driver.watchers`.
            check_config: Raises an InputError for a config that the data, the teacher or the networks do not allow.
            lacking: Returns one sentence about an input of the sweep that is away, see `sweeps.driver.outage`.
            judge: Reads the words at the planned looks of `confirm.until: decided`, see `sweeps.driver.looking`.
            known: The state of the sweep as the caller has read it before, so that it is not read again.
            cost_of: Measures a student where the sweep has a target.

        Raises:
            InputError: If `D` holds another sweep, is held by another driver, or is damaged.
            StorageError: If `D` cannot be written.
        """
        store = open_store(sweep)
        store.check_writable()
        self._context, self._judge, self._stopping = context, judge, False
        self._outages = Outages(lacking, notice)
        sampler = make_sampler(spec.sampler)
        state, before = SweepState(), None if known is None else known.found
        self._ledger = Ledger(store, notice, clock, lock, state.apply, before)
        if known is not None and self._ledger.is_known:
            state = known.state
        try:
            if (text := unknown_trials(store, state.trials)) is not None:
                notice(text)
            self._sweep = OpenSweep(as_begun(spec, state), store, state, self._ledger, notice)
            self._pulls = MeasuredPulls(self._sweep)
            self._standings = Standings(make_scheduler(spec.scheduler), state, partial(step_of, self.spec))
            self.limits = Limits(self.spec.target, state, self._sweep.append, cost_of)
            self._new_trials = NewTrials(self._sweep, self._pulls, self._standings, sampler, check_config, self.limits)
            self._waiting, self._audits = Waiting(state), Audits(self.spec, state)
            self._sweep.follow_trials(self._standings.update, (EpochReported, Promoted, Ended))
            self._sweep.follow_trials(self._waiting.update)
            self._sweep.follow_trials(self._audits.update)
            to_watch = Watchers(watchers, notice)
            self._sweep.follow(lambda event: to_watch.tell(event, state))
            endings = Endings(self._sweep, self._outages)
            begin_session(self._sweep, context, self._standings, endings, clock())
            self._attempts = Attempts(self._sweep, self._standings, self._waiting, endings)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Driver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the sweep, so that another driver can open it."""
        self._ledger.close()

    def tick(self) -> None:
        """Write records that have waited long enough; call this regularly."""
        self._ledger.tick()

    @property
    def spec(self) -> SweepSpec:
        """The sweep's spec."""
        return self._sweep.spec

    @property
    def store(self) -> Store:
        """The sweep `D`."""
        return self._sweep.store

    @property
    def state(self) -> SweepState:
        """The sweep's state."""
        return self._sweep.state

    @property
    def environment(self) -> Environment:
        """The environment of the driver's process."""
        return self._context.environment

    def stop(self, reason: str) -> None:
        """Start no further trial."""
        if not self._stopping:
            self._stopping = True
            self._sweep.append(sweep_events.DriverStopped(reason))

    def notice(self, text: str) -> None:
        """Print a sentence for the user."""
        self._sweep.notice(text)

    def pulls_to_measure(self) -> list[Measurement]:
        """What is to be measured before the first trial, because a pull becomes a weight by it."""
        return self._pulls.to_measure()

    def measured(self, measurement: Measurement, calibration: Calibration) -> None:
        """A calibration is made."""
        self._pulls.measured(measurement, calibration)

    def lines_about_pulls(self) -> list[str]:
        """The pulls of the defaults, as far as they are measured, and warnings of them."""
        return self._pulls.lines()

    def check_pulls(self) -> None:
        """Raise InputError if a pull of a study's default makes no weight."""
        self._pulls.check()

    def next(self) -> TrialRecord | Idle:
        """A trial to start: an unfinished one, else a newly proposed one.

        Raises:
            StorageError: If an input of the sweep is away for too long.
        """
        while not isinstance(trial := self._next(), Idle):
            if not self._attempts.takes_over(trial):
                return trial
        return trial

    def gpu_share(self, trial: TrialRecord) -> float:
        """The GPUs that an attempt at a trial gets if it starts now."""
        resources = self.spec.resources
        if trial.gpu is not None:
            return trial.gpu
        return self.state.gpu_use.share if resources.is_measured else resources.gpus_alone

    def started(self, trial_id: str, gpu: float | None = None) -> None:
        """An attempt has begun, with a share of a GPU where this is measured."""
        self._attempts.started(self.state.trials[trial_id], gpu)

    def located(self, trial_id: str, environment: Environment, code: Parts | None = None) -> None:
        """A worker reports the environment of an attempt, and its `code` if that differs from the driver's code."""
        self._attempts.located(self.state.trials[trial_id], environment, code)

    def report(self, trial_id: str, report: EpochReport) -> Literal["continue", "stop"]:
        """An epoch has ended; returns whether the training continues. An epoch that was already reported is ignored."""
        return self._attempts.report(self.state.trials[trial_id], report)

    def ended(self, trial_id: str, outcome: TrainResult | Crash | BaseException | None) -> None:
        """An attempt has ended, with a result or an error; `outcome` is None if the driver stopped the attempt.

        Raises:
            SweepAborted: If the first trials of all studies fail in the same way.
            StorageError: If the training could not write its files; the trial stays unfinished.
        """
        self._attempts.ended(self.state.trials[trial_id], outcome)

    def _next(self) -> TrialRecord | Idle:
        if self.state.aborted or self._stopping:
            return DONE
        if self._outages.lasts():
            return WAIT
        if (trial := self._waiting.first() or self._new_trial()) is not None:
            return self._hand_out(trial)
        unfinished = self.state.tally.unfinished
        if any(trial.phase is not Phase.AUDIT for trial in unfinished):
            return WAIT
        if look_is_due(self.spec, self.state):
            taken = look(self.spec, self.state, self._judge)
            self._sweep.append(taken)
            self.notice(f"look at {taken.seeds} fresh seeds: {taken.reason}")
            return self._next()
        if (stopped := self._audits.next()) is not None:
            audit = Rerun(Phase.AUDIT, self.spec.study(stopped.study), stopped.seed, stopped)
            return self._hand_out(self._new_trials.again(audit))
        if unfinished:
            return WAIT
        if not self.state.finished:
            self._sweep.append(sweep_events.Finished())
        return DONE

    def _new_trial(self) -> TrialRecord | None:
        """A trial of a search, else a chosen config on a fresh seed; after the freeze a final training alone."""
        if self.state.frozen is not None:
            rerun = next_final(self.spec, self.state)
        elif (trial := self._new_trials.next_searched()) is not None:
            return trial
        else:
            rerun = next_confirmation(self.spec, self.state, self._standings)
        return None if rerun is None else self._new_trials.again(rerun)

    def _hand_out(self, trial: TrialRecord) -> TrialRecord:
        if trial.phase is Phase.AUDIT and not trial.attempts and trial.candidate_of is not None:
            take_over(self.store, self.state.trials[trial.candidate_of], trial)
        self._waiting.hand_out(trial)
        return trial
