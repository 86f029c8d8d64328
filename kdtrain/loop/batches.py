"""Training batches on their way from the data, or from the replay store, to the device."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kdtrain.data import TrainBatches
from kdtrain.data.crops import Crops, finished
from kdtrain.loop.feed import fed
from kdtrain.loop.frozen_teacher import FrozenTeacher
from kdtrain.loop.stopwatch import Stopwatch
from kdtrain.loop.teacher_request import Maps, TeacherRequest
from kdtrain.replay.array_file import TensorSpec


class RawBatch(NamedTuple):
    """A batch as it goes to the device, with the teacher's maps and kernels as far as the store holds them."""

    crops: Crops
    view: int
    """The epoch whose augmentation the batch has."""
    number: int
    """The number of the batch in that epoch."""
    maps: Maps
    """The teacher's stored maps, by layer; layers that are not stored are computed live."""
    kernels: Maps
    """The stored kernels, one row per image, by term; others are computed from the maps."""

    def with_tensors(self, change: Callable[[Tensor], Tensor]) -> "RawBatch":
        """The batch with all its tensors changed."""
        maps, kernels = ({name: change(values) for name, values in part.items()} for part in (self.maps, self.kernels))
        return self._replace(crops=self.crops.with_tensors(change), maps=maps, kernels=kernels)


class DistillBatch(NamedTuple):
    """A batch of which a step can be taken."""

    images: Tensor
    """Float32 `(B, 3, h, w)` in [0, 1]."""
    labels: Tensor
    """Int64 `(B, h, w)`."""
    view: int
    """As in `RawBatch`; likewise the others."""
    number: int
    maps: Maps
    kernels: Maps


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

    def epoch(self, epoch: int, start: int = 0) -> Iterator[RawBatch]:
        """An epoch's batches from number `start` on; only one epoch is read at a time."""
        view, numbers = self._batches.view(epoch), self._batches.numbers(epoch, start)
        batches = self._batches.epoch(epoch, start)  # starts the worker processes, which no other thread should do
        return (RawBatch(crops, view, number, {}, {}) for number, crops in zip(numbers, batches, strict=True))

    def close(self) -> None:
        """End the worker processes and release what was prepared; the training is over."""
        self._batches.close()


def moved(batches: Iterator[RawBatch], device: torch.device) -> Generator[DistillBatch]:
    """Batches on the device, images in channels-last order.

    A thread reads them ahead, until the last one is taken or the iterator is closed.
    """
    with fed(batches, device) as on_device:
        for batch in on_device:
            images, labels = finished(batch.crops)
            yield DistillBatch(images, labels, batch.view, batch.number, batch.maps, batch.kernels)
