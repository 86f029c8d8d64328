"""Training batches: which image comes when depends on (data seed, epoch) only, never on the workers."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from kdtrain.data.augment import Augment, augmented
from kdtrain.data.store import Images
from kdtrain.data.unlabelled import ROLE, unlabelled_order
from kdtrain.errors import InputError
from kdtrain.stream import numpy_rng

Batch = tuple[Tensor, Tensor]


class Key(NamedTuple):
    """Which sample."""

    epoch: int
    image: int
    turn: int | None = None
    """Of an unlabelled image: how often the epoch has been through all of them; None for a labelled one."""


def epoch_order(count: int, data_seed: int, epoch: int) -> list[int]:
    """The order in which an epoch visits the images: a permutation of 0 to count - 1."""
    return numpy_rng(data_seed, "order", epoch).permutation(count).tolist()


class TrainSamples(Dataset[Batch]):
    """Augmented samples of the labelled and, where there are any, of the unlabelled images."""

    def __init__(self, images: Images, augment: Augment, data_seed: int, unlabelled: Images | None = None) -> None:
        """Views of the images under the seed of the data."""
        self.images = images
        self.unlabelled = unlabelled
        self.augment = augment
        self.data_seed = data_seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Key) -> Batch:
        if key.turn is None:
            return augmented(self.images, key.image, self.augment, self.data_seed, key.epoch)
        assert self.unlabelled is not None
        stream = (ROLE, "augment", key.turn)
        return augmented(self.unlabelled, key.image, self.augment, self.data_seed, key.epoch, stream)


class TrainBatches:
    """The batches of one training; its worker processes, if any, live from the first epoch to the last.

    Args:
        images: The training role.
        augment: How images are varied.
        batch_size: Samples in every batch; what is left over at the end of an epoch is dropped.
        data_seed: The seed of order and augmentation.
        workers: Worker processes; 0 prepares batches in this process.
        share: The part of every batch that is wanted here.
        unlabelled: Images without labels.
        per_batch: How many of those come after the labelled ones of every batch.

    Raises:
        InputError: If there are fewer images than one batch needs.
    """

    def __init__(
        self,
        images: Images,
        augment: Augment,
        batch_size: int,
        data_seed: int,
        workers: int = 0,
        share: Callable[[list[Key]], list[Key]] = lambda keys: keys,
        unlabelled: Images | None = None,
        per_batch: int = 0,
    ) -> None:
        """Prepare, but start no worker yet."""
        if len(images) < batch_size:
            raise InputError(f"batch_size is {batch_size}, but the training role has only {len(images)} images")
        sizes = {*images.sizes, *(unlabelled.sizes if unlabelled is not None else ())}
        if augment.crop is None and len(sizes) > 1:
            few = ", ".join(f"{w}x{h}" for h, w in sorted(sizes)[:3])
            raise InputError(f"augment.crop must be set, because the images differ in size: {few}, ...")
        self.samples = TrainSamples(images, augment, data_seed, unlabelled)
        self.batch_size = batch_size
        self.per_batch = per_batch if unlabelled is not None else 0
        self._share = share
        self._keys = _Keys()
        self._loader: DataLoader[Batch] | None = None
        if workers > 0:
            # A generator of its own, or each epoch would draw a number from the global one.
            self._loader = DataLoader(
                self.samples, batch_sampler=self._keys, num_workers=workers, persistent_workers=True,
                generator=torch.Generator(),
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self.samples) // self.batch_size

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """An epoch's batches from number `start` on: images and labels of this share.

        Images are float32 `(B, 3, h, w)` in [0, 1], labels int64 `(B, h, w)`.
        """
        keys = [self._share(batch) for batch in self._whole(epoch)[start:]]
        if self._loader is None:
            return (default_collate([self.samples[key] for key in batch]) for batch in keys)
        self._keys.batches = keys
        return iter(self._loader)

    def _whole(self, epoch: int) -> list[list[Key]]:
        """All batches of an epoch: the labelled samples, then the unlabelled ones."""
        labelled = iter(epoch_order(len(self.samples), self.samples.data_seed, epoch))
        further: Iterator[tuple[int, int]] = iter(())
        if self.samples.unlabelled is not None:
            further = unlabelled_order(len(self.samples.unlabelled), self.samples.data_seed, epoch)
        return [
            [
                *(Key(epoch, image) for image in islice(labelled, self.batch_size)),
                *(Key(epoch, image, turn) for turn, image in islice(further, self.per_batch)),
            ]
            for _ in range(len(self))
        ]


class _Keys:
    """The batch sampler of the worker processes, given anew for each epoch."""

    def __init__(self) -> None:
        self.batches: list[list[Key]] = []

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)
