"""The driver of a sweep: says what to run next and remembers what came of it.

Every method is: look at the state, append to the ledger, apply the record to the state. So a driver that is
killed at any moment and opened again on the same folder goes on as if nothing had happened.
"""

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from kdtrain.errors import InputError, StorageError
from kdtrain.loop.reports import EpochReport, TrainResult
from kdtrain.loop.run_folder import CONFIG
from kdtrain.version import __version__
from sweeps.driver.allocation import next_confirmation, next_reporting, next_study
from sweeps.driver.asha import decide, milestones
from sweeps.driver.growth import difference, grown
from sweeps.driver.sampler import propose
from sweeps.driver.watchers import Watcher, Watchers
from sweeps.ledger.environment import TrainContext
from sweeps.ledger.failure import Crash, Failure
from sweeps.ledger.ledger import SET_ASIDE, Ledger, now, read
from sweeps.ledger.state import UNFINISHED, Phase, SweepState, TrialRecord
from sweeps.spec.spec import Study, SweepSpec
from sweeps.store.lock import Lock
from sweeps.store.store import Store, open_store

ABORT_AFTER = 3
"""If the first trials of all studies, and so many at least, fail in the same way, the cause is not in the trials."""
_UNCOUNTED: tuple[Failure, ...] = ("node_lost", "out_of_memory", "damaged")
"""Failures that take nothing from a trial's retries: it is not to blame, or they have a rule of their own."""
_NODES = 20
"""So many lost nodes, and a trial is given up all the same."""


class Idle(Enum):
    """Why there is no trial to start."""

    WAIT = "wait"
    """Nothing before a running trial ends."""
    DONE = "done"
    """Nothing ever."""


WAIT, DONE = Idle.WAIT, Idle.DONE


class SweepAborted(InputError):  # noqa: N818
    """All trials fail for one and the same cause."""


