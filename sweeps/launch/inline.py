"""The same sweep in this process, one trial after the other: for the debugger, and without Ray."""

import time
from collections.abc import Callable

from kdtrain.config import Machine, TrainConfig
from kdtrain.loop.reports import EpochReport, TrainResult
from sweeps.attempt.attempt import Train, held_out, train_in
from sweeps.attempt.signals import StopRequest
from sweeps.driver.driver import WAIT, Driver, Idle
from sweeps.ledger.failure import Crash
from sweeps.ledger.trial_state import Phase
from sweeps.store.folder_kinds import TRIALS

_LOOK_EVERY_S = 0.2
"""Seconds between two questions for a trial while none can start."""


def run_inline(
    driver: Driver,
    train: Train,
    machine: Machine | None = None,
    on_step: Callable[[], None] = lambda: None,
    stop_request: StopRequest | None = None,
) -> None:
    """Run what is left of a sweep; on a stop request the trial saves itself, and the same command resumes it.

    Args:
        driver: Decides and remembers.
        train: `kdtrain.train`.
        machine: Passed to it.
        on_step: Called after every epoch and every trial, to show progress.
        stop_request: Whether to stop.

    Raises:
        SweepAborted: If all trials fail in the same way.
        StorageError: If something cannot be written any more.
    """
    stop_request = StopRequest() if stop_request is None else stop_request
    while True:
        if stop_request.signal is not None:
            driver.stop(f"stopped by {stop_request.signal.name}")
        if (trial := driver.next()) is WAIT:
            on_step()
            time.sleep(_LOOK_EVERY_S)
            continue
        if isinstance(trial, Idle):
            return
        trial_id = trial.id
        driver.started(trial_id)
        driver.located(trial_id, driver.environment)
        on_step()
        driver_errors: list[Exception] = []

        def on_epoch(report: EpochReport, trial_id: str = trial_id, errors: list[Exception] = driver_errors) -> str:
            try:
                answer = driver.report(trial_id, report)
                on_step()
            except Exception as error:  # of the driver, not of the training
                errors.append(error)
                raise
            return answer

        outcome: TrainResult | Crash
        try:
            here = machine or Machine()
            config, folder = TrainConfig.parse(trial.config), f"{TRIALS}/{trial_id}"
            work = held_out(train) if trial.phase is Phase.FINAL else train
            outcome = train_in(driver.store, folder, work, config, here, on_epoch, lambda: bool(stop_request))
        except Exception as error:
            if driver_errors:
                raise driver_errors[0] from None
            outcome = Crash.of(error)
        driver.ended(trial_id, outcome)
        on_step()
