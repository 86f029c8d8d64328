"""One Ray Tune run over all studies of a sweep.

Tune places trials on machines and carries reports to the driver. Only our `Driver` decides what runs and stops; a
short searcher and a short scheduler forward Tune's calls to the driver. Tune's state is never read.
"""

import contextlib
import json
import math
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher
from ray.util.queue import Queue

from kdtrain import EpochReport, Machine, TrainConfig, TrainResult, train
from kdtrain.code_digest import fingerprint, foreign_modules
from kdtrain.runtime.scratch import scratch_folder
from sweeps.attempt.attempt import Train, train_in
from sweeps.attempt.signals import StopRequest
from sweeps.attempt.teachers import Fit, Teacher
from sweeps.driver.crowding import crowding
from sweeps.driver.driver import DONE, WAIT, Driver, Idle
from sweeps.driver.running_code import code_here
from sweeps.launch.driver_setting import DriverSetting
from sweeps.launch.job import run_trial
from sweeps.launch.stop_signal import listener, new_name, send
from sweeps.ledger.failure import Crash, Failure
from sweeps.ledger.gpu_use import MOST_STUDENTS
from sweeps.ledger.trial_record import TrialRecord
from sweeps.ledger.trial_state import Phase
from sweeps.spec.settings import Resources
from sweeps.store.store import Store


def run_on_ray(
    driver: Driver,
    machine: Machine,
    on_step: Callable[[], None],
    stop_request: StopRequest,
    teacher: Teacher | None = None,
    train: Train = train,
) -> None:
    """Run the remaining trials of a sweep on the connected cluster.

    Args:
        driver: Decides what runs, and records the results.
        machine: Passed to every trial.
        on_step: Called in every turn of Tune's loop, to show progress.
        stop_request: Whether to stop.
        teacher: The teacher, if every node needs its own copy.
        train: The training function.

    Raises:
        SweepAborted: If all trials fail in the same way.
        StorageError: If a file cannot be written.
    """
    resources = driver.spec.resources
    most_students = MOST_STUDENTS if resources.is_measured else 1
    slots = _slots({"CPU": resources.cpu, "GPU": resources.gpus_alone / most_students}, resources.concurrent)
    there = ray.cluster_resources().get("GPU", 0.0) or resources.concurrent or 0.0
    gpus = there if resources.is_measured else math.inf
    if not driver.state.trials and not resources.is_measured and (crowded := crowding(driver.spec, slots)):
        driver.notice(crowded)
    bridge = TuneBridge(driver, machine, on_step, stop_request, teacher, gpus)

    def job(tune_config: Mapping[str, Any]) -> None:
        run_trial(tune_config, train)

    with scratch_folder() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tune.Tuner(
            tune.with_resources(job, lambda config: tune.PlacementGroupFactory([config["resources"]])),
            tune_config=tune.TuneConfig(
                search_alg=_Proposals(bridge),
                scheduler=_Decisions(bridge),
                num_samples=-1,
                max_concurrent_trials=slots,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(scratch),
                stop=_Stop(bridge),
                verbose=0,
                callbacks=[_Events(bridge)],
                log_to_file=False,
            ),
        ).fit()
    if bridge.failure is not None:
        raise bridge.failure


def fit_on_ray(resources: Resources, on_epoch: Callable[[EpochReport], None], stop_request: StopRequest) -> Fit:
    """Fit a teacher as a task of the connected cluster, with the CPUs and GPUs of one trial."""

    def fit(config: TrainConfig, machine: Machine, store: Store) -> TrainResult:
        signal_name, signal, reports = new_name(), None, Queue(actor_options={"num_cpus": 0})
        task = ray.remote(num_cpus=resources.cpu, num_gpus=resources.gpus_alone)(_fit)
        running = task.remote(pickle.dumps(config), machine, store, signal_name, reports, DriverSetting.here())
        ended = False
        while not ended:
            ended = bool(ray.wait([running], timeout=0.5)[0])
            if stop_request and signal is None:
                signal = send(signal_name)
            for report in reports.get_nowait_batch(reports.qsize()):
                on_epoch(EpochReport.from_dict(report))
        result: TrainResult = ray.get(running)
        return result

    return fit


