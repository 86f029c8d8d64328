"""The state of a sweep: a fold over the records of its ledger. `SweepState.apply` alone changes it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, assert_never, cast

from kdtrain.deploy.speed import Cost
from kdtrain.errors import InputError
from kdtrain.explain import kind_and_line
from kdtrain.loop.reports import EpochReport
from kdtrain.models import Network
from sweeps.ledger import sweep_events, trial_events
from sweeps.ledger.event_base import Content, Environment
from sweeps.ledger.events import Event, trial_of
from sweeps.ledger.failure import recorded_failure
from sweeps.ledger.gpu_use import GpuUse, students_at
from sweeps.ledger.looks import FreshRun, Look, look_at, taken
from sweeps.ledger.pace import MemoryUse, Pace
from sweeps.ledger.record import Record
from sweeps.ledger.search_name import search_name
from sweeps.ledger.sharing import Shared
from sweeps.ledger.tally import Tally
from sweeps.ledger.trial_events import TrialOutcome
from sweeps.ledger.trial_record import InvalidProposal, SearchEnd, TrialRecord
from sweeps.ledger.trial_state import Phase, TrialState


@dataclass(frozen=True, slots=True)
class LastLook:
    """A planned look.

    Attributes:
        look: What was decided.
        data: The trainings that its words were about.
        failed: Those of them that had failed: once one has run again, there is more to read.
    """

    look: sweep_events.Looked
    data: frozenset[FreshRun]
    failed: frozenset[str]


class Decision(NamedTuple):
    """A row of the table of decisions: what happened, when, and to which trial or study."""

    n: int
    at: str
    kind: str
    detail: str = ""
    trial_id: str | None = None
    study: str | None = None
    epoch: int | None = None
    rung: int | None = None
    value: float | None = None


@dataclass
class SweepState:
    """The state of the whole sweep."""

    begun: sweep_events.SweepBegun | None = None
    """Identity, spec and data of the sweep; none before the first record. A spec that has grown is the grown one."""
    begun_at: str = ""
    teacher: sweep_events.TeacherKnown | None = None
    costs: dict[str, Cost] = field(default_factory=dict)
    """What the students cost that a target has made the sweep measure, by the network as JSON."""
    calibrations: list[sweep_events.PullsMeasured] = field(default_factory=list)
    """In the order in which they were made."""
    pulls: dict[str, dict[str, float]] = field(default_factory=dict)
    """The same by the `config_id` of the untaught training, and then by options: the pulls of terms at weight 1."""
    environments: dict[str, Environment] = field(default_factory=dict)
    environment_id: str | None = None
    codes: dict[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    """By digest, the versions of the training code that attempts ran on: modules by part."""
    trials: dict[str, TrialRecord] = field(default_factory=dict)
    """By id, in the order in which they were proposed."""
    by_study: dict[str, list[TrialRecord]] = field(default_factory=dict)
    """The same, by study."""
    invalid: dict[str, list[InvalidProposal]] = field(default_factory=dict)
    """What the searches of a study proposed in vain."""
    proposals: dict[str, list[TrialRecord | InvalidProposal]] = field(default_factory=dict)
    """By `search_name`, all that a search has proposed, in order."""
    ends: dict[str, list[SearchEnd]] = field(default_factory=dict)
    """By `search_name`, the ends of what it has proposed, in order; a trial that goes on may have several."""
    in_vain: dict[str, int] = field(default_factory=dict)
    """By `search_name`, how many proposals in a row made no valid config, up to the last one."""
    exhausted: dict[str, str] = field(default_factory=dict)
    """By `search_name`, why a search proposes nothing more although it has budget left."""
    pace: Pace = field(default_factory=Pace)
    """How long epochs have taken."""
    retries: int = 0
    """Attempts that were repeated after an error."""
    most_memory: MemoryUse | None = None
    """The report of the trial that has held the largest share of its GPU; none without a GPU."""
    decisions: list[Decision] = field(default_factory=list)
    command: sweep_events.Command | None = None
    """The command that began the last session; none if that is not known."""
    aborted: str | None = None
    finished: bool = False
    gpu_use: GpuUse = field(default_factory=GpuUse)
    """What the trials have measured of their GPUs."""
    looks: list[Look] = field(default_factory=list)
    """The looks at the words of the sweep so far, one for each time that there was something new to read."""
    last_look: LastLook | None = None
    """The last planned look."""
    frozen: sweep_events.Frozen | None = None
    """The selection that is final."""
    frozen_by: Record | None = None
    """Its record."""
    last: Record | None = None
    _tally: Tally[TrialRecord] = field(default_factory=Tally, repr=False, compare=False)
    _changed: dict[str, TrialRecord] = field(default_factory=dict, repr=False, compare=False)
    """By id, the trials to which something has happened since they were counted."""
    _reported: dict[str, TrialRecord] = field(default_factory=dict, repr=False, compare=False)
    """By id, those of which an epoch has ended since."""
    _configs: dict[str, Shared] = field(default_factory=dict, repr=False, compare=False)
    _evaluations: dict[str, Shared] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, records: Iterable[Record]) -> "SweepState":
        """The state after some records.

        Raises:
            InputError: If a later version wrote one of them.
        """
        state = cls()
        for record in records:
            state.apply(record)
        return state

    @property
    def sweep(self) -> sweep_events.SweepBegun:
        """Identity, spec and data of a sweep that was begun."""
        assert self.begun is not None, "the ledger has no record of a sweep"
        return self.begun

    @property
    def tally(self) -> Tally[TrialRecord]:
        """Counts and budgets of the trials by search, and which of them are unfinished.

        A trial is counted when somebody looks, so that a ledger is read without counting each trial at each event.
        """
        if self._changed or self._reported:
            for trial in self._changed.values():
                self._tally.update(trial)
            for trial in self._reported.values():
                if trial.state.is_unfinished or trial.id not in self._changed:
                    self._tally.reported(trial)
            self._changed, self._reported = {}, {}
        return self._tally

    def trial(self, study: str, number: int) -> TrialRecord:
        """A trial of a study, by its number, from 0 in the order in which they were proposed."""
        return self.by_study[study][number]

    @property
    def score_evaluations(self) -> int:
        """The evaluations whose mean is the score of a trial, which a begun sweep cannot change."""
        recorded = cast(Mapping[str, int], self.sweep.spec.get("score", {}))
        return recorded.get("last", 1)

    def of_study(self, study: str, phase: Phase | None = None, search: int | None = None) -> Sequence[TrialRecord]:
        """The trials of a study, or of one of its searches, in order of their number."""
        if phase is Phase.SEARCH and search is not None:
            return self.tally.of_search(study, search).trials
        trials = self.by_study.get(study, []) if phase is None else self.tally.of_study(study, phase)
        return trials if search is None else [trial for trial in trials if trial.search == search]

    def proposed(self, study: str, search: int = 1) -> Sequence[TrialRecord | InvalidProposal]:
        """All that a search of a study has proposed, in order: its trials, also left out ones, and what was invalid."""
        return self.proposals.get(search_name(study, search), [])

    def of_phase(self, phase: Phase) -> Sequence[TrialRecord]:
        """The trials of a phase, in the order in which they were proposed."""
        return self.tally.phases.get(phase, [])

    @property
    def failed_fresh(self) -> frozenset[str]:
        """The trials on fresh seeds that have failed: some may run again when the sweep is resumed."""
        return frozenset(trial.id for trial in self.of_phase(Phase.CONFIRM) if trial.state is TrialState.FAILED)

    def look_now(self) -> Look:
        """What can be read now, on the fresh seeds that have been begun."""
        fresh = (
            FreshRun(trial.id, trial.study, trial.candidate_of, trial.seed)
            for trial in self.of_phase(Phase.CONFIRM)
            if trial.candidate_of is None or self.trials[trial.candidate_of].phase is not Phase.LEFT_OUT
        )
        return look_at(self.sweep.spec, fresh)

    def apply(self, record: Record) -> Event:
        """Take in what a record says.

        Returns:
            What it says.

        Raises:
            InputError: If a later version wrote the record, or it does not fit the records before it.
        """
        event = record.event
        try:
            self._apply(record, event)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"ledger: record {record.n} of kind {record.kind} does not fit the records before it "
                f"({kind_and_line(error)}); put back the ledger from a copy"
            ) from error
        if (trial_id := trial_of(event)) is not None:
            is_report = isinstance(event, trial_events.EpochReported)
            (self._reported if is_report else self._changed)[trial_id] = self.trials[trial_id]
        self.last = record
        return event

    def _apply(self, record: Record, event: Event) -> None:
        match event:
            case trial_events.EpochReported():
                self._report(self.trials[event.trial], event.report)
            case trial_events.Promoted():
                self._go_on(self.trials[event.trial])
                self._note_rung(record, event)
            case trial_events.Stopped():
                self.trials[event.trial].stopped = event
                self._note_rung(record, event)
            case trial_events.Proposed():
                self._add_trial(record, event)
            case trial_events.Started():
                self._start(record, event)
            case trial_events.Located():
                self._locate(event)
            case sweep_events.CodeKnown():
                self.codes[event.digest] = event.parts
            case trial_events.Ended():
                self._end(record, event)
            case trial_events.Reused():
                self._reuse(record, event)
            case trial_events.Retried():
                self._retry(record, event)
            case trial_events.AttemptInterrupted():
                self.trials[event.trial].state = TrialState.PLANNED
                self._note(record, event, self.trials[event.trial], detail="saved where it was")
            case trial_events.TestRead():
                detail = f"{event.images} images of role test, digest {event.digest}"
                self._note(record, event, self.trials[event.trial], detail=detail)
            case sweep_events.SweepBegun():
                self.begun, self.begun_at = event, record.at
            case sweep_events.TeacherKnown():
                self.teacher = event
            case sweep_events.PullsMeasured():
                self.calibrations.append(event)
                self.pulls[event.config_id] = event.ratios | self.pulls.get(event.config_id, {})
                detail = f"{len(event.terms)} losses at steps {', '.join(map(str, event.steps))}"
                self._note(record, event, detail=detail)
            case sweep_events.StudentMeasured():
                network, cost = Network.model_validate(event.network), Cost.model_validate(event.cost)
                self.costs[network.model_dump_json()] = cost
                self._note(record, event, detail=f"{event.title}: {cost.in_words}")
            case sweep_events.SessionBegun():
                self._begin_session(record, event)
            case sweep_events.Grown():
                self._grow(record, event)
            case trial_events.Infeasible():
                self._note_invalid(record, event)
            case sweep_events.Exhausted():
                self.exhausted[search_name(event.study, event.search)] = event.reason
                self._note(record, event, study=event.study, detail=_of_search(event.search, event.reason))
            case sweep_events.Aborted():
                self._abort(record, event)
            case sweep_events.Frozen():
                self.frozen, self.frozen_by = event, record
                self._note(record, event, study=event.chosen.study, trial_id=event.chosen.trial, detail=event.why)
            case sweep_events.Looked():
                now = self.look_now()
                self.looks, self.last_look = taken(self.looks, now), LastLook(event, now.data, self.failed_fresh)
                detail = f"{event.seeds} seeds: {event.reason}; {'more seeds' if event.goes_on else 'no more seeds'}"
                self._note(record, event, detail=detail)
            case sweep_events.Finished():
                self.finished, self.looks = True, taken(self.looks, self.look_now())
                self._note(record, event)
            case sweep_events.DriverStopped():
                self._note(record, event, detail=event.reason)
            case sweep_events.Note():
                self._note(record, event, detail=event.text)
            case _:
                assert_never(event)

    def _begin_session(self, record: Record, event: sweep_events.SessionBegun) -> None:
        self.environment_id = str(event.environment["environment_id"])
        self.environments[self.environment_id] = event.environment
        self.command = event.command
        self.finished, self.aborted = False, None
        for trial in self.tally.unfinished:
            trial.state = TrialState.PLANNED
            self._changed[trial.id] = trial
        self._note(record, event, detail=f"environment {self.environment_id}")

    def _grow(self, record: Record, event: sweep_events.Grown) -> None:
        self.begun = replace(self.sweep, spec=event.spec, foreign=event.foreign or self.sweep.foreign)
        for study, left_out in event.corrected.items():
            for of_search in (self.exhausted, self.in_vain):
                for name in [name for name in of_search if name.partition("/")[0] == study]:
                    del of_search[name]
            for trial in (self.trials[trial_id] for trial_id in left_out):
                trial.phase = Phase.LEFT_OUT
                if trial.state.is_unfinished:
                    trial.state, trial.ended_at = TrialState.FAILED, record.at
                    trial.reason = "its parameters lie outside of the corrected space"
        self._tally, self._changed, self._reported = Tally.of(self.trials.values()), {}, {}
        self._note(record, event, detail="; ".join(event.changes))

    def _note_invalid(self, record: Record, event: trial_events.Infeasible) -> None:
        proposal = InvalidProposal(event.params, event.reason, event.search)
        name = search_name(event.study, event.search)
        self.invalid.setdefault(event.study, []).append(proposal)
        self.proposals.setdefault(name, []).append(proposal)
        self.ends.setdefault(name, []).append(SearchEnd(proposal, proposal.state, 0))
        self.in_vain[name] = self.in_vain.get(name, 0) + 1
        params = ", ".join(f"{path}={value}" for path, value in event.params.items())
        detail = f"{params}: {event.reason}" if params else event.reason
        self._note(record, event, study=event.study, detail=_of_search(event.search, detail))

    def _add_trial(self, record: Record, event: trial_events.Proposed) -> None:
        trial = TrialRecord(
            id=event.id,
            study=event.study,
            number=event.number,
            phase=event.phase,
            candidate_of=event.candidate_of,
            seed=event.seed,
            params=event.params,
            config=self._configs.setdefault(event.study, Shared())(event.config),
            config_id=event.config_id,
            search=event.search,
            last=self.score_evaluations,
        )
        name = search_name(trial.study, trial.search)
        if trial.phase is Phase.SEARCH:
            trial.number_in_search = self._next_in_search(name)
        self.trials[trial.id] = trial
        self.by_study.setdefault(trial.study, []).append(trial)
        if trial.phase.is_searched:
            self.proposals.setdefault(name, []).append(trial)
        if trial.phase is Phase.SEARCH:
            self.in_vain.pop(name, None)
        self._note(record, event, trial, detail=_of_search(trial.search, trial.phase))

    def _next_in_search(self, name: str) -> int:
        """The number in its search of the next trial of a search, by the search's name."""
        for earlier in reversed(self.proposals.get(name, ())):
            if isinstance(earlier, TrialRecord) and earlier.phase is Phase.SEARCH:
                return earlier.number_in_search + 1
        return 0

    def _start(self, record: Record, event: trial_events.Started) -> None:
        trial = self.trials[event.trial]
        trial.share = event.gpu
        trial.state = TrialState.RUNNING
        trial.attempts += 1
        trial.started_at = trial.started_at or record.at
        trial.environment_id, trial.code = self.environment_id, event.code
        self._note(record, event, trial, detail=f"attempt {trial.attempts}")

    def _locate(self, event: trial_events.Located) -> None:
        if event.environment is not None:
            self.environments[event.environment_id] = event.environment
        trial = self.trials[event.trial]
        trial.environment_id, trial.node = event.environment_id, event.node
        trial.code = event.code or trial.code

    def _report(self, trial: TrialRecord, report: EpochReport) -> None:
        if report.epoch in trial.reports:
            return
        trial.reports[report.epoch] = report
        self.pace.add(report)
        used = MemoryUse.of(report, self.environments.get(trial.environment_id or "", {}))
        if used is None:
            return
        if self.most_memory is None or used.share > self.most_memory.share:
            self.most_memory = used
        records = report.epoch == 1 and trial.epochs > 1  # then the teacher computes, too, in the first trials
        busy = None if records else report.gpu_busy
        self.gpu_use = self.gpu_use.with_epoch(students_at(trial.share), used.peak, used.total, busy)

    def _reuse(self, record: Record, event: trial_events.Reused) -> None:
        trial, source = self.trials[event.trial], self.trials[event.source]
        trial.reused_from = source.id
        trial.environment_id, trial.node, trial.code = source.environment_id, source.node, source.code
        self._note(record, event, trial, detail=f"same config and seed as {source.id}")

    def _end(self, record: Record, event: trial_events.Ended) -> None:
        trial = self.trials[event.trial]
        result = event.result
        if result.evaluation or result.held_out:
            evaluations = self._evaluation(result.evaluation), self._evaluation(result.held_out)
            result = replace(result, evaluation=evaluations[0], held_out=evaluations[1])
        trial.state, trial.reason, trial.result, trial.ended_at = event.state, event.reason, result, record.at
        trial.failure = None
        if event.state is TrialState.FAILED:
            trial.failure = recorded_failure(event.failure, event.reason)
            trial.crashes[trial.failure] = trial.crashes.get(trial.failure, 0) + 1
        if trial.phase.is_searched:
            end = SearchEnd(trial, event.state, max(trial.curve, default=0))
            self.ends.setdefault(search_name(trial.study, trial.search), []).append(end)
        detail = event.state.value if event.reason is None else f"{event.state}: {event.reason.splitlines()[0]}"
        self._note(record, event, trial, epoch=trial.epochs_run, value=trial.score, detail=detail)

    def _evaluation(self, content: Content | None) -> Content | None:
        return content and self._evaluations.setdefault(content["role"], Shared())(content)

    def _go_on(self, trial: TrialRecord) -> None:
        """A trial that has ended at a rung is to be continued; one that runs simply goes on."""
        if trial.stopped_at is not None:
            trial.state, trial.stopped = TrialState.PLANNED, None
            trial.reason, trial.result, trial.ended_at = None, TrialOutcome(), None

    def _retry(self, record: Record, event: trial_events.Retried) -> None:
        trial = self.trials[event.trial]
        trial.state, trial.reason, trial.failure = TrialState.PLANNED, event.reason, event.failure
        trial.result, trial.ended_at = TrialOutcome(), None
        trial.retries += 1
        self.retries += 1
        trial.crashes[event.failure] = trial.crashes.get(event.failure, 0) + 1
        trial.gpu = event.gpu or trial.gpu
        if event.failure == "out_of_memory" and trial.share:
            self.gpu_use = self.gpu_use.without_memory(students_at(trial.share))
        self._note(record, event, trial, detail=event.reason.splitlines()[0])

    def _abort(self, record: Record, event: sweep_events.Aborted) -> None:
        """All trials failed for a cause outside of them: they are still to be run."""
        self.aborted = event.reason
        for trial in self.trials.values():
            if trial.state is TrialState.FAILED:
                trial.state, trial.crashes, trial.result, trial.ended_at = TrialState.PLANNED, {}, TrialOutcome(), None
                trial.gpu = None
                self._changed[trial.id] = trial
        self._note(record, event, detail=event.reason)

    def _note_rung(self, record: Record, event: trial_events.Promoted | trial_events.Stopped) -> None:
        reason = event.reason if isinstance(event, trial_events.Stopped) else ""
        detail = reason or f"best {event.kept} of {event.entered} in the rung go on"
        trial = self.trials[event.trial]
        self._note(record, event, trial, epoch=event.epoch, rung=event.rung, value=event.value, detail=detail)

    def _note(
        self,
        record: Record,
        event: Event,
        trial: TrialRecord | None = None,
        detail: str = "",
        study: str | None = None,
        trial_id: str | None = None,
        epoch: int | None = None,
        rung: int | None = None,
        value: float | None = None,
    ) -> None:
        """Add a row to the table of decisions."""
        if trial is not None:
            trial_id, study = trial.id, trial.study
        n, at, kind = record.n, record.at, event.kind
        self.decisions.append(Decision(n, at, kind, detail, trial_id, study, epoch, rung, value))


def _of_search(search: int, detail: str) -> str:
    """What happened in a search; the first search is not named, because most studies have no other."""
    return detail if search == 1 else f"search {search}: {detail}"
