"""Trainings one after the other in the same processes, since starting a process takes longer than they do."""

import hashlib
import sys
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kdtrain import Machine, TrainConfig, TrainResult
from kdtrain.loop.run_folder import RunFolder
from kdtrain.runtime.process_group import ProcessGroup, SpawnedGroup

training = sys.modules["kdtrain.loop.trainer"]


def train_all(
    configs: dict[str, TrainConfig], machine: Machine, folder: Path, world: ProcessGroup, **options: dict[str, Any]
) -> dict[str, TrainResult]:
    """The part of one process; `options` are the listeners and interrupts of the first."""
    results = {}
    digests: list[str] = []
    check = training._fault

    def digesting(broken: str | None, trained: nn.Module) -> str | None:
        digests.append(digest(trained))
        return check(broken, trained)

    training._fault = digesting
    for name, config in configs.items():
        (folder / name).mkdir(exist_ok=True)
        own = SpawnedGroup(world.rank, world.size, folder / name, lambda: None)
        run = RunFolder(folder / name / "run", config) if world.rank == 0 else None
        results[name] = training._train(config, machine, own, run, **options.get(name, {}))
        assert own.broadcast_object(digests) == digests, f"in {name}, the processes have other weights"
        own.leave()
    training._fault = check
    assert digests
    return results


def digest(module: nn.Module) -> str:
    content = hashlib.sha256()
    for value in module.state_dict().values():
        if isinstance(value, Tensor):
            content.update(value.contiguous().numpy().tobytes())
    return content.hexdigest()
