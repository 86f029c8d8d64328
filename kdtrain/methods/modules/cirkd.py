"""The projector and the queues of CIRKD's memory."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdtrain.losses import memory_relation, resize_labels
from kdtrain.losses.maps import full_precision, precise, sent
from kdtrain.methods.modules.base import TermInput, TermModule

if TYPE_CHECKING:
    from kdtrain.methods.cirkd import MemoryRelation


class MemoryModule(TermModule):
    """A projector of the student's features, and queues of the teacher's."""

    def __init__(self, term: "MemoryRelation", student_channels: int, teacher_channels: int, num_classes: int) -> None:
        super().__init__()
        self.term = term
        self.num_classes = num_classes
        self.project = nn.Sequential(
            nn.Conv2d(student_channels, teacher_channels, 1, bias=False),
            nn.BatchNorm2d(teacher_channels),
            nn.ReLU(),
            nn.Conv2d(teacher_channels, teacher_channels, 1, bias=False),
        )
        self.pixels = Queue(num_classes, term.pixel_memory, teacher_channels)
        self.regions = Queue(num_classes, term.region_memory, teacher_channels)

    @property
    def draws(self) -> bool:
        """What is remembered, and what is compared with, is drawn."""
        return True

    def forward(self, taps: TermInput) -> Tensor:
        """Remember the batch (in training mode), then return the loss."""
        student = self.project(precise(taps.student))
        teacher = taps.pair()[1].detach()
        labels = resize_labels(taps.labels, teacher.shape[-2:])
        for queue in (self.pixels, self.regions):
            queue.begin(taps.generator)
        if self.training:
            with torch.no_grad(), full_precision(student):
                self._remember(F.normalize(teacher.flatten(2), dim=1).mT, labels.flatten(1), taps)
        term = self.term
        total = torch.zeros((), device=student.device)
        for weight, queue, drawn in (
            (term.pixel, self.pixels, term.pixels_drawn),
            (term.region, self.regions, term.regions_drawn),
        ):
            if weight:
                total = total + weight * memory_relation(
                    student,
                    teacher,
                    queue.draw(drawn // self.num_classes + 1, taps.generator),
                    labels,
                    term.temperature,
                    kd_temperature=term.kd_temperature,
                    ignore_index=taps.ignore_index,
                )
        return total

    def _remember(self, embeddings: Tensor, labels: Tensor, taps: TermInput) -> None:
        """Enqueue from unit vectors `(N, P, C)` and labels `(N, P)`, image by image."""
        classes = torch.arange(self.num_classes, device=labels.device)[:, None]
        member = (labels[:, None] == classes) & (labels[:, None] != taps.ignore_index)
        order = sent(torch.rand(labels.shape, generator=taps.generator), embeddings)
        positions, kept = choose(member, order, self.term.enqueued, self.term.queue_bug)
        images = torch.arange(len(labels), device=labels.device)[:, None, None]
        pixels, kept = embeddings[images, positions], kept.int()
        # one product per image, whose bits depend on no other image
        sums = torch.stack([each.to(image) @ image for each, image in zip(member, embeddings, strict=True)])
        regions = F.normalize(sums, dim=2)[:, :, None]
        present = member.any(2, keepdim=True).int()
        taps.broadcast_([pixels, kept, regions, present])
        self.pixels.add(pixels, kept)
        self.regions.add(regions, present)


def choose(member: Tensor, order: Tensor, most: int, queue_bug: bool = False) -> tuple[Tensor, Tensor]:
    """Choose at random up to `most` pixels of every class of every image.

    Args:
        member: `(N, K, P)`, which pixels belong to which class.
        order: `(N, P)` random numbers from 0 to 1.
        most: Largest number per class.
        queue_bug: Choose among the first pixels of the image, as many as the class has.

    Returns:
        Positions `(N, K, J)`, and `(N, K, J)`, which of them count: the first ones of every class.
    """
    if queue_bug:
        member = torch.arange(member.shape[2], device=member.device) < member.sum(2, keepdim=True)
    kept, positions = torch.where(member, order[:, None], -1.0).topk(min(most, member.shape[2]), dim=2)
    return positions, kept >= 0


class Queue(nn.Module):
    """The latest embeddings of every class; random unit vectors until there are any."""

    vectors: Tensor
    """`(K, size, C)` of unit length."""
    ends: Tensor
    """`(K,)`: the place of the next embedding."""

    def __init__(self, classes: int, size: int, channels: int) -> None:
        super().__init__()
        self.begun = False
        self.register_buffer("vectors", torch.zeros(classes, size, channels))
        self.register_buffer("ends", torch.zeros(classes, dtype=torch.int64))

    def begin(self, generator: torch.Generator | None) -> None:
        """Fill the queue with random vectors at the first call."""
        if not self.begun:
            self.vectors.copy_(F.normalize(torch.randn(self.vectors.shape, generator=generator), dim=2))
            self.begun = True

    def add(self, vectors: Tensor, kept: Tensor) -> None:
        """Put vectors into the places of the oldest, image by image.

        Args:
            vectors: `(N, K, J, C)`.
            kept: `(N, K, J)`: which of them are put there, the first ones of every image and class.
        """
        size = self.vectors.shape[1]
        vectors, kept = (values[:, :, :size].transpose(0, 1).flatten(1, 2) for values in (vectors, kept > 0))
        rank, total = kept.cumsum(1) - 1, kept.sum(1)
        room = min(size, kept.shape[1])
        overwritten = (total - room).clamp_min(0)  # as many would be replaced by later ones of the same batch
        lands = kept & (rank >= overwritten[:, None])
        # row `room` takes what does not land
        sources = torch.zeros(len(kept), room + 1, dtype=torch.int64, device=kept.device)
        sources.scatter_(
            1,
            torch.where(lands, rank - overwritten[:, None], room),
            torch.arange(kept.shape[1], device=kept.device).expand_as(kept),
        )
        rows = torch.arange(room, device=kept.device)
        classes = torch.arange(len(kept), device=kept.device)[:, None]
        places = (self.ends[:, None] + overwritten[:, None] + rows) % size
        before = self.vectors[classes, places]
        arrived = vectors[classes, sources[:, :room]].to(before)
        self.vectors[classes, places] = torch.where((rows < total[:, None])[..., None], arrived, before)
        self.ends.copy_((self.ends + total) % size)

    def draw(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Draw up to `count` places, the same of every class: `(K count, C)`."""
        places = torch.randperm(self.vectors.shape[1], generator=generator)[:count]
        return self.vectors[:, sent(places, self.vectors, places.dtype)].flatten(0, 1)

    def get_extra_state(self) -> dict[str, bool]:
        """Whether the queue holds anything."""
        return {"begun": self.begun}

    def set_extra_state(self, state: dict[str, bool]) -> None:
        """Resume from a checkpoint."""
        self.begun = state["begun"]
