"""What runs in a worker process: one trial, or the fitting of a teacher."""

import functools
import gc
import json
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import torch
from ray import tune

from kdtrain import EpochReport, Machine, TrainConfig, TrainResult
from kdtrain.code_digest import Parts, code_of, fingerprint
from sweeps.attempt.attempt import Train, held_out, staged, train_in
from sweeps.launch.driver_setting import DriverSetting
from sweeps.launch.stop_signal import listener
from sweeps.ledger.environment import describe_environment
from sweeps.ledger.failure import Crash
from sweeps.store.folder_kinds import TRIALS
from sweeps.store.store import Store


def run_trial(tune_config: Mapping[str, Any], train: Train) -> None:
    """Train the trial that an assignment describes, and send the driver messages by `tune.report`.

    Messages are `at` (where it runs, and on which code), `report` (an epoch's report), and at the end either `result`
    or `crash`; as JSON, since Tune flattens mappings. An error of the training code is sent rather than raised, so that
    Tune fails a trial only when its process or node is lost. A process that ran out of memory ends afterwards, because
    the memory that it still holds could be missing for the next trial.

    Args:
        tune_config: `assignment`, as JSON since Tune would flatten a mapping; `TuneBridge` makes it.
        train: The training function.
    """
    _free_memory()
    task = json.loads(tune_config["assignment"])

    def send(**message: object) -> None:
        tune.report({"message": json.dumps(message)})

    crash: Crash | None = None
    try:
        with DriverSetting(**task["setting"]).taken_over():
            result = _train(task, train, send)
    except Exception as error:
        crash = Crash.of(error)
        traceback.clear_frames(error.__traceback__)
    if crash is None:
        send(result=result.to_dict())
    else:
        send(crash={"error": crash.error, "trace": crash.trace, "failure": crash.failure})
        if crash.failure == "out_of_memory":
            raise MemoryError("this process has run out of memory and ends, to free memory for the next trial")


def _train(task: Mapping[str, Any], train: Train, send: Callable[..., None]) -> TrainResult:
    def on_epoch(report: EpochReport) -> None:
        send(report=report.to_dict())

    machine = Machine.model_validate(task["machine"])
    environment = _environment(machine.model_dump_json(exclude={"teacher"}))
    config = TrainConfig.parse(task["config"])
    send(at=environment, code=_other_code(config, task["code"], environment))
    if task["teacher"] is not None:
        folder = staged(Store(task["teacher"]["store"], answered=True), task["teacher"]["digest"], machine.cache)
        machine = machine.model_copy(update={"teacher": folder})
    store = Store(task["store"], answered=True)
    prefix, interrupt = f"{TRIALS}/{task['trial']}", listener(task["stop_signal"])
    work = held_out(train) if task["held_out"] else train
    return train_in(store, prefix, work, config, machine, on_epoch, interrupt)


def _other_code(config: TrainConfig, driver: Mapping[str, Any], environment: Mapping[str, object]) -> Parts | None:
    """The code of this process, or None if it is the same as the code of the driver's process."""
    same_package = environment.get("code_digest") == driver["package"]
    same_foreign = fingerprint(driver["foreign"]) == driver["fingerprint"]
    return None if same_package and same_foreign else code_of(config)


@functools.cache
def _environment(machine: str) -> dict[str, object]:
    """The environment of this process."""
    return describe_environment(Machine.model_validate_json(machine))


def _free_memory() -> None:
    """Free the memory of the process's last trial, which may have been stopped before its end."""
    _freeze_imports()
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


@functools.cache
def _freeze_imports() -> None:
    """Exclude the objects made by imports from later garbage collections, which they would slow down."""
    gc.collect()
    gc.freeze()
