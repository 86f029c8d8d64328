"""The driver of a sweep: says what to run next and remembers what came of it.

Every method is: look at the state, append to the ledger, apply the record to the state. So a driver that is
killed at any moment and opened again on the same folder goes on as if nothing had happened.
"""

import hashlib
import reprlib
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from kdtrain.checkpoint import check_writable, write_atomically
from kdtrain.errors import InputError
from kdtrain.progress import EpochReport, TrainResult
from sweeps.allocation import next_confirmation, next_study
from sweeps.context import TrainContext, package_version
from sweeps.ledger import Ledger, is_driven, now, read
from sweeps.rungs import decide, milestones
from sweeps.search import propose
from sweeps.spec import Study, SweepSpec
from sweeps.state import UNFINISHED, SweepState, TrialRecord

ABORT_AFTER = 3
"""If so many trials have ended and all of them failed in the same way, the cause is not in the trials."""
_FREE = ("resources", "retries", "teacher.path")
"""Fields of a spec that may differ when a sweep is resumed: they change no result."""


class Idle(Enum):
    """Why there is no trial to start."""

    WAIT = "wait"
    """Nothing before a running trial ends."""
    DONE = "done"
    """Nothing ever."""


WAIT, DONE = Idle.WAIT, Idle.DONE


class SweepAborted(InputError):  # noqa: N818
    """All trials fail for one and the same cause."""


@dataclass(frozen=True)
class Crash:
    """A trial's attempt that ended in an error."""

    error: str
    trace: str = ""
    permanent: bool = False
    """Whether it would fail again in the same way, so that trying again is in vain."""

    @classmethod
    def of(cls, error: BaseException) -> "Crash":
        """The crash that an exception stands for; wrong input stays wrong."""
        if isinstance(error, InputError):
            return cls(str(error), permanent=True)
        trace = "".join(traceback.format_exception(error))
        return cls(f"{type(error).__name__}: {error}", trace)


