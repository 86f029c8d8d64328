"""The same sweep in this process, one trial after the other: for the debugger, and without Ray."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from kdtrain.config import Machine, TrainConfig
from kdtrain.progress import EpochReport, Report, TrainResult
from sweeps.driver import Crash, Driver, Idle


class Train(Protocol):
    """The training function."""

    def __call__(
        self, config: TrainConfig, machine: Machine | None, report: Report | None, workdir: Path | None
    ) -> TrainResult:
        """Train one student."""
        ...


def run_inline(
    driver: Driver, train: Train, machine: Machine | None = None, on_step: Callable[[], None] = lambda: None
) -> None:
    """Run what is left of a sweep. Ctrl-C leaves a sweep that the same command takes up again.

    Args:
        driver: Decides and remembers.
        train: `kdtrain.train`.
        machine: Passed to it.
        on_step: Called after every epoch and every trial, to show progress.

    Raises:
        SweepAborted: If all trials fail in the same way.
        InputError: If the ledger cannot be written any more.
    """
    while not isinstance(trial := driver.next(), Idle):
        trial_id = trial.id
        driver.started(trial_id)
        on_step()
        failure: list[Exception] = []

        def listen(report: EpochReport, trial_id: str = trial_id, failure: list[Exception] = failure) -> str:
            try:
                answer = driver.report(trial_id, report)
                on_step()
            except Exception as error:  # the driver's own, not the training's
                failure.append(error)
                raise
            return answer

        outcome: TrainResult | Crash
        try:
            outcome = train(TrainConfig.parse(trial.config), machine, listen, driver.workdir(trial_id))
        except Exception as error:
            if failure:
                raise failure[0] from None
            outcome = Crash.of(error)
        driver.ended(trial_id, outcome)
        on_step()
