"""What is known of one trial, and of a proposal of which no trial could be made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, cast

from analysis.tables import scores
from kdtrain.deploy.speed import Cost
from kdtrain.loop.reports import EpochReport
from kdtrain.space import Scalar
from sweeps.ledger import trial_events
from sweeps.ledger.failure import Failure
from sweeps.ledger.trial_events import TrialOutcome
from sweeps.ledger.trial_state import Phase, TrialState


@dataclass
class TrialRecord:
    """The state of one trial."""

    id: str
    study: str
    number: int
    phase: Phase
    candidate_of: str | None
    seed: int
    params: Mapping[str, Scalar]
    """What the search chose, by dotted path; empty where nothing is searched."""
    config: Mapping[str, object]
    config_id: str
    search: int = 1
    """The number of the search that proposed the config, among those of the study."""
    number_in_search: int = 0
    """Its place among the trials of its search, from 0, when it was proposed."""
    last: int = 1
    """The evaluations whose mean is the score."""
    cost: Cost | None = None
    """What its student costs to run; none in a sweep without a target."""
    state: TrialState = TrialState.PLANNED
    reason: str | None = None
    attempts: int = 0
    crashes: dict[Failure, int] = field(default_factory=dict)
    """Attempts that ended in an error, by kind; others were cut short together with their driver."""
    retries: int = 0
    """How often the trial was tried again after an error."""
    failure: Failure | None = None
    """The kind of error that ended the last attempt, if one did."""
    gpu: float | None = None
    """The share of a GPU that the trial gets after it ran out of memory; none for the share of all trials."""
    share: float | None = None
    """The share of a GPU that the last attempt got, with `resources: {gpu: auto}`."""
    reused_from: str | None = None
    """The trial whose outcome was taken over, because the config had been trained on this seed already."""
    node: str | None = None
    """Where the last attempt ran."""
    reports: dict[int, EpochReport] = field(default_factory=dict)
    """The first report of every epoch."""
    stopped: trial_events.Stopped | None = None
    """The decision to stop the trial early, once it is taken."""
    result: TrialOutcome = field(default_factory=TrialOutcome)
    """What the trial ended with."""
    started_at: str | None = None
    ended_at: str | None = None
    environment_id: str | None = None
    code: str | None = None
    """The digest of the code that its last attempt ran on; none where an earlier version of kdsweep recorded it."""
    is_valid: ClassVar = True
    _read: tuple[int, Mapping[int, float], float | None] = field(default=(0, {}, None), repr=False, compare=False)
    """How many reports were read, the curve that they make, and the score of a complete trial with this curve."""

    _reached: tuple[tuple[int, int], float | None] = field(default=((0, 0), None), repr=False, compare=False)
    """How many reports and epochs were read, and what was reached with them."""

    @property
    def epochs(self) -> int:
        """The epochs that were planned."""
        return cast(int, self.config["epochs"])

    @property
    def epochs_run(self) -> int:
        """The epochs that were run so far, each counted once."""
        ended_after = self.result.epochs_run
        return ended_after if ended_after is not None else max(self.reports, default=0)

    @property
    def committed(self) -> int:
        """What the trial takes from its study's budget, in epochs: all that are planned until it has ended."""
        return self.epochs if self.state.is_unfinished else self.epochs_run

    @property
    def seconds(self) -> float:
        """Seconds of training so far, all attempts."""
        in_all = self.result.seconds
        return in_all if in_all is not None else sum(r.seconds.get("total", 0.0) for r in self.reports.values())

    @property
    def curve(self) -> Mapping[int, float]:
        """What the trial would be worth if an epoch were its last one, by epoch; evaluated epochs only."""
        return self._reports_read()[1]

    @property
    def stopped_at(self) -> int | None:
        """The rung at which the trial was stopped and has ended; none for others."""
        return self.stopped.rung if self.stopped is not None and self.state is TrialState.PRUNED else None

    @property
    def score(self) -> float | None:
        """What the trial is worth; none unless it is complete."""
        return self._reports_read()[2] if self.state is TrialState.COMPLETE else None

    def _reports_read(self) -> tuple[int, Mapping[int, float], float | None]:
        """Curve and score, read anew where reports have been added; none is ever replaced."""
        if self._read[0] != len(self.reports):
            evaluated = scores.evaluations(self._metrics)
            curve, score = scores.curve(evaluated, self.last), scores.score(self._metrics, self.last)
            self._read = (len(self.reports), curve, score)
        return self._read

    @property
    def reached(self) -> float | None:
        """The same of the last evaluations that gave a number, however the trial ended; none if none did."""
        read = (len(self.reports), self.epochs_run)
        if self._reached[0] != read:
            value = scores.reached((each for each in self._metrics if each[0] <= self.epochs_run), self.last)
            self._reached = (read, value)
        return self._reached[1]

    @property
    def _metrics(self) -> list[scores.EpochMetrics]:
        return [(epoch, report.metrics) for epoch, report in self.reports.items()]


@dataclass(frozen=True, slots=True)
class InvalidProposal:
    """What a search proposed and no trial could be made of."""

    params: Mapping[str, Scalar]
    reason: str
    search: int = 1
    state: ClassVar = TrialState.FAILED
    score: ClassVar = None
    curve: ClassVar[Mapping[int, float]] = {}
    is_valid: ClassVar = False


class SearchEnd(NamedTuple):
    """The end of a trial of a search, or of a proposal of which no trial could be made.

    Attributes:
        proposal: What has ended.
        state: How it ended then; a trial that was stopped may go on and end again.
        epoch: The last epoch at which it had been evaluated; 0 if it had not been.
    """

    proposal: TrialRecord | InvalidProposal
    state: TrialState
    epoch: int
