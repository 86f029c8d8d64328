"""The placebo: a teacher that speaks of another image, and so can regularise but not teach."""

from collections.abc import Mapping

from torch import Tensor

from kdtrain.config import TeacherOrder
from kdtrain.runtime.random_streams import numpy_rng


def others(batch: int, seed: int, epoch: int, step: int) -> list[int]:
    """For every image of a batch the number of another one: a random cyclic permutation (Sattolo 1986).

    Args:
        batch: Images in the batch, at least 2.
        seed: The run's seed; the numbers are a stream of their own under it.
        epoch: Finished epochs.
        step: Finished steps of the epoch.
    """
    rng = numpy_rng(seed, "teacher_order", epoch, step)
    found = list(range(batch))
    for last in range(batch - 1, 0, -1):
        other = int(rng.integers(last))
        found[last], found[other] = found[other], found[last]
    return found


def in_order(order: TeacherOrder, maps: Mapping[str, Tensor], seed: int, epoch: int, step: int) -> Mapping[str, Tensor]:
    """The teacher's maps `(N, C, H, W)` of a whole batch, as each image of it gets to see them."""
    if order == "own" or not maps:
        return maps
    rows = others(len(next(iter(maps.values()))), seed, epoch, step)
    return {layer: values[rows] for layer, values in maps.items()}
