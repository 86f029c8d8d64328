"""One attempt at a training, wherever it runs: in the sweep's own process, or in a worker of a cluster."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from kdtrain.config import Machine, TrainConfig
from kdtrain.loop.held_out import measure
from kdtrain.loop.reports import EpochReport, OnEpoch, TrainResult
from kdtrain.loop.run_files import STUDENT
from kdtrain.runtime import file_locks
from kdtrain.runtime.atomic_files import write_atomically
from kdtrain.teacher import is_whole
from sweeps.store.store import Store


class Train(Protocol):
    """The training function."""

    def __call__(
        self,
        config: TrainConfig,
        machine: Machine | None,
        report: OnEpoch | None,
        workdir: Path | None,
        interrupt: Callable[[], bool] | None,
        /,
    ) -> TrainResult:
        """Train one student."""
        ...


def train_in(
    store: Store,
    prefix: str,
    train: Train,
    config: TrainConfig,
    machine: Machine,
    report: OnEpoch,
    interrupt: Callable[[], bool],
) -> TrainResult:
    """Train in a folder of a store; an epoch is reported once its checkpoint is safe there.

    Raises:
        InputError: If config, data or teacher are not what they must be.
        StorageError: If a file cannot be written.
    """
    with store.workplace(prefix) as place:

        def saved(epoch: EpochReport) -> str | None:
            place.save()
            return report(epoch)

        return train(config, machine, saved, place.folder, interrupt)


class _EvaluationStoppedError(Exception):
    """Ends an evaluation in the middle."""


def held_out(train: Train) -> Train:
    """Training, and then an evaluation of the student on the role test: for what is frozen, and for nothing else."""

    def train_and_measure(
        config: TrainConfig,
        machine: Machine | None,
        report: OnEpoch | None,
        workdir: Path | None,
        interrupt: Callable[[], bool] | None,
    ) -> TrainResult:
        def between() -> None:
            if interrupt is not None and interrupt():
                raise _EvaluationStoppedError

        result = train(config, machine, report, workdir, interrupt)
        if result.state != "complete" or workdir is None or not config.data.has_test:
            return result
        try:
            return replace(result, held_out=measure(workdir / STUDENT, config, "test", machine, between))
        except _EvaluationStoppedError:
            return replace(result, state="interrupted", reason="interrupted in the evaluation on role test")

    return train_and_measure


def staged(teacher: Store, digest: str, cache: Path) -> Path:
    """A folder of this node with the teacher's files, brought there once for all trials of the node.

    Args:
        teacher: The teacher folder.
        digest: Its digest, which names the copy; a copy that is not of this digest any more is made anew.
        cache: The node's cache.
    """
    folder = cache / "teachers" / digest
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{digest}.lock").open("w") as lock:
        file_locks.take(lock, wait=True)
        if not is_whole(folder, digest):
            shutil.rmtree(folder, ignore_errors=True)
            for left in folder.parent.glob(f".{digest}-*"):  # of killed processes, which held the lock
                shutil.rmtree(left, ignore_errors=True)
            building = Path(tempfile.mkdtemp(prefix=f".{digest}-", dir=folder.parent))
            try:
                for name in teacher.names(""):
                    write_atomically(building / name, teacher.read(name))
                building.rename(folder)
            finally:
                shutil.rmtree(building, ignore_errors=True)
    return folder