def _fit(
    config: bytes,
    machine: Machine,
    store: Store,
    signal_name: str,
    reports: Queue,
    setting: DriverSetting,
) -> TrainResult:
    """Train in a worker process; the config is pickled by itself, since its terms may be of the user's modules."""

    def put(report: EpochReport) -> None:
        reports.put(report.to_dict())

    with setting.taken_over():
        return train_in(store, "", train, pickle.loads(config), machine, put, listener(signal_name))


def _demand(resources: Resources, gpu: float) -> dict[str, float]:
    """The CPUs and GPUs that a trial takes, by Ray's names."""
    demand = {"CPU": resources.cpu, "GPU": gpu}
    return {name: amount for name, amount in demand.items() if amount}


def _slots(demand: dict[str, float], concurrent: int | None) -> int:
    """How many trials run at once."""
    total = ray.cluster_resources()
    fitting = [int(total.get(name, 0) / amount + 1e-6) for name, amount in demand.items() if amount > 0]
    return concurrent or max(1, min(fitting, default=1))


class TuneBridge:
    """Connects Tune's plug-ins to the driver. Errors of the driver are kept, because Tune would suppress them."""

    def __init__(
        self,
        driver: Driver,
        machine: Machine,
        on_step: Callable[[], None],
        stop_request: StopRequest,
        teacher: Teacher | None,
        gpus: float = math.inf,
    ) -> None:
        """Connect to a driver; with `resources: {gpu: auto}` trials share `gpus` GPUs."""
        self.driver, self.machine, self.on_step = driver, machine, on_step
        self.stop_request = stop_request
        self.trial_of: dict[str, str] = {}
        self.gpu_of: dict[str, float] = {}
        """The GPUs of every trial that is handed out, by its id."""
        self._gpus = gpus
        self.failure: BaseException | None = None
        self._teacher = None if teacher is None else {"store": str(teacher.store), "digest": teacher.card.digest}
        self._signal_name = new_name()
        self._setting = DriverSetting.here()
        self._signal: object = None

    @contextlib.contextmanager
    def keeping_failure(self) -> Iterator[None]:
        """Keep an error of the driver for the main thread, which raises the error after the run."""
        try:
            yield
        except BaseException as error:
            self.failure = self.failure or error
            self._stop_trials()

    def turn(self) -> None:
        """Forward a stop request, write waiting records and show progress; called in every turn of Tune's loop."""
        with self.keeping_failure():
            if self.stop_request.signal is not None and self._signal is None:
                self._stop_trials()
                self.driver.stop(f"stopped by {self.stop_request.signal.name}")
            self.driver.tick()
            self.on_step()

    def propose(self, tune_id: str) -> Mapping[str, object] | str | None:
        """The next trial in Tune's form."""
        with self.keeping_failure():
            if self._gpus_are_taken():
                return None
            trial = self.driver.next() if self.failure is None else DONE
            if trial is WAIT:
                return None
            if not isinstance(trial, Idle):
                self.trial_of[tune_id] = trial.id
                self.gpu_of[trial.id] = self.driver.gpu_share(trial)
                return {
                    "assignment": json.dumps(self._assignment(trial)),
                    "resources": _demand(self.driver.spec.resources, self.gpu_of[trial.id]),
                }
        return str(Searcher.FINISHED)

    def _gpus_are_taken(self) -> bool:
        """Whether another trial would wait for a GPU, so that it is proposed later, with more results and measures."""
        taken = sum(self.gpu_of[trial] for trial in self.trial_of.values())
        return bool(self.trial_of) and taken + self.driver.state.gpu_use.share > self._gpus + 1e-6

    def receive(self, tune_id: str, message: Mapping[str, Any]) -> bool:
        """Handle a message from `sweeps.launch.job`; returns whether the trial must stop."""
        trial = self.trial_of.get(tune_id)
        if trial is None:
            return True
        with self.keeping_failure():
            if "at" in message:
                self.driver.located(trial, message["at"], message["code"])
                return False
            if "report" in message:
                stop = self.driver.report(trial, EpochReport.from_dict(message["report"])) == "stop"
                if stop:
                    self._take_back(tune_id)
                    self.driver.ended(trial, None)
                return stop
            self._take_back(tune_id)
            if "result" in message:
                self.driver.ended(trial, TrainResult.from_dict(message["result"]))
            else:
                self.driver.ended(trial, Crash(**message["crash"]))
            return False
        return True

    def lost(self, tune_id: str, error: str) -> None:
        """Record that the process or node of a trial was lost."""
        trial = self._take_back(tune_id)
        if trial is not None:
            failure = cause_of(error)
            with self.keeping_failure():
                self.driver.ended(trial, Crash(_LOST[failure], error, failure))

    def _take_back(self, tune_id: str) -> str | None:
        """Forget an attempt that has ended; returns its trial, none if it is not handed out."""
        trial = self.trial_of.pop(tune_id, None)
        if trial is not None:
            self.gpu_of.pop(trial, None)
        return trial

    def _assignment(self, trial: TrialRecord) -> Mapping[str, object]:
        return {
            "store": str(self.driver.store),
            "trial": trial.id,
            "config": trial.config,
            "held_out": trial.phase is Phase.FINAL,
            "machine": self.machine.model_dump(mode="json"),
            "teacher": self._teacher,
            "stop_signal": self._signal_name,
            "code": self._code(trial),
            "setting": asdict(self._setting),
        }

    def _code(self, trial: TrialRecord) -> Mapping[str, object]:
        """Digests by which a worker sees whether its code differs from the code of this process."""
        foreign = foreign_modules(code_here(trial) or {})
        package = self.driver.environment.get("code_digest")
        return {"package": package, "foreign": foreign, "fingerprint": fingerprint(foreign)}

    def _stop_trials(self) -> None:
        if self._signal is None:
            self._signal = send(self._signal_name)


