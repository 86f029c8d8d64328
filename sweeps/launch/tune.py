"""One Ray Tune run over all studies of a sweep.

Tune places trials on machines and carries reports to the driver. What to run next, what to stop and what to remember
is decided by our `Driver` alone; a searcher and a scheduler of a few lines hand Tune's questions on to it. Nothing of
Tune's own state is ever read back.
"""

import contextlib
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "1e9")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1e9")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # a cluster of our own listens on loopback only

import ray
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from kdtrain import EpochReport, Machine, TrainConfig, TrainResult, train
from kdtrain.errors import InputError
from sweeps.driver import DONE, WAIT, Crash, Driver, Idle
from sweeps.launch.job import run_trial
from sweeps.spec import Resources
from sweeps.teachers import Fit


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Connect to a running cluster, or start one on this machine for the time of the block.

    Raises:
        InputError: If there is no cluster at the address.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ray.init(
                address=address or "local",
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
            )
        except ConnectionError as error:
            raise InputError(f"address: no Ray cluster answers at {address} ({error})") from error
    try:
        yield
    finally:
        ray.shutdown()


def run_on_ray(driver: Driver, machine: Machine, resources: Resources, on_step: Callable[[], None]) -> None:
    """Run what is left of a sweep on the connected cluster.

    Args:
        driver: Decides and remembers.
        machine: Passed to every trial.
        resources: What one trial takes.
        on_step: Called in every turn of Tune's loop, to show progress.
    """
    wanted = {"CPU": resources.cpu, "GPU": resources.gpu}
    slots = _slots(wanted, resources.concurrent)
    desk = _Desk(driver, machine, on_step)
    scratch = Path(tempfile.mkdtemp(prefix="kdsweep-tune-"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tune.Tuner(
                tune.with_resources(run_trial, {name.lower(): amount for name, amount in wanted.items()}),
                tune_config=tune.TuneConfig(
                    search_alg=_Proposals(desk),
                    scheduler=_Decisions(desk),
                    num_samples=-1,
                    max_concurrent_trials=slots,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name="tune",
                    storage_path=str(scratch),
                    verbose=0,
                    callbacks=[_Events(desk)],
                    log_to_file=False,
                ),
            ).fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if desk.failure is not None:
        raise desk.failure


def fit_on_ray(resources: Resources, tell: Callable[[EpochReport], None]) -> Fit:
    """Fit a teacher as a task of the connected cluster, with what one trial takes; its epochs are told when it ends."""

    def fit(config: TrainConfig, machine: Machine, folder: Path) -> TrainResult:
        task = ray.remote(num_cpus=resources.cpu, num_gpus=resources.gpu)(train)
        result: TrainResult = ray.get(task.remote(config, machine, None, folder.absolute()))
        for report in result.reports:
            tell(report)
        return result

    return fit


def _slots(wanted: dict[str, float], concurrent: int | None) -> int:
    """How many trials run at once."""
    total = ray.cluster_resources()
    short = [name for name, amount in wanted.items() if amount > total.get(name, 0)]
    if short and concurrent is None:
        raise InputError(
            f"resources.{short[0].lower()}: a trial takes {wanted[short[0]]:g}, but the cluster has "
            f"{total.get(short[0], 0):g}; lower it, or set resources.concurrent where the cluster grows by itself"
        )
    fitting = [int(total.get(name, 0) / amount + 1e-6) for name, amount in wanted.items() if amount > 0]
    return concurrent or max(1, min(fitting, default=1))


class _Desk:
    """Where Tune's plug-ins meet the driver. Errors of the driver are kept, since Tune would swallow them."""

    def __init__(self, driver: Driver, machine: Machine, on_step: Callable[[], None]) -> None:
        self.driver, self.machine, self.on_step = driver, machine, on_step
        self.trial_of: dict[str, str] = {}
        self.failure: BaseException | None = None

    @contextlib.contextmanager
    def keeping_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.failure = self.failure or error

    def propose(self, tune_id: str) -> dict[str, str] | str | None:
        """The next trial in Tune's form."""
        with self.keeping_failure():
            trial = self.driver.next() if self.failure is None else DONE
            if trial is WAIT:
                return None
            if not isinstance(trial, Idle):
                self.trial_of[tune_id] = trial.id
                assignment = {
                    "config": trial.config,
                    "machine": self.machine.model_dump(mode="json"),
                    "workdir": str(self.driver.workdir(trial.id)),
                }
                return {"assignment": json.dumps(assignment)}
        return str(Searcher.FINISHED)

    def told(self, tune_id: str, told: dict[str, Any]) -> bool:
        """Take what a trial told; whether it is to stop."""
        trial = self.trial_of.get(tune_id)
        if trial is None:
            return True
        with self.keeping_failure():
            if "report" in told:
                stop = self.driver.report(trial, EpochReport.from_dict(told["report"])) == "stop"
                if stop:
                    del self.trial_of[tune_id]
                    self.driver.ended(trial, None)
                return stop
            del self.trial_of[tune_id]
            if "result" in told:
                self.driver.ended(trial, TrainResult.from_dict(told["result"]))
            else:
                self.driver.ended(trial, Crash(told["error"], told["trace"], told["permanent"]))
            return False
        return True

    def lost(self, tune_id: str, reason: str) -> None:
        """Take note that the process or node of a trial is gone."""
        trial = self.trial_of.pop(tune_id, None)
        if trial is not None:
            with self.keeping_failure():
                self.driver.ended(trial, Crash("the process or node of the trial was lost", reason))


class _Detached:
    """Tune pickles its plug-ins into a snapshot that nobody reads: they leave the driver behind."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Proposals(_Detached, Searcher):
    def __init__(self, desk: _Desk) -> None:
        super().__init__()
        self.desk = desk

    def suggest(self, trial_id: str) -> Any:
        return self.desk.propose(trial_id)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The scheduler has told the driver already."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the truth."""


class _Decisions(_Detached, FIFOScheduler):
    def __init__(self, desk: _Desk) -> None:
        super().__init__()
        self.desk = desk

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        stop = "told" in result and self.desk.told(trial.trial_id, json.loads(result["told"]))
        return FIFOScheduler.STOP if stop else FIFOScheduler.CONTINUE


class _Events(_Detached, tune.Callback):
    def __init__(self, desk: _Desk) -> None:
        self.desk = desk

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        our_trial = self.desk.trial_of.get(trial.trial_id)
        if our_trial is not None:
            with self.desk.keeping_failure():
                self.desk.driver.started(our_trial)

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        self.desk.lost(trial.trial_id, str(trial.get_pickled_error() or ""))

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        with self.desk.keeping_failure():
            self.desk.on_step()
