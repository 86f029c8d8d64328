"""What it will cost to read a teacher's maps and to compute them, measured before anything is recorded."""

import time
from collections.abc import Collection
from contextlib import closing, suppress
from pathlib import Path

import torch
from torch import Tensor

from kdtrain.loop.frozen_teacher import FrozenTeacher, TeacherUse
from kdtrain.replay.array_file import ArrayFile, TensorSpec
from kdtrain.replay.costs import MapCosts, forget_cached, seconds_to_read
from kdtrain.runtime.scratch import scratch_folder

_PASSES = 3
"""Passes of the teacher, of which the fastest counts: the first one loads what it needs."""


def measure_map_costs(
    teacher: FrozenTeacher, images: Tensor, layers: Collection[str], folder: Path
) -> tuple[MapCosts, MapCosts]:
    """Seconds per image, with what is read in the system's memory, and with what is read on the disk alone.

    Args:
        teacher: The teacher, which is not charged for these passes.
        images: A batch `(N, 3, H, W)` on the teacher's device.
        layers: Layers of the teacher.
        folder: A folder on the disk of the replay store; what is written there is removed.

    Raises:
        OSError: If the disk refuses.
    """
    seconds = []
    maps: dict[str, Tensor] = {}
    for _ in range(_PASSES):
        begin = time.perf_counter()
        maps = teacher.ask(images, layers)
        if images.device.type == "cuda":
            torch.cuda.synchronize(images.device)
        seconds.append((time.perf_counter() - begin) / len(images))
    teacher.use -= TeacherUse(shown=_PASSES * len(images))
    memory, disk = {}, {}
    with scratch_folder(folder) as scratch:
        for layer, values in maps.items():
            spec = TensorSpec(tuple(values.shape[1:]), values.dtype)
            memory[layer], disk[layer] = _seconds_to_read(scratch, spec, values)
    return MapCosts(memory, min(seconds)), MapCosts(disk, min(seconds))


def _seconds_to_read(folder: Path, spec: TensorSpec, values: Tensor) -> tuple[float, float]:
    """Seconds per row from the system's memory, and from the disk; both with the check of the bytes."""

    def opened() -> ArrayFile:
        array = ArrayFile(folder, "probe", spec, len(values), len(values), "probe")
        if not array.open(create=True):
            raise OSError(f"cannot write to {folder}")
        return array

    with closing(opened()) as array:
        array.write(0, values)
    found = []
    for forgets in (False, True):
        with closing(opened()) as array:
            if forgets:
                forget_cached(array.data_path)
            found.append(seconds_to_read({"probe": array}, [0])["probe"])
    with suppress(OSError):
        array.data_path.unlink()
    return found[0], found[1]
