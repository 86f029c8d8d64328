"""Training batches: which image comes when depends on (data seed, epoch) only, never on the workers."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kdtrain.data.augment import Augment, Draws, color_factors, cut_out, drawn
from kdtrain.data.crops import Crops, stacked, stacked_colors
from kdtrain.data.source import Pixels
from kdtrain.data.store import Images
from kdtrain.data.unlabelled import ROLE, unlabelled_order
from kdtrain.errors import InputError
from kdtrain.runtime.random_streams import numpy_rng


class Key(NamedTuple):
    """Which sample."""

    view: int
    """The epoch whose augmentation it has."""
    place: int
    """In the order of its view's labelled, or of its unlabelled samples."""
    image: int
    turn: int | None = None
    """Of an unlabelled image: how often the view has been through all of them; None for a labelled one."""


def epoch_order(count: int, data_seed: int, epoch: int) -> list[int]:
    """The order in which an epoch visits the images: a permutation of 0 to count - 1."""
    order: list[int] = numpy_rng(data_seed, "order", epoch).permutation(count).tolist()
    return order


class TrainSamples(Dataset[Crops]):
    """Augmented samples of the labelled and, where there are any, of the unlabelled images."""

    def __init__(self, images: Images, augment: Augment, data_seed: int, unlabelled: Images | None = None) -> None:
        """Views of the images under the seed of the data."""
        self.images = images
        self.unlabelled = unlabelled
        self.augment = augment
        self.data_seed = data_seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, keys: Sequence[Key]) -> Crops:
        """The samples of a batch."""
        return stacked([self._cut_out(key) for key in keys], [self._factors(key) for key in keys])

    def colors(self, keys: Sequence[Key]) -> Tensor:
        """`Crops.colors` of a batch, for crops that were made before."""
        return stacked_colors([self._factors(key) for key in keys])

    def _cut_out(self, key: Key) -> tuple[Pixels, Pixels]:
        images = self.images if key.turn is None else self.unlabelled
        assert images is not None
        return cut_out(images, key.image, self.augment, self._draws(key))

    def _factors(self, key: Key) -> Draws:
        return color_factors(self.augment, self._draws(key))

    def _draws(self, key: Key) -> Draws:
        stream = ("augment",) if key.turn is None else (ROLE, "augment", key.turn)
        return drawn(self.data_seed, key.view, key.image, stream)


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
        views: After so many epochs their batches come again, in another order; None for ever new ones.

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
        views: int | None = None,
    ) -> None:
        """Prepare, but start no worker yet."""
        if len(images) < batch_size:
            raise InputError(f"batch_size is {batch_size}, but the training role has only {len(images)} images")
        sizes = {*images.sizes, *(unlabelled.sizes if unlabelled is not None else ())}
        if augment.crop is None and len(sizes) > 1:
            few = ", ".join(f"{w}x{h}" for h, w in sorted(sizes)[:3])
            raise InputError(f"augment.crop must be set, because the images differ in size: {few}, ...")
        self.samples = TrainSamples(images, augment, data_seed, unlabelled)
        self.size = augment.crop or images.sizes[0]
        self.batch_size = batch_size
        self.per_batch = per_batch if unlabelled is not None else 0
        self.views = views
        self._share = share
        self._keys = _Keys()
        self._loader: DataLoader[Crops] | None = None
        if workers > 0:
            # A generator of its own, or each epoch would draw a number from the global one.
            self._loader = DataLoader(
                self.samples, batch_size=None, sampler=self._keys, num_workers=workers, persistent_workers=True,
                generator=torch.Generator(),
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self.samples) // self.batch_size

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Crops]:
        """An epoch's batches from number `start` on: the crops of this share, in the memory of this process."""
        keys = self.keys(epoch, start)
        if self._loader is None:
            return (self.samples[batch] for batch in keys)
        self._keys.batches = keys
        return iter(self._loader)

    def close(self) -> None:
        """End the worker processes; no batch is made afterwards."""
        iterator = getattr(self._loader, "_iterator", None)
        if iterator is not None:
            iterator._shutdown_workers()  # else they live as long as the traceback of an error that refers to them

    def keys(self, epoch: int, start: int = 0) -> list[list[Key]]:
        """The samples of this share of an epoch's batches: the labelled ones, then the unlabelled ones."""
        view = self.view(epoch)
        labelled, further = iter(self.labelled(view)), self.further(view)
        batches = [[*islice(labelled, self.batch_size), *islice(further, self.per_batch)] for _ in range(len(self))]
        return [self._share(batches[number]) for number in self.numbers(epoch, start)]

    def numbers(self, epoch: int, start: int = 0) -> list[int]:
        """Which batches of its view an epoch's are, from its number `start` on."""
        if self.view(epoch) == epoch:
            return list(range(start, len(self)))
        order: list[int] = numpy_rng(self.samples.data_seed, "again", epoch).permutation(len(self)).tolist()
        return order[start:]

    def view(self, epoch: int) -> int:
        """The epoch whose batches an epoch sees."""
        return epoch % self.views if self.views else epoch

    def labelled(self, view: int) -> Sequence[Key]:
        """All labelled samples of a view, in order."""
        order = epoch_order(len(self.samples), self.samples.data_seed, view)
        return [Key(view, place, image) for place, image in enumerate(order)]

    def further(self, view: int) -> Iterator[Key]:
        """The unlabelled samples of a view without end, or none."""
        if self.samples.unlabelled is None:
            return
        order = unlabelled_order(len(self.samples.unlabelled), self.samples.data_seed, view)
        for place, (turn, image) in enumerate(order):
            yield Key(view, place, image, turn)


class _Keys:
    """The batch sampler of the worker processes, given anew for each epoch."""

    def __init__(self) -> None:
        self.batches: list[list[Key]] = []

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)