class Driver:
    """One sweep in the folder `D`, opened to be run; a sweep that was begun before goes on."""

    def __init__(
        self,
        spec: SweepSpec,
        sweep: Path,
        context: TrainContext,
        notice: Callable[[str], None] = lambda text: None,
        clock: Callable[[], datetime] = now,
    ) -> None:
        """Open the ledger and take up what it says.

        Args:
            spec: What to do.
            sweep: The folder `D`.
            context: Data, teacher and environment of this session.
            notice: Told what the user should know but cannot change, such as a torn record.
            clock: The time of day, for tests.

        Raises:
            InputError: If `D` holds another sweep, is held by another driver, cannot be written, or is
                damaged.
        """
        check_writable(sweep)
        self.spec, self.sweep = spec, sweep
        self._ledger = Ledger(sweep, notice, clock)
        self._handed_out: set[str] = set()
        try:
            self.state = SweepState.of(self._ledger.found)
            self._take_up(context, clock)
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

    def workdir(self, trial_id: str) -> Path:
        """The folder of a trial, the same for every attempt."""
        return self.sweep / "trials" / trial_id

    def next(self) -> TrialRecord | Idle:
        """A trial to start: one that is still to be finished, else a newly proposed one."""
        if self.state.aborted:
            return DONE
        for trial in self.state.trials.values():
            if trial.state in UNFINISHED and trial.id not in self._handed_out:
                return self._hand_out(trial)
        while (study := next_study(self.spec, self.state)) is not None:
            told = self.state.of_study(study.name, "search")
            space, default = self.spec.space_of(study), self.spec.defaults(study)
            params = propose(study.name, space, self.spec.sampler, self.spec.seed, told, default)
            if params is not None:
                return self._propose(study, params, self.spec.seed)
            self._append("exhausted", study=study.name, reason="every config of its space was tried")
        wanted = next_confirmation(self.spec, self.state)
        if wanted is not None:
            params = wanted.candidate.params if wanted.candidate else {}
            return self._propose(wanted.study, params, wanted.seed, "confirm", wanted.candidate)
        if any(trial.state in UNFINISHED for trial in self.state.trials.values()):
            return WAIT
        if not self.state.finished:
            self._append("finished")
        return DONE

    def started(self, trial_id: str) -> None:
        """An attempt has begun."""
        self._append("started", trial=trial_id)

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
            SweepAborted: If all trials so far failed in the same way.
        """
        trial = self.state.trials[trial_id]
        self._handed_out.discard(trial_id)
        if trial.state not in UNFINISHED:
            return
        if trial.verdict:
            self._end_pruned(trial)
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
        write_atomically(self.sweep / "spec.yaml", self.spec.dump().encode())
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
            "kdsweep_version": package_version("kdsweep") or "unknown",
            "spec": self.spec.model_dump(mode="json"),
            "data": context.data,
        }

    def _check_same(self, context: TrainContext) -> None:
        _check_spec(self.state, self.spec, self.sweep)
        if changed := _difference(self.state.sweep["data"], context.data):
            path, old, new = changed
            raise InputError(
                f"the data have changed since {self.sweep} was begun: {path} was {old} and is {new}; "
                "put the data back, or start a new sweep in another --dir"
            )
        teacher, given = self.state.teacher, context.teacher
        if teacher and given and teacher["digest"] != given["digest"]:
            raise InputError(
                f"teacher: {self.sweep} was begun with the teacher {teacher['digest']}, but this one is "
                f"{given['digest']}; put the teacher back, or start a new sweep in another --dir"
            )

    def _propose(
        self,
        study: Study,
        params: Mapping[str, Any],
        seed: int,
        phase: Literal["search", "confirm"] = "search",
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
        return self._hand_out(self.state.trials[trial_id])

    def _hand_out(self, trial: TrialRecord) -> TrialRecord:
        self._handed_out.add(trial.id)
        return trial

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
        self._append("ended", trial=trial.id, state=outcome.state, reason=outcome.reason, result=result)

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
        reason = f"{crash.error}\n{crash.trace}".strip()
        if not crash.permanent and trial.crashes < self.spec.retries:
            self._append("retried", trial=trial.id, reason=reason)
            return
        self._append("ended", trial=trial.id, state="failed", reason=reason, result={})
        ended = [trial for trial in self.state.trials.values() if trial.state not in UNFINISHED]
        same = {(trial.state, (trial.reason or "").splitlines()[0]) for trial in ended if trial.reason}
        if len(ended) >= ABORT_AFTER and len(same) == 1 and all(trial.state == "failed" for trial in ended):
            cause = f"the first {len(ended)} trials all failed: {crash.error}"
            self._append("aborted", reason=cause)
            raise SweepAborted(f"{cause}; put it right and run the same command again, nothing is lost")

    def _append(self, kind: str, **data: Any) -> None:
        self.state.apply(self._ledger.append(kind, data))


def check_folder(spec: SweepSpec, sweep: Path) -> None:
    """Whether a sweep may be run in a folder, to be asked before anything long is done for it.

    Raises:
        InputError: If the folder holds another sweep, or another driver is running it.
    """
    if is_driven(sweep):
        raise InputError(f"another driver is running the sweep in {sweep}; wait for it or end it first")
    _check_spec(SweepState.of(read(sweep)), spec, sweep)


def _check_spec(state: SweepState, spec: SweepSpec, sweep: Path) -> None:
    if not state.sweep:
        return
    known = state.sweep["spec"]
    if found := _difference(known, spec.model_dump(mode="json"), skip=_FREE):
        path, old, new = found
        raise InputError(
            f"{sweep} already holds the sweep {known['name']}, in which {path} is {old} and not {new}; "
            f"choose another --dir, or run {sweep / 'spec.yaml'} to go on with it"
        )


def _difference(
    old: Any, new: Any, path: tuple[str, ...] = (), skip: tuple[str, ...] = ()
) -> tuple[str, str, str] | None:
    """The first dotted path at which two plain values differ, and both values there, shortened."""
    if ".".join(path) in skip or old == new:
        return None
    pairs: list[tuple[str, Any, Any]] = []
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        pairs = [(str(key), old.get(key), new.get(key)) for key in {**old, **new}]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(_label(one, index), one, other) for index, (one, other) in enumerate(zip(old, new, strict=True))]
    if not pairs:
        return ".".join(path), reprlib.repr(old), reprlib.repr(new)
    found = (_difference(one, other, (*path, label), skip) for label, one, other in pairs)
    return next((difference for difference in found if difference), None)


def _label(item: Any, index: int) -> str:
    return str(item["name"]) if isinstance(item, Mapping) and "name" in item else str(index)