class Driver:
    """One sweep `D`, opened to be run; a sweep that was begun before goes on."""

    def __init__(
        self,
        spec: SweepSpec,
        sweep: Store | Path | str,
        context: TrainContext,
        notice: Callable[[str], None] = lambda text: None,
        clock: Callable[[], datetime] = now,
        lock: Lock | None = None,
        watchers: Sequence[Watcher] = (),
    ) -> None:
        """Open the ledger and take up what it says.

        Args:
            spec: What to do; it may have grown since the sweep was begun, see `sweeps.driver.growth`.
            sweep: The sweep `D`.
            context: Data, teacher and environment of this session.
            notice: Told what the user should know but cannot change, such as a torn record.
            clock: The time of day, for tests.
            lock: The sweep's lock, where the caller holds it.
            watchers: Told of every record that is appended, those of this opening included, see
                `sweeps.driver.watchers`.

        Raises:
            InputError: If `D` holds another sweep, is held by another driver, or is damaged.
            StorageError: If it cannot be written.
        """
        self.spec, self.store = spec, open_store(sweep)
        self.store.check_writable()
        self._context, self._notice = context, notice
        self._watchers = Watchers(watchers, notice)
        self._ledger = Ledger(self.store, notice, clock, lock)
        self._handed_out: set[str] = set()
        self._leaving = False
        try:
            self.state = SweepState.of(self._ledger.found)
            self._repaired = bool(self.store.names(SET_ASIDE))
            self._take_up(context, clock)
            self._run_before = {(t.config_id, t.seed): t.id for t in self.state.trials.values() if _is_known(t)}
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
        """Let another driver have the sweep."""
        self._ledger.close()

    def tick(self) -> None:
        """Write what has waited long enough; to be called now and then."""
        self._ledger.tick()

    @property
    def environment(self) -> dict[str, Any]:
        """That of the driver's own process."""
        return self._context.environment

    def leave(self, reason: str) -> None:
        """Start nothing more: the driver was asked to leave."""
        if not self._leaving:
            self._leaving = True
            self._append("left", reason=reason)

    def next(self) -> TrialRecord | Idle:
        """A trial to start: one that is still to be finished, else a newly proposed one."""
        while not isinstance(found := self._next(), Idle):
            if (source := self._known_outcome(found)) is None:
                return found
            self._reuse(found, source)
        return found

    def _next(self) -> TrialRecord | Idle:
        if self.state.aborted or self._leaving:
            return DONE
        for trial in self.state.trials.values():
            if trial.state in UNFINISHED and trial.id not in self._handed_out:
                return self._hand_out(trial)
        while (study := self._open_study()) is not None:
            told = self.state.of_study(study.name, "search")
            space, default = self.spec.space_of(study), None if told else self.spec.defaults(study)
            params = propose(study.name, space, self.spec.sampler, self.spec.seed, told, default)
            if params is not None:
                return self._propose(study, params, self.spec.seed)
            self._append("exhausted", study=study.name, reason="every config of its space was tried")
        fresh = next_confirmation if self.state.frozen is None else next_reporting
        if (wanted := fresh(self.spec, self.state)) is not None:
            params = wanted.candidate.params if wanted.candidate else {}
            return self._propose(wanted.study, params, wanted.seed, wanted.phase, wanted.candidate)
        if any(trial.state in UNFINISHED for trial in self.state.trials.values()):
            return WAIT
        if not self.state.finished:
            self._append("finished")
        return DONE

    def _open_study(self) -> Study | None:
        """The study that proposes next; none once the selection is frozen."""
        return next_study(self.spec, self.state) if self.state.frozen is None else None

    def started(self, trial_id: str) -> None:
        """An attempt has begun."""
        self._append("started", trial=trial_id)

    def located(self, trial_id: str, environment: Mapping[str, Any]) -> None:
        """Where an attempt runs, as its worker says."""
        trial, known = self.state.trials[trial_id], environment["environment_id"] in self.state.environments
        node, environment_id = environment.get("node"), environment["environment_id"]
        if (trial.environment_id, trial.node) != (environment_id, node):
            told = None if known else dict(environment)
            self._append("located", trial=trial_id, environment_id=environment_id, node=node, environment=told)

    def report(self, trial_id: str, report: EpochReport) -> Literal["continue", "stop"]:
        """An epoch has ended; the answer is for the training. One that is known already changes nothing."""
        trial = self.state.trials[trial_id]
        if trial.verdict or trial.state not in UNFINISHED:
            return "stop"
        if report.epoch not in trial.reports:
            self._append("report", trial=trial_id, report=report.to_dict())
            self._decide(trial, report.epoch)
        return "stop" if trial.verdict else "continue"

    def ended(self, trial_id: str, outcome: TrainResult | Crash | BaseException | None) -> None:
        """An attempt has ended, with a result or in an error; `None` is for one that was stopped as told.

        Raises:
            SweepAborted: If the first trials of all studies failed in the same way.
            StorageError: If the training could not write its files; the trial is still to be finished.
        """
        trial = self.state.trials[trial_id]
        self._handed_out.discard(trial_id)
        if trial.state not in UNFINISHED:
            return
        if trial.verdict:
            self._end_pruned(trial)
        elif isinstance(outcome, TrainResult) and outcome.state == "interrupted":
            self._append("interrupted", trial=trial_id)
        elif isinstance(outcome, TrainResult) and outcome.state != "stopped":
            self._end(trial, outcome)
        elif isinstance(outcome, TrainResult) or outcome is None:
            self._crashed(trial, Crash("the training stopped without being told to"))
        else:
            self._crashed(trial, outcome if isinstance(outcome, Crash) else Crash.of(outcome))

    def _take_up(self, context: TrainContext, clock: Callable[[], datetime]) -> None:
        if not self.state.sweep:
            self._append("sweep", **self._identity(context, clock()))
        else:
            self._check_same(context)
            if changes := grown(self.state, self.spec, self.store):
                self._append("grown", spec=self.spec.model_dump(mode="json"), changes=changes)
                self._notice(f"the sweep goes on with changes: {'; '.join(changes)}")
        self.store.write("spec.yaml", self.spec.dump().encode())
        if context.teacher is not None and self.state.teacher is None:
            self._append("teacher", **context.teacher)
        last = self.state.last
        if last is not None and last.kind == "report":  # the driver died between the report and its decision
            self._decide(self.state.trials[last.data["trial"]], last.data["report"]["epoch"])
        self._append("session", environment=context.environment)
        for trial in self.state.trials.values():
            if trial.state in UNFINISHED and trial.verdict:
                self._end_pruned(trial)

    def _identity(self, context: TrainContext, created: datetime) -> dict[str, Any]:
        unique = hashlib.sha256(f"{self.spec.digest} {created.isoformat()}".encode()).hexdigest()[:8]
        return {
            "sweep_id": f"{self.spec.name}-{unique}",
            "kdsweep_version": __version__,
            "spec": self.spec.model_dump(mode="json"),
            "data": context.data,
        }

    def _check_same(self, context: TrainContext) -> None:
        if changed := difference(self.state.sweep["data"], context.data):
            path, old, new = changed
            raise InputError(
                f"the data have changed since {self.store} was begun: {path} was {old} and is {new}; "
                "put the data back, or start a new sweep in another --dir"
            )
        teacher, given = self.state.teacher, context.teacher
        if teacher and given and teacher["digest"] != given["digest"]:
            raise InputError(
                f"teacher: {self.store} was begun with the teacher {teacher['digest']}, but this one is "
                f"{given['digest']}; put the teacher back, or start a new sweep in another --dir"
            )

    def _propose(
        self,
        study: Study,
        params: Mapping[str, Any],
        seed: int,
        phase: Phase = "search",
        candidate: TrialRecord | None = None,
    ) -> TrialRecord:
        number = len(self.state.of_study(study.name))
        teacher = self.state.teacher["digest"] if self.state.teacher else None
        config = self.spec.config_for(study, params, seed, teacher)
        trial_id = f"{study.name}-{number}"
        self._append(
            "proposed",
            id=trial_id,
            study=study.name,
            number=number,
            phase=phase,
            candidate_of=candidate.id if candidate else None,
            seed=seed,
            params=dict(params),
            config=config.model_dump(mode="json"),
            config_id=config.config_id,
        )
        trial = self.state.trials[trial_id]
        if self._repaired:
            self._set_strangers_aside(trial)
        return self._hand_out(trial)

    def _hand_out(self, trial: TrialRecord) -> TrialRecord:
        self._handed_out.add(trial.id)
        return trial

    def _set_strangers_aside(self, trial: TrialRecord) -> None:
        """After a repair the folder of a trial may hold another run than the one that it is proposed for now."""
        folder = f"trials/{trial.id}"
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            there = json.loads(self.store.read(f"{folder}/{CONFIG}"))
            if (there["config_id"], there["seed"]) != (trial.config_id, trial.seed):
                self.store.move(folder, f"trials-set-aside/{trial.id}-{there['config_id']}-{there['seed']}")

    def _set_damaged_aside(self, trial: TrialRecord, why: str) -> None:
        """Let a trial begin anew whose files cannot be resumed; what it has reported stays."""
        aside = f"trials-set-aside/{trial.id}-attempt-{trial.attempts}"
        with contextlib.suppress(FileNotFoundError):
            self.store.move(f"trials/{trial.id}", aside)
        self._notice(f"{trial.id} begins anew, its files are set aside in {aside}: {why}")

    def _known_outcome(self, trial: TrialRecord) -> TrialRecord | None:
        """The trial that has had this config and seed already, with the same code; data and teacher are the sweep's."""
        if trial.reused_from is not None:
            return self.state.trials[trial.reused_from]
        if trial.reports or trial.attempts:
            return None
        source = self._run_before.get((trial.config_id, trial.seed))
        if source is None or source == trial.id:
            return None
        found = self.state.trials[source]
        code = self.state.environments.get(found.environment_id or "", {}).get("code_digest")
        return found if code == self._context.environment.get("code_digest") else None

    def _reuse(self, trial: TrialRecord, source: TrialRecord) -> None:
        """Take over what is known, report by report, so that the rungs decide as if it had been run."""
        if trial.reused_from is None:
            self._append("reused", trial=trial.id, source=source.id)
        for _, report in sorted(source.reports.items()):
            if self.report(trial.id, EpochReport.from_dict(report)) == "stop":
                self.ended(trial.id, None)
                return
        self._append("ended", trial=trial.id, state=source.state, reason=source.reason, result=source.result)
        self._handed_out.discard(trial.id)

    def _decide(self, trial: TrialRecord, epoch: int) -> None:
        scheduler = self.spec.scheduler
        if trial.phase != "search" or scheduler.name == "none" or epoch >= trial.epochs:
            return
        rungs = milestones(scheduler.grace, scheduler.factor, trial.epochs)
        others = (other.curve for other in self.state.of_study(trial.study, "search") if other is not trial)
        curve = trial.curve
        verdict = decide(curve, epoch, others, rungs, scheduler.factor)
        if verdict.rung is not None:
            self._append(
                "stopped" if verdict.action == "stop" else "promoted",
                trial=trial.id,
                epoch=epoch,
                rung=verdict.rung,
                value=curve[epoch],
                entered=verdict.entered,
                kept=verdict.kept,
            )

    def _end(self, trial: TrialRecord, outcome: TrainResult) -> None:
        for report in outcome.reports:
            if report.epoch not in trial.reports:
                self._append("report", trial=trial.id, report=report.to_dict())
        result = {
            "epochs_run": outcome.epochs_run,
            "seconds": outcome.seconds,
            "teacher_s": outcome.teacher_seconds,
            "student": outcome.student,
            "evaluation": outcome.evaluation.to_dict() if outcome.evaluation else None,
        }
        if (read := outcome.held_out) is not None:
            self._append("report_read", trial=trial.id, digest=read.digest, images=len(read.image_ids))
            result["held_out"] = read.to_dict()
        self._append("ended", trial=trial.id, state=outcome.state, reason=outcome.reason, result=result)
        if _is_known(trial):
            self._run_before.setdefault((trial.config_id, trial.seed), trial.id)

    def _end_pruned(self, trial: TrialRecord) -> None:
        """From the ledger alone, so that it does not matter whether the attempt lived to tell its result."""
        assert trial.verdict is not None
        epoch, rung = trial.verdict["epoch"], trial.verdict["rung"]
        reports = [report for number, report in trial.reports.items() if number <= epoch]
        result = {
            "epochs_run": epoch,
            "seconds": sum(report["seconds"].get("total", 0.0) for report in reports),
            "teacher_s": sum(report["seconds"].get("teacher", 0.0) for report in reports),
        }
        kept, entered = trial.verdict["kept"], trial.verdict["entered"]
        reason = f"not among the best {kept} of {entered} at the rung of epoch {rung}"
        self._append("ended", trial=trial.id, state="pruned", reason=reason, result=result)

    def _crashed(self, trial: TrialRecord, crash: Crash) -> None:
        if crash.failure == "storage":
            raise StorageError(crash.error)
        reason = f"{crash.error}\n{crash.trace}".strip()
        if self._tries_again(trial, crash.failure):
            if crash.failure == "damaged":
                self._set_damaged_aside(trial, crash.error)
            gpu = self.spec.resources.gpu
            more = math.ceil(gpu) if crash.failure == "out_of_memory" and gpu else None
            self._append("retried", trial=trial.id, reason=reason, failure=crash.failure, gpu=more)
            return
        self._append("ended", trial=trial.id, state="failed", reason=reason, result={}, failure=crash.failure)
        if self._all_fail_alike():
            ended = sum(trial.state == "failed" for trial in self.state.trials.values())
            cause = f"the first {ended} trials all failed, in every study: {crash.error}"
            self._append("aborted", reason=cause)
            raise SweepAborted(f"{cause}; put it right and run the same command again, nothing is lost")

    def _tries_again(self, trial: TrialRecord, failure: Failure) -> bool:
        before = trial.crashes.get(failure, 0)
        if failure == "input":
            return False
        if failure in ("out_of_memory", "damaged"):
            return before == 0
        if failure == "node_lost":
            return before < _NODES
        counted = sum(count for kind, count in trial.crashes.items() if kind not in _UNCOUNTED)
        return counted < self.spec.retries

    def _all_fail_alike(self) -> bool:
        each = math.ceil(ABORT_AFTER / len(self.spec.studies))
        causes = set()
        for study in self.spec.studies:
            ended = [trial for trial in self.state.of_study(study.name) if trial.state not in UNFINISHED]
            if len(ended) < each or any(trial.state != "failed" for trial in ended):
                return False
            causes |= {(trial.reason or "").splitlines()[0] for trial in ended}
        return len(causes) == 1

    def _append(self, kind: str, **data: Any) -> None:
        record = self._ledger.append(kind, data)
        self.state.apply(record)
        self._watchers.tell(record, self.state)


def check_begun(spec: SweepSpec, sweep: Store) -> SweepState:
    """Whether a spec can go on with what a sweep holds, to be asked before anything long is done for it.

    Returns:
        What it holds.

    Raises:
        InputError: If the sweep holds something else, or is damaged.
    """
    state = SweepState.of(read(sweep))
    if state.sweep:
        grown(state, spec, sweep)
    return state


def _is_known(trial: TrialRecord) -> bool:
    """Whether its outcome is that of its config and seed, whatever the study."""
    return trial.state in ("complete", "diverged") and trial.reused_from is None
