"""What the end of an attempt means for its trial: it is over, another attempt follows, or the sweep ends."""

from kdtrain.errors import InputError, StorageError
from kdtrain.loop.reports import TrainResult
from sweeps.driver import outcomes, set_aside
from sweeps.driver.open_sweep import OpenSweep
from sweeps.driver.outage import Outages
from sweeps.driver.retry import failed_alike, larger_gpu_share, tries_again
from sweeps.ledger import sweep_events, trial_events
from sweeps.ledger.failure import Crash
from sweeps.ledger.trial_events import TrialOutcome
from sweeps.ledger.trial_record import TrialRecord
from sweeps.ledger.trial_state import TrialState


class SweepAborted(InputError):  # noqa: N818
    """All trials fail for the same cause."""


class Endings:
    """Records how attempts end.

    Args:
        sweep: The sweep.
        outages: Whether inputs are away.
    """

    def __init__(self, sweep: OpenSweep, outages: Outages) -> None:
        self._sweep, self._outages = sweep, outages

    def of_result(self, trial: TrialRecord, result: TrainResult) -> None:
        """A training came to its end."""
        if (held_out := result.held_out) is not None:
            self._sweep.append(trial_events.TestRead(trial.id, held_out.digest, len(held_out.image_ids)))
        self._sweep.append(
            trial_events.Ended(trial.id, TrialState(result.state), result.reason, outcomes.trained(result))
        )

    def of_stop(self, trial: TrialRecord) -> None:
        """A training was stopped early."""
        reason = outcomes.why_pruned(trial)
        self._sweep.append(trial_events.Ended(trial.id, TrialState.PRUNED, reason, outcomes.pruned(trial)))

    def of_crash(self, trial: TrialRecord, crash: Crash) -> None:
        """An attempt ended in an error: plan another attempt, or end the trial, or abort the sweep.

        Raises:
            SweepAborted: If the first trials of all studies fail in the same way.
            StorageError: If the training could not write its files; the trial stays unfinished.
        """
        if crash.failure == "storage":
            raise StorageError(crash.error)
        reason = f"{crash.error}\n{crash.trace}".strip()
        if self._outages.explains(trial.id, crash):
            self._sweep.append(trial_events.Retried(trial.id, reason, "missing"))
            return
        if tries_again(trial.crashes, crash.failure, self._sweep.spec.retries):
            if crash.failure == "damaged":
                aside = set_aside.set_damaged_aside(self._sweep.store, trial)
                self._sweep.notice(
                    f"{trial.id} starts from its first epoch, its damaged files are kept in {aside}: {crash.error}"
                )
            gpu = larger_gpu_share(crash.failure, self._sweep.spec.resources.gpus_alone)
            self._sweep.append(trial_events.Retried(trial.id, reason, crash.failure, gpu))
            return
        self._sweep.append(trial_events.Ended(trial.id, TrialState.FAILED, reason, TrialOutcome(), crash.failure))
        if count := failed_alike(self._sweep.state.tally, [study.name for study in self._sweep.spec.studies]):
            cause = f"the first {count} trials all failed, in every study: {crash.error}"
            self._sweep.append(sweep_events.Aborted(cause))
            raise SweepAborted(f"{cause}; correct the cause and run the same command again, nothing is lost")
