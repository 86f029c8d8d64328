"""Training batches: which image comes when depends on (data seed, epoch) only, never on the workers."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from kdtrain.data.augment import Augment, augmented
from kdtrain.data.store import Images
from kdtrain.errors import InputError
from kdtrain.stream import numpy_rng

Batch = tuple[Tensor, Tensor]
Key = tuple[int, int]
"""Epoch and index of a sample."""


def epoch_order(count: int, data_seed: int, epoch: int) -> list[int]:
    """The order in which an epoch visits the images: a permutation of 0 to count - 1."""
    return numpy_rng(data_seed, "order", epoch).permutation(count).tolist()


class TrainSamples(Dataset[Batch]):
    """Augmented samples, addressed by (epoch, index)."""

    def __init__(self, images: Images, augment: Augment, data_seed: int) -> None:
        """Views of `images` under the seed of the data."""
        self.images = images
        self.augment = augment
        self.data_seed = data_seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Key) -> Batch:
        epoch, index = key
        return augmented(self.images, index, self.augment, self.data_seed, epoch)


class TrainBatches:
    """The batches of one training; its worker processes, if any, live from the first epoch to the last.

    Args:
        images: The training role.
        augment: How images are varied.
        batch_size: Samples in every batch; what is left over at the end of an epoch is dropped.
        data_seed: The seed of order and augmentation.
        workers: Worker processes; 0 prepares batches in this process.
        share: The part of every batch that is wanted here.

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
    ) -> None:
        """Prepare, but start no worker yet."""
        if len(images) < batch_size:
            raise InputError(f"batch_size is {batch_size}, but the training role has only {len(images)} images")
        if augment.crop is None and len(set(images.sizes)) > 1:
            few = ", ".join(f"{w}x{h}" for h, w in sorted(set(images.sizes))[:3])
            raise InputError(f"augment.crop must be set, because the images differ in size: {few}, ...")
        self.samples = TrainSamples(images, augment, data_seed)
        self.batch_size = batch_size
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
        order = epoch_order(len(self.samples), self.samples.data_seed, epoch)
        size = self.batch_size
        whole = ([(epoch, i) for i in order[b * size : (b + 1) * size]] for b in range(start, len(self)))
        keys = [self._share(batch) for batch in whole]
        if self._loader is None:
            return (default_collate([self.samples[key] for key in batch]) for batch in keys)
        self._keys.batches = keys
        return iter(self._loader)


class _Keys:
    """The batch sampler of the worker processes, given anew for each epoch."""

    def __init__(self) -> None:
        self.batches: list[list[Key]] = []

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)
