"""What a tracker shows of a trial, or of a proposal that made no valid config: pure functions of the sweep's state.

A tracker holds a copy of the sweep, run by run. So nothing has to be replayed after a kill, a lost connection or a
resume: what the tracker lacks follows from what the ledger says and from what the tracker holds (`lacking`).
"""

import hashlib
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from kdtrain.loop.evaluation import Evaluation
from kdtrain.loop.reports import OUTSIDE, EpochReport, Part
from kdtrain.redact import redacted
from kdtrain.space import Scalar
from sweeps.driver.fresh_scores import counted_score
from sweeps.ledger import sweep_events
from sweeps.ledger.events import Event, trial_of
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_events import Ended, Infeasible
from sweeps.ledger.trial_record import InvalidProposal, TrialRecord
from sweeps.ledger.trial_state import Phase, TrialState
from sweeps.outcome.tabulate import report_values
from sweeps.spec.spec import SweepSpec

RUNNING: Final = "running"
INTERRUPTED: Final = "interrupted"
"""The driver has stopped; the same command continues the run."""
PAUSED: Final = "paused"
"""A rung has stopped the trial, and may let it go on until the sweep has finished."""
INFEASIBLE: Final = "infeasible"
"""Parameters that made no valid config, so that nothing was trained."""
WINNER: Final = "winner"
"""In a summary: 1 for the config that was chosen, 0 for the other configs that were trained on fresh seeds."""
_LONGEST = 500
"""Characters of a reason."""
_ALL = (
    sweep_events.SessionBegun,
    sweep_events.Grown,
    sweep_events.Aborted,
    sweep_events.Finished,
    sweep_events.Frozen,
)
"""Events after which any run may have changed; the first one of a resumed driver is among them."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch of a run.

    Attributes:
        number: From 1.
        at: When it ended, by the seconds of training before, so that it is the same whenever it is computed.
        values: The metrics by name, as in the table `metrics`.
    """

    number: int
    at: datetime
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """A run of a tracker: one trial with all its attempts, or one proposal that made no valid config.

    Attributes:
        id: Names it among all runs of the sweep; another config has another id.
        name: The id of the trial.
        study: Its study, the group of the run.
        phase: What the trial is for, see `sweeps.ledger.trial_state.Phase`.
        params: What the search chose, by dotted path.
        tags: Its seed, its config, and where it comes from, as texts.
        reports: The report of every epoch.
        scores: What the trial would be worth if an epoch were its last one, by epoch; fractions 0..1.
        began: When it began, UTC.
        state: `running`, `interrupted`, `paused`, `complete`, `pruned`, `diverged`, `failed` or `infeasible`.
        reason: Why it is not complete, in one line.
        ended: When it ended; none while it runs.
        summary: `score`; `fresh/mean`, `fresh/sd` and `fresh/seeds` of its config on fresh seeds, `final/...` on final
            seeds; and `winner`.
    """

    id: str
    name: str
    study: str
    phase: str
    params: Mapping[str, Scalar]
    tags: Mapping[str, str]
    began: datetime
    state: str
    reports: Mapping[int, EpochReport] = field(default_factory=dict)
    scores: Mapping[int, float] = field(default_factory=dict)
    reason: str = ""
    ended: datetime | None = None
    summary: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether no epoch is to come in this session."""
        return self.state != RUNNING

    @property
    def last_epoch(self) -> int:
        """The last epoch that was reported; 0 before the first."""
        return max(self.reports, default=0)

    def epochs_after(self, epoch: int) -> tuple[Epoch, ...]:
        """The epochs behind one, in order."""
        at, epochs = self.began, []
        for number, report in sorted(self.reports.items()):
            at += timedelta(seconds=sum(report.seconds.get(part, 0.0) for part in (Part.TOTAL, *OUTSIDE)))
            if number > epoch:
                values = {name: value for name, value in report_values(report).items() if value is not None}
                epochs.append(Epoch(number, at, values))
        return tuple(epochs)


@dataclass(frozen=True, slots=True)
class Held:
    """What a tracker holds of a run.

    Attributes:
        epoch: The last epoch; 0 before the first.
        state: The state of the run there.
        summary: Its summary there.
    """

    epoch: int = 0
    state: str = RUNNING
    summary: Mapping[str, float] = field(default_factory=dict)

    def to_json(self, run_id: str) -> str:
        """The same as one text, for trackers that keep it beside a run."""
        return json.dumps({"run": run_id, "epoch": self.epoch, "state": self.state, "summary": dict(self.summary)})

    @classmethod
    def from_json(cls, text: str | bytes) -> tuple[str, "Held"]:
        """The inverse of `to_json`: the id of the run, and what is held of it."""
        content = json.loads(text)
        return content["run"], cls(content["epoch"], content["state"], content["summary"])


@dataclass(frozen=True, slots=True)
class Lacking:
    """What a tracker lacks of a run.

    Attributes:
        starts: Whether the run is to be begun, or to be opened again after it had ended.
        epochs: The epochs that are to be sent.
        summarizes: Whether its summary is to be sent.
        ends: Whether its end is to be sent.
    """

    starts: bool
    epochs: tuple[Epoch, ...]
    summarizes: bool
    ends: bool


def lacking(run: TrackedRun, held: Held | None) -> Lacking:
    """What is to be sent of a run to a tracker that holds a part of it; none for a tracker that has not begun it."""
    before = held or Held()
    epochs = run.epochs_after(before.epoch)
    starts = held is None or (before.state != RUNNING and (bool(epochs) or run.state != before.state))
    ends = run.is_over and (starts or run.state != before.state)
    summarizes = any(before.summary.get(name) != value for name, value in run.summary.items())
    return Lacking(starts, epochs, summarizes, ends)


def keys_after(event: Event, state: SweepState) -> Iterator[str]:
    """The keys of the runs that an event may have changed, for `tracked_run`."""
    if isinstance(event, _ALL):
        yield from state.trials
        for study, proposals in state.searches.invalid.items():
            yield from (_invalid_key(study, number) for number in range(len(proposals)))
    elif isinstance(event, Infeasible):
        yield _invalid_key(event.study, len(state.searches.invalid[event.study]) - 1)
    elif (trial_id := trial_of(event)) is not None:
        yield trial_id
        if isinstance(event, Ended) and state.trials[trial_id].phase.is_fresh:
            candidate = _summarized(state, state.trials[trial_id])
            yield from (candidate,) if candidate not in (None, trial_id) else ()


def tracked_run(spec: SweepSpec, state: SweepState, key: str, winner: str | None = None) -> TrackedRun | None:
    """The run of a key; none for a trial of which no attempt has begun.

    Args:
        spec: The sweep's spec.
        state: Its state.
        key: From `keys_after`.
        winner: The id of the trial whose config was chosen, once the sweep has finished.
    """
    trial = state.trials.get(key)
    if trial is None:
        study, _, number = key.rpartition("/")
        return _of_invalid(state, study, int(number))
    if not (trial.attempts or trial.reused_from or trial.state.is_over):
        return None
    over = trial.state.is_over
    pauses = getattr(spec.scheduler, "mode", "stop") == "pause" and not state.finished
    paused = pauses and trial.state is TrialState.PRUNED
    return TrackedRun(
        id=f"{trial.id}-{trial.config_id[:8]}",
        name=trial.id,
        study=trial.study,
        phase=str(trial.phase),
        params=_safe(trial.params),
        tags=_tags(trial),
        began=datetime.fromisoformat(_source(state, trial).started_at or state.begun_at),
        state=PAUSED if paused else str(trial.state) if over else RUNNING,
        reports=dict(trial.reports),
        scores=trial.curve,
        reason=_one_line(trial.reason) if over else "",
        ended=datetime.fromisoformat(trial.ended_at) if over and trial.ended_at else None,
        summary=_summary(spec, state, trial, winner),
    )


def summarized_trial(state: SweepState, study: str, candidate: str | None) -> str | None:
    """The trial whose run shows the fresh seeds of a config: the searched one, or else the first on a fresh seed."""
    if candidate is not None:
        return candidate
    fresh = [*state.of_study(study, Phase.CONFIRM), *state.of_study(study, Phase.FINAL)]
    return next((trial.id for trial in fresh if trial.candidate_of is None), None)


def _summarized(state: SweepState, trial: TrialRecord) -> str | None:
    return summarized_trial(state, trial.study, trial.candidate_of)


def _source(state: SweepState, trial: TrialRecord) -> TrialRecord:
    """The trial that has trained what a trial shows."""
    return trial if trial.reused_from is None else _source(state, state.trials[trial.reused_from])


def _of_invalid(state: SweepState, study: str, number: int) -> TrackedRun:
    proposal: InvalidProposal = state.searches.invalid[study][number]
    params = _safe(proposal.params)
    digest = hashlib.sha256(json.dumps(params, sort_keys=True, default=str).encode()).hexdigest()[:8]
    at = datetime.fromisoformat(state.begun_at)
    name = f"{study}-infeasible-{number}"
    tags = {"search": str(proposal.search)}
    reason = _one_line(proposal.reason)
    return TrackedRun(
        f"{name}-{digest}", name, study, str(Phase.SEARCH), params, tags, at, INFEASIBLE, reason=reason, ended=at
    )


def _invalid_key(study: str, number: int) -> str:
    return f"{study}/{number}"


def _tags(trial: TrialRecord) -> Mapping[str, str]:
    tags: dict[str, object] = {
        "seed": trial.seed,
        "search": trial.search,
        "config_id": trial.config_id,
        "epochs": trial.epochs,
        "candidate_of": trial.candidate_of,
        "reused_from": trial.reused_from,
    }
    return {name: str(value) for name, value in tags.items() if value is not None}


def _summary(spec: SweepSpec, state: SweepState, trial: TrialRecord, winner: str | None) -> Mapping[str, float]:
    summary = {} if trial.score is None else {"score": trial.score}
    if trial.id != summarized_trial(state, trial.study, None if trial.phase.is_fresh else trial.id):
        return summary
    candidate = trial.candidate_of if trial.phase.is_fresh else trial.id
    for phase, name in ((Phase.CONFIRM, "fresh"), (Phase.FINAL, "final")):
        runs = [run for run in state.of_study(trial.study, phase) if run.candidate_of == candidate]
        scores = [_fresh_score(spec, state, run) for run in runs if run.state.is_over]
        summary |= _moments(name, [score for score in scores if score is not None])
    if winner is not None and len(summary) > 1:
        summary[WINNER] = float(trial.id == winner)
    return summary


def _fresh_score(spec: SweepSpec, state: SweepState, trial: TrialRecord) -> float | None:
    """The score on a fresh seed as the selection counts it; on a final seed that on role test, if it was read."""
    if trial.result.held_out is not None:
        return Evaluation.from_dict(dict(trial.result.held_out)).miou
    return counted_score(spec, state, trial)


def _moments(name: str, scores: Sequence[float]) -> dict[str, float]:
    if not scores:
        return {}
    moments = {f"{name}/mean": statistics.fmean(scores), f"{name}/seeds": float(len(scores))}
    return moments | ({f"{name}/sd": statistics.stdev(scores)} if len(scores) > 1 else {})


def _safe(params: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Parameters without secrets."""
    return {name: _hidden(name, value) if isinstance(value, str) else value for name, value in params.items()}


def _hidden(name: str, value: str) -> str:
    label = f"{name.rpartition('.')[2]}="
    return redacted(label + value).removeprefix(label)


def _one_line(reason: str | None) -> str:
    return redacted((reason or "").strip().partition("\n")[0])[:_LONGEST]
