"""CIRKD, cross-image relations: Yang, Zhou, An, Jiang, Xu, Zhang. CVPR 2022."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from kdtrain.losses import cross_image_relation, memory_relation, resize_labels
from kdtrain.losses.cross_image import RelationScope
from kdtrain.losses.maps import full_precision, precise, sent
from kdtrain.methods.base import Layers, Method, Shape, Temperature, Term, TermInput, TermModule
from kdtrain.methods.pixel import PixelKd
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Choice, Range


class CrossImageRelation(Term):
    """Cosines of every pixel to all pixels of every image of the batch."""

    zero_at_teacher: ClassVar[bool] = True
    formula: ClassVar[str] = (
        "mean over pairs of images (a, b) and pixels i of a of KL(σ(t_i · T_b / τ) ‖ σ(s_i · S_b / τ))"
    )
    source: ClassVar[str] = "Yang et al., CVPR 2022"
    status: ClassVar[Mapping[str, str]] = {
        "formula": "stated: features of unit length, ordered pairs, an image with itself included, no τ²; exact here, "
        "though no matrix of pairs is stored",
        "temperature": "stated: 0.1",
        "scope": "stated: pair; inferred: batch",
        "pool": "stated: 1, or averages over 2 x 2 pixels",
        "size": "inferred: a teacher map of another size is resized to the student's",
    }
    disagreements: ClassVar[tuple[str, ...]] = (
        "In the code the gathering over processes is commented out: of 16 images on 8 GPUs, 2 are compared; here all.",
        "The public code takes means over 4 x 4 pixels of maps from 256 pixels on, and other versions of it those over "
        "2 x 2 or none: here pool says so, for maps of any size.",
    )

    loss: Literal["cross_image_relation"] = "cross_image_relation"
    student_layer: Layers = "decoder"
    teacher_layer: Layers = "decoder"
    temperature: Temperature = 0.1
    scope: RelationScope = "pair"
    """The softmax runs over the pixels of one image, or of the whole `batch`."""
    pool: Annotated[int, Field(ge=1)] = 1
    """Side of the squares over which the features are averaged first."""

    def value(self, taps: TermInput) -> Tensor:
        """Return the loss between maps of any channels."""
        return cross_image_relation(*taps.pair(), self.temperature, scope=self.scope, pool=self.pool)


class MemoryRelation(Term):
    """Cosines of every pixel to remembered embeddings of the teacher."""

    formula: ClassVar[str] = (
        "T² · mean over labelled pixels of KL(σ(t_i · V / τT) ‖ σ(P(s_i) · V / τT)), V drawn from queues; for pixels "
        "and for regions"
    )
    source: ClassVar[str] = "Yang et al., CVPR 2022"
    status: ClassVar[Mapping[str, str]] = {
        "queues": "stated: per class 20000 pixels and 2000 regions (the mean of a class in an image), random at first",
        "drawn": "stated: per step 4096 // classes + 1 pixels and 1024 // classes + 1 regions of each class",
        "enqueued": "stated: up to 16 pixels of each class and image; inferred: a full queue goes on without a gap",
        "projector": "stated: 1x1 convolution, batch norm, ReLU, 1x1 convolution, on the student alone",
        "temperature": "stated: 0.1; kd_temperature 1",
        "size": "inferred: a teacher map of another size is resized to the student's",
    }
    disagreements: ClassVar[tuple[str, ...]] = (
        "In the code a class's pixel queue gets arbitrary pixels from the top of the image: queue_bug=true.",
        "Both weights are 0.1 for Cityscapes and 0.01 for Pascal VOC.",
    )

    loss: Literal["memory_relation"] = "memory_relation"
    student_layer: Layers = "decoder"
    teacher_layer: Layers = "decoder"
    pixel: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the relations to remembered pixels."""
    region: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the relations to remembered regions."""
    temperature: Temperature = 0.1
    kd_temperature: Temperature = 1.0
    """Divides the similarities once more; the loss is multiplied by its square."""
    pixel_memory: Annotated[int, Field(ge=1)] = 20000
    """Pixels remembered of each class; every one takes 4 bytes per channel of the teacher, in checkpoints too."""
    region_memory: Annotated[int, Field(ge=1)] = 2000
    """Regions remembered of each class."""
    pixels_drawn: Annotated[int, Field(ge=1)] = 4096
    """Remembered pixels that a step compares with, of all classes together."""
    regions_drawn: Annotated[int, Field(ge=1)] = 1024
    """Remembered regions that a step compares with, of all classes together."""
    enqueued: Annotated[int, Field(ge=1)] = 16
    """Pixels of each class and image that are remembered, at most."""
    queue_bug: bool = False
    """What the published code remembers: as many pixels as the class has, from the top of the image."""

    def module(self, student: Shape, teacher: Shape, num_classes: int) -> TermModule:
        """The projector and the queues."""
        return MemoryModule(self, student[0], teacher[0], num_classes)


class MemoryModule(TermModule):
    """A projector of the student's features, and queues of the teacher's."""

    def __init__(self, term: MemoryRelation, student_channels: int, teacher_channels: int, num_classes: int) -> None:
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


CITATION = (
    "Yang, Zhou, An, Jiang, Xu, Zhang. Cross-Image Relational Knowledge Distillation for Semantic Segmentation. CVPR "
    "2022, arXiv:2204.06986."
)

CIRKD_PULLS = {
    "pixel_kd": Range(low=0.1, high=10, log=True),
    "cross_image_relation": Range(low=0.1, high=10, log=True),
}

CIRKD = Method(
    name="cirkd",
    title="Cross-image relations: KD, the batch, and a memory",
    citation=CITATION,
    terms=(CrossEntropy(), PixelKd(), CrossImageRelation(), MemoryRelation(weight=0.1)),
    search={
        "pixel_kd.weight": Range(low=0.1, high=30, log=True),
        "cross_image_relation.weight": Range(low=0.1, high=10, log=True),
        "cross_image_relation.temperature": Choice(choices=(0.05, 0.1, 0.5)),
        "memory_relation.weight": Range(low=0.01, high=1, log=True),
    },
    pulls={
        **CIRKD_PULLS,
        "memory_relation": Range(low=0.02, high=2, log=True),
    },
    notes={
        "weights, temperatures": "stated: 1 and 1 for KD, 1 for the batch, 0.1 for the memory (0.01 for Pascal VOC)",
        "layer": "stated: what feeds the classifier",
        "queue": "inferred: filled as the paper says, not as the published code does",
    },
)

CIRKD_BATCH = Method(
    name="cirkd_batch",
    title="Cross-image relations: KD and the batch, without the memory",
    citation=CITATION,
    terms=(CrossEntropy(), PixelKd(), CrossImageRelation()),
    search={
        "pixel_kd.weight": Range(low=0.1, high=30, log=True),
        "cross_image_relation.weight": Range(low=0.1, high=10, log=True),
        "cross_image_relation.temperature": Choice(choices=(0.05, 0.1, 0.5)),
    },
    pulls=CIRKD_PULLS,
    notes={
        "weights, temperatures": "stated: those of the whole method",
        "layer": "stated: what feeds the classifier",
        "parts": "secondary: a row of the paper's ablation",
    },
)
