"""What is known about a sweep: a fold over the records of its ledger. `SweepState.apply` alone changes it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from analysis.tables import scores
from sweeps.ledger.failure import Failure
from sweeps.ledger.ledger import Record

TrialState = Literal["planned", "running", "complete", "pruned", "diverged", "failed"]
Phase = Literal["search", "confirm", "report"]
"""Searching, fresh seeds for the best configs, and seeds of their own for what is frozen."""
PHASES = get_args(Phase)
UNFINISHED = ("planned", "running")


@dataclass
class TrialRecord:
    """One trial as far as it has come."""

    id: str
    study: str
    number: int
    phase: Phase
    candidate_of: str | None
    seed: int
    params: dict[str, Any]
    """What the search chose, by dotted path; empty where nothing is searched."""
    config: dict[str, Any]
    config_id: str
    state: TrialState = "planned"
    reason: str | None = None
    attempts: int = 0
    crashes: dict[Failure, int] = field(default_factory=dict)
    """Attempts that ended in an error, by kind; others were cut short together with their driver."""
    retries: int = 0
    """How often it was tried again after an error."""
    failure: Failure | None = None
    """Of what its last attempt died, if it did."""
    gpu: float | None = None
    """The share of a GPU that it was given after it had run out of memory; none for that of all trials."""
    reused_from: str | None = None
    """The trial whose outcome was taken over, because it had been run already."""
    node: str | None = None
    """Where its last attempt ran."""
    reports: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The first report of every epoch."""
    verdict: dict[str, Any] | None = None
    """The decision to stop it, once taken."""
    result: dict[str, Any] = field(default_factory=dict)
    """epochs_run, seconds, teacher_s, student, evaluation, held_out: what it ended with."""
    started_at: str | None = None
    ended_at: str | None = None
    environment_id: str | None = None

    @property
    def epochs(self) -> int:
        """The epochs that were planned."""
        return int(self.config["epochs"])

    @property
    def epochs_run(self) -> int:
        """The epochs that were run so far, each counted once."""
        known = self.result.get("epochs_run")
        return int(known) if known is not None else max(self.reports, default=0)

    @property
    def committed(self) -> int:
        """What it takes from its study's budget, in epochs: all that are planned until it has ended."""
        return self.epochs if self.state in UNFINISHED else self.epochs_run

    @property
    def seconds(self) -> float:
        """Seconds of training so far, all attempts."""
        known = self.result.get("seconds")
        return float(known) if known is not None else sum(r["seconds"].get("total", 0.0) for r in self.reports.values())

    @property
    def curve(self) -> dict[int, float]:
        """The metric that is searched for, by epoch; evaluated epochs only."""
        metric = scores.METRIC
        return {
            epoch: report["metrics"][metric]
            for epoch, report in self.reports.items()
            if report["metrics"].get(metric) is not None
        }

    @property
    def score(self) -> float | None:
        """What it is worth; none unless complete."""
        if self.state != "complete":
            return None
        return scores.score((epoch, report["metrics"]) for epoch, report in self.reports.items())