_LOST: dict[Failure, str] = {
    "out_of_memory": "the process of the trial was ended because the node's memory was full",
    "node_lost": "the node of the trial was lost, or cannot be reached",
    "lost": "the process of the trial was lost",
}


def cause_of(error: str) -> Failure:
    """Why a process was lost, from Ray's message."""
    if "low on memory" in error or "OutOfMemory" in error:
        return "out_of_memory"
    if any(sign in error for sign in _NODE_GONE):
        return "node_lost"
    return "lost"


_NODE_GONE = ("node has died", "node is dead", "node died", "preempted", "is unavailable")
"""Parts of Ray's messages about a lost node. In the first seconds Ray only reports that its processes do not answer."""


class _Detached:
    """Tune pickles its plug-ins into a snapshot that is never read; the snapshot must not contain the driver."""

    def __getstate__(self) -> dict[str, object]:
        return {}


class _Proposals(_Detached, Searcher):
    def __init__(self, bridge: TuneBridge) -> None:
        super().__init__()
        self.bridge = bridge

    def suggest(self, trial_id: str) -> Any:
        return self.bridge.propose(trial_id)

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Does nothing: the scheduler has already reported the end of the trial to the driver."""

    def save(self, checkpoint_path: str) -> None:
        """Does nothing: the driver keeps all state in the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Does nothing: the driver keeps all state in the ledger."""


class _Decisions(_Detached, FIFOScheduler):
    def __init__(self, bridge: TuneBridge) -> None:
        super().__init__()
        self.bridge = bridge

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: Mapping[str, Any]) -> str:
        message = result.get("message")
        stop = message is not None and self.bridge.receive(trial.trial_id, json.loads(message))
        return FIFOScheduler.STOP if stop else FIFOScheduler.CONTINUE


class _Events(_Detached, tune.Callback):
    def __init__(self, bridge: TuneBridge) -> None:
        self.bridge = bridge

    def setup(self, **info: Any) -> None:
        self.bridge.stop_request.listen()  # Tune has just replaced the handler of SIGUSR1

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        our_trial = self.bridge.trial_of.get(trial.trial_id)
        if our_trial is not None:
            with self.bridge.keeping_failure():
                self.bridge.driver.started(our_trial, self.bridge.gpu_of[our_trial])

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        file = Path(trial.error_file or "")  # Tune's own functions read a copy that may not exist yet
        self.bridge.lost(trial.trial_id, file.read_text(encoding="utf-8") if file.is_file() else "")

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        self.bridge.turn()


class _Stop(_Detached, tune.Stopper):
    """Ends the run before all trials end, after an error of the driver or when stopping takes too long."""

    def __init__(self, bridge: TuneBridge) -> None:
        self.bridge = bridge

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.bridge.failure is not None or self.bridge.stop_request.overdue
