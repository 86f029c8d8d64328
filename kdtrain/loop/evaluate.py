"""Evaluation: one confusion matrix over the whole data set, for each image."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kdtrain.data.crops import to_unit
from kdtrain.data.source import Pixels
from kdtrain.loop.evaluation import Evaluation
from kdtrain.loop.feed import fed
from kdtrain.models.scaling import scaled
from kdtrain.runtime.process_group import ALONE, ProcessGroup


class LabelledImages(Protocol):
    """The images of a role, or some of them, as `kdtrain.data.Images` has them."""

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    classes: tuple[str, ...]
    digest: str

    def __len__(self) -> int: ...

    def get(self, index: int) -> tuple[Pixels, Pixels]:
        """RGB `(H, W, 3)` and class ids `(H, W)`, both uint8."""
        ...


def evaluate(
    logits_of: Callable[[Tensor], Tensor],
    images: LabelledImages,
    role: str,
    batch_size: int,
    scale: float,
    device: torch.device,
    group: ProcessGroup = ALONE,
    between: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Evaluate a network on every image of a role at the size of the labels.

    Args:
        logits_of: Images `(N, 3, H, W)` in [0, 1] to logits `(N, C, h, w)` of any size.
        images: The data.
        role: Their role.
        batch_size: Images of equal size that go through together.
        scale: Factor on the images' size before the network; labels stay as they are.
        device: Where the network is.
        group: The processes that share the images of every batch.
        between: Called between batches; may end the evaluation by raising.
    """
    num_classes = len(images.classes)
    confusion = np.zeros((len(images), num_classes, num_classes), dtype=np.int64)
    shares = map(group.share, _chunks(images, batch_size))
    with torch.inference_mode(), fed((read_batch(images, share) for share in shares), device) as batches:
        for number, (share, pixels, labels) in enumerate(batches):
            if number > 0:
                between()
            if share:
                predicted = predict(logits_of, to_unit(pixels.permute(0, 3, 1, 2)), scale)
                confusion[share] = confusion_matrices(predicted, labels, num_classes).cpu().numpy()
    confusion = group.sum(torch.from_numpy(confusion)).numpy()
    return Evaluation(role, images.digest, images.ids, images.groups, images.classes, confusion)


def _chunks(images: LabelledImages, batch_size: int) -> Iterator[list[int]]:
    """The images in order, cut into batches of equal size."""
    for _, same_size in groupby(range(len(images)), key=lambda i: images.get(i)[1].shape):
        indices = list(same_size)
        for start in range(0, len(indices), batch_size):
            yield indices[start : start + batch_size]


class StoredImages(NamedTuple):
    """Images of equal size, as stored."""

    indices: Sequence[int]
    """Which images of their role."""
    pixels: Tensor
    """RGB, uint8 `(N, H, W, 3)`."""
    labels: Tensor
    """Uint8 `(N, H, W)`."""

    def with_tensors(self, change: Callable[[Tensor], Tensor]) -> "StoredImages":
        """The images with both tensors changed."""
        return StoredImages(self.indices, change(self.pixels), change(self.labels))


def read_batch(images: LabelledImages, indices: Sequence[int]) -> StoredImages:
    """Some images of equal size; there may be none."""
    pairs = [images.get(index) for index in indices] or [(np.empty((0, 0, 3), np.uint8), np.empty((0, 0), np.uint8))]
    pixels, labels = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*pairs, strict=True))
    return StoredImages(indices, pixels, labels)


def load_batch(images: LabelledImages, indices: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Images `(N, 3, H, W)` float in [0, 1] and labels `(N, H, W)` of equal size, as stored."""
    batch = read_batch(images, indices)
    return to_unit(batch.pixels.to(device).permute(0, 3, 1, 2)), batch.labels.to(device)


def predict(logits_of: Callable[[Tensor], Tensor], pixels: Tensor, scale: float) -> Tensor:
    """Predicted class ids `(N, H, W)` at the size of the given images `(N, 3, H, W)`."""
    inputs = scaled(pixels, scale).contiguous(memory_format=torch.channels_last)
    logits = logits_of(inputs).float()
    return functional.interpolate(logits, size=pixels.shape[-2:], mode="bilinear", align_corners=True).argmax(dim=1)


def confusion_matrices(predicted: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Confusion matrix of every image, `(N, C, C)` truth by prediction; labels from `C` on are ignored."""
    labels = labels.long()
    image = torch.arange(len(labels), device=labels.device).view(-1, 1, 1)
    cell = (image * num_classes + labels) * num_classes + predicted
    counts = torch.bincount(cell[labels < num_classes], minlength=len(labels) * num_classes**2)
    return counts.view(len(labels), num_classes, num_classes)
