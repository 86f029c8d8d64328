"""Training batches on their way from the data, or from the replay store, to the device."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kdtrain.data import TrainBatches
from kdtrain.loop.frozen_teacher import FrozenTeacher
from kdtrain.loop.stopwatch import Stopwatch
from kdtrain.loop.teacher_request import Maps, TeacherRequest
from kdtrain.replay.array_file import TensorSpec


class DistillBatch(NamedTuple):
    """A batch, with the teacher's maps and kernels as far as the store holds them."""

    images: Tensor
    """Float32 `(B, 3, h, w)` in [0, 1]."""
    labels: Tensor
    """Int64 `(B, h, w)`."""
    view: int
    """The epoch whose augmentation the batch has."""
    number: int
    """The number of the batch in that epoch."""
    maps: Maps
    """The teacher's stored maps, by layer; layers that are not stored are computed live."""
    kernels: Maps
    """The stored kernels, one row per image, by term; others are computed from the maps."""


class LiveBatches:
    """Batches whose samples are made in every epoch."""

    def __init__(self, batches: TrainBatches) -> None:
        self._batches = batches

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the samples."""
        return self._batches.size

    def map_specs(self, teacher: FrozenTeacher, layers: Sequence[str]) -> Mapping[str, TensorSpec]:
        """Shape and type of one image's maps at some layers of the teacher."""
        return teacher.map_specs(layers, self._batches.size)

    def prepare(
        self,
        epoch: int,
        start: int,
        request: TeacherRequest,
        stopwatch: Stopwatch,
        check_interrupt: Callable[[], None],
    ) -> None:
        """Make an epoch ready to be read.

        Args:
            epoch: Its number, from 0.
            start: The number of the first batch that is read.
            request: What the losses need of the teacher.
            stopwatch: Counts `record` for samples and `record_teacher` for the teacher's maps.
            check_interrupt: Called from time to time; may raise to end the preparation.
        """

    def epoch(self, epoch: int, start: int = 0) -> Iterator[DistillBatch]:
        """An epoch's batches from number `start` on."""
        view, numbers = self._batches.view(epoch), self._batches.numbers(epoch, start)
        for number, (images, labels) in zip(numbers, self._batches.epoch(epoch, start), strict=True):
            yield DistillBatch(images, labels, view, number, {}, {})

    def close(self) -> None:
        """Release what was prepared."""


def moved(batches: Iterator[DistillBatch], device: torch.device) -> Iterator[DistillBatch]:
    """Batches on the device, images in channels-last order; a GPU receives the next one while it computes one."""
    if device.type != "cuda":
        yield from (_to_device(batch, device) for batch in batches)
        return
    ahead: DistillBatch | None = None
    for batch in batches:
        arriving = _to_device(_with_tensors(batch, Tensor.pin_memory), device)
        if ahead is not None:
            yield ahead
        ahead = arriving
    if ahead is not None:
        yield ahead


def _to_device(batch: DistillBatch, device: torch.device) -> DistillBatch:
    on_device = _with_tensors(batch, lambda values: values.to(device, non_blocking=True))
    return on_device._replace(images=on_device.images.to(memory_format=torch.channels_last))


def _with_tensors(batch: DistillBatch, change: Callable[[Tensor], Tensor]) -> DistillBatch:
    """The batch with all its tensors changed."""
    maps, kernels = ({name: change(values) for name, values in part.items()} for part in (batch.maps, batch.kernels))
    return batch._replace(images=change(batch.images), labels=change(batch.labels), maps=maps, kernels=kernels)
