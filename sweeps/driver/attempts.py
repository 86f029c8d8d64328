"""What attempts at trials report, and what it leaves in the ledger."""

from typing import Literal

from kdtrain.code_digest import Parts
from kdtrain.loop.reports import EpochReport, TrainResult
from sweeps.driver import outcomes
from sweeps.driver.endings import Endings
from sweeps.driver.open_sweep import OpenSweep
from sweeps.driver.reuse import RunBefore
from sweeps.driver.running_code import code_here, code_name
from sweeps.driver.standings import Standings
from sweeps.driver.waiting import Waiting
from sweeps.ledger import sweep_events, trial_events
from sweeps.ledger.event_base import Environment
from sweeps.ledger.failure import Crash
from sweeps.ledger.trial_record import TrialRecord
from sweeps.ledger.trial_state import Phase


class Attempts:
    """Records how attempts begin, go on and end.

    Args:
        sweep: The sweep.
        standings: The places of its trials.
        waiting: The trials that no worker has.
        endings: What the end of an attempt means.
    """

    def __init__(self, sweep: OpenSweep, standings: Standings, waiting: Waiting, endings: Endings) -> None:
        self._sweep, self._standings, self._waiting, self._endings = sweep, standings, waiting, endings
        self._run_before = RunBefore(sweep.state.trials.values())

    def takes_over(self, trial: TrialRecord) -> bool:
        """Whether a trial need not run, because the outcome of another one was copied.

        It is copied report by report, so that the rungs decide as if the trial had run.
        """
        source = self._run_before.source_for(trial, self._sweep.state)
        if source is None:
            return False
        if trial.reused_from is None:
            self._sweep.append(trial_events.Reused(trial.id, source.id))
        for _, report in sorted(source.reports.items()):
            if self.report(trial, report) == "stop":
                self.ended(trial, None)
                return True
        self._sweep.append(trial_events.Ended(trial.id, source.state, source.reason, source.result))
        self._waiting.take_back(trial)
        return True

    def started(self, trial: TrialRecord, gpu: float | None) -> None:
        """See `Driver.started`."""
        code = self._record_code(code_here(trial))
        is_measured = self._sweep.spec.resources.is_measured
        self._sweep.append(trial_events.Started(trial.id, code, gpu if is_measured else None))

    def located(self, trial: TrialRecord, environment: Environment, code: Parts | None) -> None:
        """See `Driver.located`."""
        environment_id, node = str(environment["environment_id"]), environment.get("node")
        node = None if node is None else str(node)
        if code is not None or (trial.environment_id, trial.node) != (environment_id, node):
            new = None if environment_id in self._sweep.state.environments else dict(environment)
            self._sweep.append(trial_events.Located(trial.id, environment_id, node, new, self._record_code(code)))

    def report(self, trial: TrialRecord, report: EpochReport) -> Literal["continue", "stop"]:
        """See `Driver.report`."""
        if trial.stopped or trial.state.is_over:
            return "stop"
        if report.epoch not in trial.reports:
            self._sweep.append(trial_events.EpochReported(trial.id, report))
            decide(self._sweep, self._standings, trial, report.epoch)
        return "stop" if trial.stopped else "continue"

    def ended(self, trial: TrialRecord, outcome: TrainResult | Crash | BaseException | None) -> None:
        """See `Driver.ended`."""
        self._waiting.take_back(trial)
        if trial.state.is_over:
            return
        if trial.stopped:
            self._endings.of_stop(trial)
        elif isinstance(outcome, TrainResult) and outcome.state == "interrupted":
            self._sweep.append(trial_events.AttemptInterrupted(trial.id))
        elif isinstance(outcome, TrainResult) and outcome.state != "stopped":
            self._end(trial, outcome)
        elif isinstance(outcome, TrainResult) or outcome is None:
            self._endings.of_crash(trial, Crash("the training stopped although the driver had not told it to"))
        else:
            self._endings.of_crash(trial, outcome if isinstance(outcome, Crash) else Crash.of(outcome))

    def _end(self, trial: TrialRecord, result: TrainResult) -> None:
        """A training came to its end; a report that comes with its result alone decides what it would have decided."""
        for report in result.reports:
            if self.report(trial, report) == "stop":
                self._endings.of_stop(trial)
                return
        self._endings.of_result(trial, result)
        self._run_before.add(trial)

    def _record_code(self, parts: Parts | None) -> str | None:
        """The name of a version of the code; a new version is written to the ledger."""
        if parts is None:
            return None
        name = code_name(parts)
        if name not in self._sweep.state.codes:
            self._sweep.append(sweep_events.CodeKnown(name, parts))
        return name


def decide(sweep: OpenSweep, standings: Standings, trial: TrialRecord, epoch: int) -> None:
    """If the scheduler compares a trial at an epoch, record whether the trial continues."""
    if trial.phase is not Phase.SEARCH or epoch >= trial.epochs:
        return
    verdict = standings.judge(trial, epoch)
    if verdict.rung is not None:
        sweep.append(outcomes.of_verdict(trial, epoch, verdict))
