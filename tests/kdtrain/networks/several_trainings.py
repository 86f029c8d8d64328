"""Trainings one after the other in the same processes, since starting a process takes longer than they do."""

import hashlib
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kdtrain import Machine, TrainConfig, TrainResult
from kdtrain.loop import trainer
from kdtrain.loop.run_folder import RunFolder
from kdtrain.runtime.process_group import ProcessGroup, SpawnedGroup


def train_all(
    configs: dict[str, TrainConfig], machine: Machine, folder: Path, group: ProcessGroup, **options: dict[str, Any]
) -> dict[str, TrainResult]:
    """The part of one process; `options` are the listeners and interrupts of the first."""
    results = {}
    digests: list[str] = []
    check = trainer.what_diverged

    def digesting(broken_term: str | None, trained: nn.Module) -> str | None:
        digests.append(digest(trained))
        return check(broken_term, trained)

    trainer.what_diverged = digesting
    for name, config in configs.items():
        (folder / name).mkdir(exist_ok=True)
        group_of_run = SpawnedGroup(group.rank, group.size, folder / name, lambda: None)
        folder_of_run = RunFolder(folder / name / "run", config) if group.rank == 0 else None
        results[name] = trainer.train_in_process(config, machine, group_of_run, folder_of_run, **options.get(name, {}))
        assert group_of_run.broadcast_object(digests) == digests, f"in {name}, the processes have other weights"
        group_of_run.leave()
    trainer.what_diverged = check
    assert digests
    return results


def digest(module: nn.Module) -> str:
    content = hashlib.sha256()
    for value in module.state_dict().values():
        if isinstance(value, Tensor):
            content.update(value.contiguous().numpy().tobytes())
    return content.hexdigest()