@dataclass
class SweepState:
    """The whole sweep as far as it has come."""

    sweep: dict[str, Any] = field(default_factory=dict)
    """sweep_id, spec, created_at, data, teacher and versions; empty before the first record."""
    teacher: dict[str, Any] | None = None
    environments: dict[str, dict[str, Any]] = field(default_factory=dict)
    environment_id: str | None = None
    trials: dict[str, TrialRecord] = field(default_factory=dict)
    """By id, in the order in which they were proposed."""
    by_study: dict[str, list[TrialRecord]] = field(default_factory=dict)
    """The same, by study."""
    exhausted: dict[str, str] = field(default_factory=dict)
    """Why a study proposes nothing more although it has budget left."""
    decisions: list[dict[str, Any]] = field(default_factory=list)
    aborted: str | None = None
    finished: bool = False
    frozen: dict[str, Any] | None = None
    """The selection that is final: chosen and baseline config, tie set, reporting seeds, when."""
    last: Record | None = None

    @classmethod
    def of(cls, records: Iterable[Record]) -> "SweepState":
        """The state after some records."""
        state = cls()
        for record in records:
            state.apply(record)
        return state

    def of_study(self, study: str, phase: str | None = None) -> list[TrialRecord]:
        """The trials of a study, in order of their number."""
        return [trial for trial in self.by_study.get(study, []) if phase in (None, trial.phase)]

    def of_phase(self, phase: Phase) -> list[TrialRecord]:
        """The trials of a phase, in the order in which they were proposed."""
        return [trial for trial in self.trials.values() if trial.phase == phase]

    def apply(self, record: Record) -> None:
        """Take in what happened."""
        getattr(self, f"_{record.kind}")(record, **record.data)
        self.last = record

    def _sweep(self, record: Record, **data: Any) -> None:
        self.sweep = {**data, "created_at": record.at}

    def _session(self, record: Record, environment: dict[str, Any]) -> None:
        self.environment_id = environment["environment_id"]
        self.environments[environment["environment_id"]] = environment
        self.finished, self.aborted = False, None
        for trial in self.trials.values():
            if trial.state == "running":
                trial.state = "planned"
        self._note_decision(record, detail=f"environment {self.environment_id}")

    def _grown(self, record: Record, spec: dict[str, Any], changes: list[str]) -> None:
        self.sweep["spec"] = spec
        self._note_decision(record, detail="; ".join(changes))

    def _teacher(self, record: Record, **data: Any) -> None:
        self.teacher = data

    def _proposed(self, record: Record, **data: Any) -> None:
        trial = TrialRecord(**data)
        self.trials[trial.id] = trial
        self.by_study.setdefault(trial.study, []).append(trial)
        self._note_decision(record, trial, detail=trial.phase)

    def _started(self, record: Record, trial: str) -> None:
        it = self.trials[trial]
        it.state = "running"
        it.attempts += 1
        it.started_at = it.started_at or record.at
        it.environment_id = self.environment_id
        self._note_decision(record, it, detail=f"attempt {it.attempts}")

    def _located(
        self, record: Record, trial: str, environment_id: str, node: str | None, environment: dict[str, Any] | None
    ) -> None:
        """Where an attempt runs; the environment is told in full the first time."""
        if environment is not None:
            self.environments[environment_id] = environment
        self.trials[trial].environment_id, self.trials[trial].node = environment_id, node

    def _reused(self, record: Record, trial: str, source: str) -> None:
        self.trials[trial].reused_from = source
        self.trials[trial].environment_id = self.trials[source].environment_id
        self.trials[trial].node = self.trials[source].node
        self._note_decision(record, self.trials[trial], detail=f"same config and seed as {source}")

    def _report(self, record: Record, trial: str, report: dict[str, Any]) -> None:
        self.trials[trial].reports.setdefault(report["epoch"], report)

    def _promoted(self, record: Record, trial: str, **verdict: Any) -> None:
        self._note_decision(record, self.trials[trial], **_verdict(verdict))

    def _stopped(self, record: Record, trial: str, **verdict: Any) -> None:
        self.trials[trial].verdict = verdict
        self._note_decision(record, self.trials[trial], **_verdict(verdict))

    def _ended(
        self,
        record: Record,
        trial: str,
        state: TrialState,
        reason: str | None,
        result: dict[str, Any],
        failure: Failure | None = None,
    ) -> None:
        it = self.trials[trial]
        it.state, it.reason, it.result, it.ended_at = state, reason, result, record.at
        it.failure = None
        if state == "failed":
            it.failure = failure or "error"
            it.crashes[it.failure] = it.crashes.get(it.failure, 0) + 1
        detail = state if reason is None else f"{state}: {reason.splitlines()[0]}"
        self._note_decision(record, it, epoch=it.epochs_run, value=it.score, detail=detail)

    def _retried(
        self, record: Record, trial: str, reason: str, failure: Failure = "error", gpu: float | None = None
    ) -> None:
        it = self.trials[trial]
        it.state, it.reason, it.failure = "planned", reason, failure
        it.retries += 1
        it.crashes[failure] = it.crashes.get(failure, 0) + 1
        it.gpu = gpu or it.gpu
        self._note_decision(record, it, detail=reason.splitlines()[0])

    def _interrupted(self, record: Record, trial: str) -> None:
        """An attempt was asked to leave, and has saved itself."""
        self.trials[trial].state = "planned"
        self._note_decision(record, self.trials[trial], detail="saved where it was")

    def _left(self, record: Record, reason: str) -> None:
        """The driver was asked to leave."""
        self._note_decision(record, detail=reason)

    def _exhausted(self, record: Record, study: str, reason: str) -> None:
        self.exhausted[study] = reason
        self._note_decision(record, study=study, detail=reason)

    def _aborted(self, record: Record, reason: str) -> None:
        """All trials failed for a cause outside of them: they are still to be run."""
        self.aborted = reason
        for trial in self.trials.values():
            if trial.state == "failed":
                trial.state, trial.crashes, trial.result, trial.ended_at = "planned", {}, {}, None
                trial.gpu = None
        self._note_decision(record, detail=reason)

    def _note(self, record: Record, text: str) -> None:
        self._note_decision(record, detail=text)

    def _frozen(self, record: Record, **data: Any) -> None:
        """The selection is final; what is known until here has decided it."""
        self.frozen = {**data, "at": record.at, "record": record.n}
        chosen = data["chosen"]
        self._note_decision(record, study=chosen["study"], trial_id=chosen["trial"], detail=data["why"])

    def _report_read(self, record: Record, trial: str, digest: str, images: int) -> None:
        """A student was evaluated on the role report."""
        self._note_decision(record, self.trials[trial], detail=f"{images} images of role report, digest {digest}")

    def _finished(self, record: Record) -> None:
        self.finished = True
        self._note_decision(record)

    def _note_decision(
        self, record: Record, trial: TrialRecord | None = None, detail: str = "", **columns: Any
    ) -> None:
        """One row of the table of decisions."""
        of_trial = {} if trial is None else {"trial_id": trial.id, "study": trial.study}
        self.decisions.append(
            {"n": record.n, "at": record.at, "kind": record.kind, **of_trial, **columns, "detail": detail}
        )


def _verdict(verdict: Mapping[str, Any]) -> dict[str, Any]:
    detail = f"best {verdict['kept']} of {verdict['entered']} in the rung go on"
    return {"epoch": verdict["epoch"], "rung": verdict["rung"], "value": verdict["value"], "detail": detail}
