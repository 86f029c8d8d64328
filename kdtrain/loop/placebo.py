"""The placebo: every image gets the teacher's maps of another image, which can regularize but not teach."""

from collections.abc import Mapping

import torch
from torch import Tensor

from kdtrain.config import TeacherOrder
from kdtrain.losses.maps import sent
from kdtrain.runtime.random_streams import numpy_rng


def other_images(batch: int, seed: int, epoch: int, step: int) -> list[int]:
    """For every image of a batch the number of another one: a random cyclic permutation (Sattolo 1986).

    Args:
        batch: Images in the batch, at least 2.
        seed: The run's seed; the permutations are a stream of random numbers under it.
        epoch: Finished epochs.
        step: Finished steps of the epoch.
    """
    rng = numpy_rng(seed, "teacher_order", epoch, step)
    permutation = list(range(batch))
    for last in range(batch - 1, 0, -1):
        earlier = int(rng.integers(last))
        permutation[last], permutation[earlier] = permutation[earlier], permutation[last]
    return permutation


def in_order(order: TeacherOrder, maps: Mapping[str, Tensor], seed: int, epoch: int, step: int) -> Mapping[str, Tensor]:
    """The teacher's maps `(N, C, H, W)` of a whole batch, in the order of the images that get them."""
    if order == "own" or not maps:
        return maps
    rows = other_images(len(next(iter(maps.values()))), seed, epoch, step)
    return {layer: values[sent(torch.tensor(rows), values, torch.int64)] for layer, values in maps.items()}
