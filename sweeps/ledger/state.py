"""The state of a sweep: a fold over the records of its ledger. `SweepState.apply` alone changes it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never, cast

from kdtrain.deploy.speed import Cost
from kdtrain.errors import InputError
from kdtrain.explain import kind_and_line
from kdtrain.loop.reports import EpochReport
from kdtrain.models import Network
from sweeps.ledger import sweep_events, trial_changes, trial_events
from sweeps.ledger.decisions import Decision, decision_of
from sweeps.ledger.event_base import Content, Environment
from sweeps.ledger.events import Event, trial_of
from sweeps.ledger.gpu_use import GpuUse, students_at
from sweeps.ledger.lazy_tally import LazyTally
from sweeps.ledger.looks import FreshRun, LastLook, Look, look_at, taken
from sweeps.ledger.pace import MemoryUse, Pace
from sweeps.ledger.record import Record
from sweeps.ledger.searches import Searches
from sweeps.ledger.sharing import Shared
from sweeps.ledger.tally import Tally
from sweeps.ledger.trial_record import TrialRecord
from sweeps.ledger.trial_state import Phase, TrialState


@dataclass
class SweepState:
    """The state of the whole sweep."""

    begun: sweep_events.SweepBegun | None = None
    """Identity, spec and data of the sweep; none before the first record. A spec that has grown is the grown one."""
    begun_at: str = ""
    teacher: sweep_events.TeacherKnown | None = None
    costs: dict[str, Cost] = field(default_factory=dict)
    """What the students cost that a target has made the sweep measure, by the network as JSON."""
    measured_in_a_row: int = 0
    """Students that were measured since the last trial was proposed."""
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
    searches: Searches = field(default_factory=Searches)
    """What the searches have proposed."""
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
    _tally: LazyTally = field(default_factory=LazyTally, repr=False, compare=False)
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
        """Counts and budgets of the trials by search, and which of them are unfinished."""
        return self._tally.now()

    def trial(self, study: str, number: int) -> TrialRecord:
        """A trial of a study, by its number, from 0 in the order in which they were proposed."""
        return self.by_study[study][number]

    @property
    def score_evaluations(self) -> int:
        """The evaluations whose mean is the score of a trial, which a begun sweep cannot change."""
        return cast(Mapping[str, int], self.sweep.spec.get("score", {})).get("last", 1)

    def of_study(self, study: str, phase: Phase | None = None, search: int | None = None) -> Sequence[TrialRecord]:
        """The trials of a study, or of one of its searches, in order of their number."""
        if phase is Phase.SEARCH and search is not None:
            return self.tally.of_search(study, search).trials
        trials = self.by_study.get(study, []) if phase is None else self.tally.of_study(study, phase)
        return trials if search is None else [trial for trial in trials if trial.search == search]

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
        trial_id = trial_of(event)
        try:
            self._apply(record, event)
            trial = None if trial_id is None else self.trials[trial_id]
            row = decision_of(record, event, trial)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"ledger: record {record.n} of kind {record.kind} does not fit the records before it "
                f"({kind_and_line(error)}); put back the ledger from a copy"
            ) from error
        if row is not None:
            self.decisions.append(row)
        if trial is not None:
            is_report = isinstance(event, trial_events.EpochReported)
            (self._tally.reported if is_report else self._tally.changed)(trial)
        self.last = record
        return event

    def _apply(self, record: Record, event: Event) -> None:
        match event:
            case trial_events.EpochReported():
                self._report(self.trials[event.trial], event.report)
            case trial_events.Promoted():
                trial_changes.go_on(self.trials[event.trial])
            case trial_events.Stopped():
                self.trials[event.trial].stopped = event
            case trial_events.Proposed():
                self._add_trial(event)
            case trial_events.Infeasible():
                self.searches.add_invalid(event)
            case trial_events.Started():
                trial_changes.start(self.trials[event.trial], event, record.at, self.environment_id)
            case trial_events.Located():
                if event.environment is not None:
                    self.environments[event.environment_id] = event.environment
                trial_changes.locate(self.trials[event.trial], event)
            case trial_events.Ended():
                self._end(self.trials[event.trial], event, record.at)
            case trial_events.Reused():
                trial_changes.take_over(self.trials[event.trial], self.trials[event.source])
            case trial_events.Retried():
                self._retry(self.trials[event.trial], event)
            case trial_events.AttemptInterrupted():
                self.trials[event.trial].state = TrialState.PLANNED
            case trial_events.TestRead() | sweep_events.DriverStopped() | sweep_events.Note():
                pass  # each of them is a row of the table of decisions, and nothing else
            case sweep_events.SweepBegun():
                self.begun, self.begun_at = event, record.at
            case sweep_events.TeacherKnown():
                self.teacher = event
            case sweep_events.CodeKnown():
                self.codes[event.digest] = event.parts
            case sweep_events.PullsMeasured():
                self.calibrations.append(event)
                self.pulls[event.config_id] = event.ratios | self.pulls.get(event.config_id, {})
            case sweep_events.StudentMeasured():
                network, cost = Network.model_validate(event.network), Cost.model_validate(event.cost)
                self.costs[network.model_dump_json()] = cost
                self.measured_in_a_row += 1
            case sweep_events.SessionBegun():
                self._begin_session(event)
            case sweep_events.Grown():
                self._grow(event, record.at)
            case sweep_events.Exhausted():
                self.searches.exhaust(event)
            case sweep_events.Aborted():
                self._abort(event)
            case sweep_events.Frozen():
                self.frozen, self.frozen_by = event, record
            case sweep_events.Looked():
                now = self.look_now()
                self.looks, self.last_look = taken(self.looks, now), LastLook(event, now.data, self.failed_fresh)
            case sweep_events.Finished():
                self.finished, self.looks = True, taken(self.looks, self.look_now())
            case _:
                assert_never(event)

    def _begin_session(self, event: sweep_events.SessionBegun) -> None:
        self.environment_id = str(event.environment["environment_id"])
        self.environments[self.environment_id] = event.environment
        self.command = event.command
        self.finished, self.aborted = False, None
        for trial in self.tally.unfinished:
            trial.state = TrialState.PLANNED
            self._tally.changed(trial)

    def _grow(self, event: sweep_events.Grown, at: str) -> None:
        self.begun = replace(self.sweep, spec=event.spec, foreign=event.foreign or self.sweep.foreign)
        for study, left_out in event.corrected.items():
            self.searches.correct(study)
            for trial_id in left_out:
                trial_changes.leave_out(self.trials[trial_id], at)
        self._tally.count_again(self.trials.values())

    def _add_trial(self, event: trial_events.Proposed) -> None:
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
            cost=self._cost_of(event.config) if self.costs else None,
        )
        self.measured_in_a_row = 0
        self.searches.add(trial)
        self.trials[trial.id] = trial
        self.by_study.setdefault(trial.study, []).append(trial)

    def _cost_of(self, config: Content) -> Cost | None:
        """What the student of a config costs, where it was measured."""
        return self.costs.get(Network.model_validate(config["student"]).model_dump_json())

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

    def _end(self, trial: TrialRecord, event: trial_events.Ended, at: str) -> None:
        result = event.result
        if result.evaluation or result.held_out:
            shared = self._shared(result.evaluation), self._shared(result.held_out)
            result = replace(result, evaluation=shared[0], held_out=shared[1])
        trial_changes.end(trial, event, result, at)
        self.searches.end(trial, event.state)

    def _shared(self, content: Content | None) -> Content | None:
        return content and self._evaluations.setdefault(content["role"], Shared())(content)

    def _retry(self, trial: TrialRecord, event: trial_events.Retried) -> None:
        trial_changes.retry(trial, event)
        self.retries += 1
        if event.failure == "out_of_memory" and trial.share:
            self.gpu_use = self.gpu_use.without_memory(students_at(trial.share))

    def _abort(self, event: sweep_events.Aborted) -> None:
        """All trials failed for a cause outside of them: they are still to be run."""
        self.aborted = event.reason
        for trial in self.trials.values():
            if trial.state is TrialState.FAILED:
                trial_changes.forget_crashes(trial)
                self._tally.changed(trial)
