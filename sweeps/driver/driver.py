"""The driver of a sweep: decides what to run next, and records the results.

Every method reads the state, appends a record to the ledger, and applies the record to the state. So a driver that is
killed at any moment and opened again on the same folder continues as if it had not been interrupted.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Literal

from kdtrain.code_digest import Parts
from kdtrain.config import TrainConfig
from kdtrain.loop.calibration import Calibration
from kdtrain.loop.reports import EpochReport, TrainResult
from kdtrain.methods import options_of
from kdtrain.space import Scalar
from kdtrain.version import __version__
from sweeps.driver import outcomes, set_aside
from sweeps.driver.allocation import (
    Rerun,
    most_trials,
    next_confirmation,
    next_final,
    next_promotion,
    next_search,
    spent_trials,
)
from sweeps.driver.audit import Audits, take_over
from sweeps.driver.endings import Endings, SweepAborted
from sweeps.driver.growth import as_begun, check_inputs, corrections, grown
from sweeps.driver.limits import CostOf, Limits, no_cost
from sweeps.driver.looking import Judge, look, look_is_due, to_the_end
from sweeps.driver.outage import Outages
from sweeps.driver.proposals import AllProposals
from sweeps.driver.reuse import RunBefore
from sweeps.driver.running_code import changed_code, code_here, code_name
from sweeps.driver.sampler import OutsideError, exhausted, make_sampler, propose
from sweeps.driver.scheduler import make_scheduler
from sweeps.driver.space_check import CheckConfig, RefusedError, checked_config
from sweeps.driver.standings import Standings
from sweeps.driver.verdict import Promotion
from sweeps.driver.waiting import Waiting
from sweeps.driver.watchers import Watcher, Watchers
from sweeps.ledger import sweep_events, trial_events
from sweeps.ledger.environment import TrainContext
from sweeps.ledger.event_base import Content, Environment
from sweeps.ledger.events import Event, trial_of
from sweeps.ledger.failure import Crash
from sweeps.ledger.ledger import SET_ASIDE, Ledger, now
from sweeps.ledger.mending import runs_again
from sweeps.ledger.read_state import ReadState
from sweeps.ledger.search_name import search_name
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_record import TrialRecord
from sweeps.ledger.trial_state import Phase
from sweeps.ledger.unknown_trials import unknown_trials
from sweeps.spec.calibrations import Measurement, calibrations, check_measured, lines_about, ratios
from sweeps.spec.paths import Space
from sweeps.spec.pulls import Ratio, as_trained, with_weights
from sweeps.spec.recorded import facts_of
from sweeps.spec.spec import SweepSpec
from sweeps.spec.study import Study
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
MOST_IN_VAIN = 200
"""After so many proposals in a row that make no valid config, the search of a study ends."""


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
        self.spec, self.store = spec, open_store(sweep)
        self.store.check_writable()
        self._context, self._notice = context, notice
        self._watchers, self._check_config = Watchers(watchers, notice), check_config
        self._outages = Outages(lacking, notice)
        self._judge = judge
        self._sampler = make_sampler(spec.sampler)
        self.state, before = SweepState(), None if known is None else known.found
        self._ledger = Ledger(self.store, notice, clock, lock, self.state.apply, before)
        if known is not None and self._ledger.is_known:
            self.state = known.state
        self._stopping = False
        try:
            self._proposals = AllProposals(self.state, self._space_of)
            self._standings = Standings(make_scheduler(spec.scheduler), self.state)
            self._is_repaired = bool(self.store.names(SET_ASIDE))
            if (text := unknown_trials(self.store, self.state.trials)) is not None:
                notice(text)
            self.spec = as_begun(self.spec, self.state)
            self.limits = Limits(self.spec.target, self.state, self._append, cost_of)
            self._waiting, self._audits = Waiting(self.state), Audits(self.spec, self.state)
            self._endings = Endings(self.spec, self.store, self.state, self._append, self._outages, notice)
            self._begin_session(clock)
            self._ratio = self._ratios()
            self._run_before = RunBefore(self.state.trials.values())
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
    def environment(self) -> Environment:
        """The environment of the driver's process."""
        return self._context.environment

    def stop(self, reason: str) -> None:
        """Start no further trial."""
        if not self._stopping:
            self._stopping = True
            self._append(sweep_events.DriverStopped(reason))

    def notice(self, text: str) -> None:
        """Print a sentence for the user."""
        self._notice(text)

    def pulls_to_measure(self) -> list[Measurement]:
        """What is to be measured before the first trial, because a pull becomes a weight by it."""
        lacking = (each.without(self.state.pulls) for each in calibrations(self.spec, self._teacher))
        return [measurement for measurement in lacking if measurement.terms]

    def measured(self, measurement: Measurement, calibration: Calibration) -> None:
        """A calibration is made."""
        config = measurement.config
        terms: list[Content] = [
            {"options": options_of(term), "lengths": list(calibration.lengths[key])}
            for key, term in measurement.terms.items()
        ]
        steps, task = list(calibration.steps), list(calibration.task)
        content = config.model_dump(mode="json")
        self._append(sweep_events.PullsMeasured(content, config.config_id, steps, task, terms))
        self._ratio = self._ratios()

    def lines_about_pulls(self) -> list[str]:
        """The pulls of the defaults, as far as they are measured, and warnings of them."""
        return lines_about(self.spec, self._teacher, self.state.pulls)

    def check_pulls(self) -> None:
        """Raise InputError if a pull of a study's default makes no weight."""
        check_measured(self.spec, self._ratio)

    def next(self) -> TrialRecord | Idle:
        """A trial to start: an unfinished one, else a newly proposed one.

        Raises:
            StorageError: If an input of the sweep is away for too long.
        """
        while not isinstance(trial := self._next(), Idle):
            source = self._run_before.source_for(trial, self.state)
            if source is None:
                return trial
            self._reuse(trial, source)
        return trial

    def gpu_share(self, trial: TrialRecord) -> float:
        """The GPUs that an attempt at a trial gets if it starts now."""
        resources = self.spec.resources
        if trial.gpu is not None:
            return trial.gpu
        return self.state.gpu_use.share if resources.is_measured else resources.gpus_alone

    def started(self, trial_id: str, gpu: float | None = None) -> None:
        """An attempt has begun, with a share of a GPU where this is measured."""
        code = self._record_code(code_here(self.state.trials[trial_id]))
        self._append(trial_events.Started(trial_id, code, gpu if self.spec.resources.is_measured else None))

    def located(self, trial_id: str, environment: Environment, code: Parts | None = None) -> None:
        """A worker reports the environment of an attempt, and its `code` if that differs from the driver's code."""
        trial = self.state.trials[trial_id]
        environment_id, node = str(environment["environment_id"]), environment.get("node")
        node = None if node is None else str(node)
        if code is not None or (trial.environment_id, trial.node) != (environment_id, node):
            new = None if environment_id in self.state.environments else dict(environment)
            self._append(trial_events.Located(trial_id, environment_id, node, new, self._record_code(code)))

    def report(self, trial_id: str, report: EpochReport) -> Literal["continue", "stop"]:
        """An epoch has ended; returns whether the training continues. An epoch that was already reported is ignored."""
        trial = self.state.trials[trial_id]
        if trial.stopped or trial.state.is_over:
            return "stop"
        if report.epoch not in trial.reports:
            self._append(trial_events.EpochReported(trial_id, report))
            self._decide(trial, report.epoch)
        return "stop" if trial.stopped else "continue"

    def ended(self, trial_id: str, outcome: TrainResult | Crash | BaseException | None) -> None:
        """An attempt has ended, with a result or an error; `outcome` is None if the driver stopped the attempt.

        Raises:
            SweepAborted: If the first trials of all studies fail in the same way.
            StorageError: If the training could not write its files; the trial stays unfinished.
        """
        trial = self.state.trials[trial_id]
        self._waiting.take_back(trial)
        if trial.state.is_over:
            return
        if trial.stopped:
            self._endings.of_stop(trial)
        elif isinstance(outcome, TrainResult) and outcome.state == "interrupted":
            self._append(trial_events.AttemptInterrupted(trial_id))
        elif isinstance(outcome, TrainResult) and outcome.state != "stopped":
            self._end(trial, outcome)
        elif isinstance(outcome, TrainResult) or outcome is None:
            self._endings.of_crash(trial, Crash("the training stopped although the driver had not told it to"))
        else:
            self._endings.of_crash(trial, outcome if isinstance(outcome, Crash) else Crash.of(outcome))

    @property
    def _teacher(self) -> str | None:
        """The digest of the sweep's teacher."""
        return self.state.teacher.digest if self.state.teacher else None

    def _space_of(self, study: str) -> Space:
        return self.spec.space_with_priors(self.spec.study(study), self._ratio)

    def _ratios(self) -> Ratio:
        return ratios(self.spec, self._teacher, self.state.pulls)

    def _begin_session(self, clock: Callable[[], datetime]) -> None:
        context = self._context
        if self.state.begun is None:
            self._append(self._identity(clock()))
        else:
            check_inputs(self.state, context, str(self.store))
            changes = grown(self.state, self.spec, self.store)
            self._decide_what_is_left()
            if changes:
                left_out = corrections(self.state, self.spec)
                self._append(
                    sweep_events.Grown(self.spec.model_dump(mode="json"), changes, left_out, facts_of(self.spec))
                )
                self._notice(f"the sweep continues with changes: {'; '.join(changes)}")
        self.store.write("spec.yaml", self.spec.dump().encode())
        if context.teacher is not None and self.state.teacher is None:
            self._append(context.teacher)
        self._append(sweep_events.SessionBegun(context.environment, context.command))
        for trial in self.state.tally.unfinished:
            if trial.stopped:
                self._endings.of_stop(trial)
        self._run_mended_again()
        for change in changed_code(self.state):
            self._notice(change)

    def _decide_what_is_left(self) -> None:
        """Take the decision after the last report, if the driver was killed between the two."""
        last = self.state.last.event if self.state.last else None
        if isinstance(last, trial_events.EpochReported):
            self._decide(self.state.trials[last.trial], last.report.epoch)

    def _run_mended_again(self) -> None:
        """Plan the trials again that failed for a cause outside of them."""
        frozen = self.state.frozen is not None
        again = [trial for trial in self.state.trials.values() if runs_again(trial, frozen)]
        for trial in again:
            assert trial.failure is not None
            self._append(trial_events.Retried(trial.id, trial.reason or "", trial.failure))
        if again:
            cause = (again[0].reason or "").partition("\n")[0]
            self._notice(
                f"{len(again)} failed trial{'s run' if len(again) > 1 else ' runs'} again, first {again[0].id}: {cause}"
            )

    def _record_code(self, parts: Parts | None) -> str | None:
        """The name of a version of the code; a new version is written to the ledger."""
        if parts is None:
            return None
        name = code_name(parts)
        if name not in self.state.codes:
            self._append(sweep_events.CodeKnown(name, parts))
        return name

    def _identity(self, created: datetime) -> sweep_events.SweepBegun:
        unique = hashlib.sha256(f"{self.spec.digest} {created.isoformat()}".encode()).hexdigest()[:8]
        return sweep_events.SweepBegun(
            sweep_id=f"{self.spec.name}-{unique}",
            kdsweep_version=__version__,
            spec=self.spec.model_dump(mode="json"),
            data=self._context.data,
            foreign=facts_of(self.spec),
        )

    def _next(self) -> TrialRecord | Idle:
        if self.state.aborted or self._stopping:
            return DONE
        if self._outages.lasts():
            return WAIT
        if (waiting := self._waiting.first()) is not None:
            return self._hand_out(waiting)
        new_trial = self._next_searched() or self._next_on_fresh_seed()
        if new_trial is not None:
            return self._hand_out(new_trial)
        unfinished = self.state.tally.unfinished
        if any(trial.phase is not Phase.AUDIT for trial in unfinished):
            return WAIT
        if look_is_due(self.spec, self.state):
            taken = look(self.spec, self.state, self._judge)
            self._append(taken)
            self._notice(f"look at {taken.seeds} fresh seeds: {taken.reason}")
            return self._next()
        if (stopped := self._audits.next()) is not None:
            audit = Rerun(Phase.AUDIT, self.spec.study(stopped.study), stopped.seed, stopped)
            return self._hand_out(self._train_again(audit))
        if unfinished:
            return WAIT
        if not self.state.finished:
            self._append(sweep_events.Finished())
        return DONE

    def _hand_out(self, trial: TrialRecord) -> TrialRecord:
        if trial.phase is Phase.AUDIT and not trial.attempts and trial.candidate_of is not None:
            take_over(self.store, self.state.trials[trial.candidate_of], trial)
        self._waiting.hand_out(trial)
        return trial

    def _next_searched(self) -> TrialRecord | None:
        """A trial of the search that trains next, a stopped one or a new config; None after the selection is frozen."""
        sweep = self.spec, self.state
        while self.state.frozen is None and (search := next_search(*sweep, self._standings)) is not None:
            if (promotion := next_promotion(*sweep, *search, self._standings)) is not None:
                return self._continue(self.state.trial(search[0].name, promotion.number), promotion)
            if (trial := self._search(*search)) is not None:
                return trial
        return None

    def _continue(self, trial: TrialRecord, promotion: Promotion) -> TrialRecord:
        """A stopped trial goes on."""
        self._append(outcomes.of_promotion(trial, promotion))
        return trial

    def _search(self, study: Study, search: int) -> TrialRecord | None:
        """A new config of a search; None if what it proposes makes no valid config, or it proposes nothing more."""
        name = search_name(study.name, search)
        if self.state.in_vain.get(name, 0) >= MOST_IN_VAIN:
            last = next(each for each in reversed(self.state.invalid[study.name]) if each.search == search).reason
            reason = f"none of {MOST_IN_VAIN} proposals in a row makes a valid config; the last: {last}"
            self._notice(f"the search of {name} ends: {reason}; correct its space and run the same command again")
            self._append(sweep_events.Exhausted(study.name, reason, search))
            return None
        proposals = self._proposals.of_search(study.name, search)
        begun = spent_trials(self.state, study, search)
        default = None if begun else self.spec.defaults(study, self._ratio)
        space, seed = proposals.space, self.spec.seed
        try:
            length = most_trials(self.spec, study)
            params = propose(study.name, space, self._sampler, seed, proposals, default, name, length)
        except OutsideError as error:
            self._append(trial_events.Infeasible(study.name, {}, str(error), search))
            return None
        if params is None:
            self._append(sweep_events.Exhausted(study.name, exhausted(proposals, self._sampler), search))
            return None
        try:
            config = checked_config(
                lambda: self.spec.config_for(study, params, self.spec.search_seed(search), self._teacher),
                self._check_config,
            )
        except RefusedError as error:
            self._append(trial_events.Infeasible(study.name, params, str(error), search))
            return None
        if (above := self.limits.excess(config.student)) is not None:
            self._append(trial_events.Infeasible(study.name, params, above, search))
            return None
        return self._propose(study, params, with_weights(study.name, config, self._ratio), search)

    def _next_on_fresh_seed(self) -> TrialRecord | None:
        """A chosen config on a fresh seed: a confirmation, or a final training after the selection is frozen."""
        sweep = self.spec, self.state
        frozen = self.state.frozen is not None
        rerun = next_final(*sweep) if frozen else next_confirmation(*sweep, self._standings)
        return None if rerun is None else self._train_again(rerun)

    def _train_again(self, rerun: Rerun) -> TrialRecord:
        """A new trial with a config that was trained before."""
        study, candidate = rerun.study, rerun.candidate
        params = candidate.params if candidate else {}
        ratio = self._ratio if candidate is None else as_trained(TrainConfig.model_validate(candidate.config).terms)
        config = self.spec.config_for(study, params, rerun.seed, self._teacher, ratio)
        return self._propose(study, params, config, rerun.search, rerun.phase, candidate)

    def _propose(
        self,
        study: Study,
        params: Mapping[str, Scalar],
        config: TrainConfig,
        search: int,
        phase: Phase = Phase.SEARCH,
        candidate: TrialRecord | None = None,
    ) -> TrialRecord:
        number = len(self.state.by_study.get(study.name, ()))
        trial_id = f"{study.name}-{number}"
        proposed = trial_events.Proposed(
            id=trial_id,
            study=study.name,
            number=number,
            phase=phase,
            candidate_of=candidate.id if candidate else None,
            seed=config.seed,
            params=dict(params),
            config=config.model_dump(mode="json"),
            config_id=config.config_id,
            search=search,
        )
        self._append(proposed)
        trial = self.state.trials[trial_id]
        if self._is_repaired:
            set_aside.set_other_training_aside(self.store, trial)
        return trial

    def _reuse(self, trial: TrialRecord, source: TrialRecord) -> None:
        """Copy the outcome of another trial, report by report, so that the rungs decide as if the trial had run."""
        if trial.reused_from is None:
            self._append(trial_events.Reused(trial.id, source.id))
        for _, report in sorted(source.reports.items()):
            if self.report(trial.id, report) == "stop":
                self.ended(trial.id, None)
                return
        self._append(trial_events.Ended(trial.id, source.state, source.reason, source.result))
        self._waiting.take_back(trial)

    def _decide(self, trial: TrialRecord, epoch: int) -> None:
        """If the scheduler compares the trial at this epoch, record whether it continues."""
        if trial.phase is not Phase.SEARCH or epoch >= trial.epochs:
            return
        verdict = self._standings.judge(trial, epoch)
        if verdict.rung is not None:
            self._append(outcomes.of_verdict(trial, epoch, verdict))

    def _end(self, trial: TrialRecord, result: TrainResult) -> None:
        """A training came to its end; a report that comes with its result alone decides what it would have decided."""
        for report in result.reports:
            if self.report(trial.id, report) == "stop":
                self._endings.of_stop(trial)
                return
        self._endings.of_result(trial, result)
        self._run_before.add(trial)

    def _append(self, event: Event) -> None:
        record = self._ledger.append(event)
        applied = self.state.apply(record)
        self._proposals.update(applied)
        if isinstance(applied, trial_events.EpochReported | trial_events.Promoted | trial_events.Ended):
            self._standings.update(self.state.trials[applied.trial])
        if (trial_id := trial_of(applied)) is not None:
            trial = self.state.trials[trial_id]
            self._waiting.update(trial)
            self._audits.update(trial)
        self._watchers.tell(applied, self.state)
