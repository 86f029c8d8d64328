"""CIRKD, cross-image relations: Yang, Zhou, An, Jiang, Xu, Zhang. CVPR 2022."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from kdtrain.loss_forms import RelationScope
from kdtrain.methods.base import Layers, Method, Shape, Temperature, Term
from kdtrain.methods.pixel import FORMER_KD_PULLS, KD_PULLS, PixelKd
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Choice, Range

if TYPE_CHECKING:
    from torch import Tensor

    from kdtrain.methods.modules.base import TermInput, TermModule


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

    def value(self, taps: "TermInput") -> "Tensor":
        """Return the loss between maps of any channels."""
        from kdtrain.losses import cross_image_relation

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

    def module(self, student: Shape, teacher: Shape, num_classes: int) -> "TermModule":
        """The projector and the queues."""
        from kdtrain.methods.modules.cirkd import MemoryModule

        return MemoryModule(self, student[0], teacher[0], num_classes)


CITATION = (
    "Yang, Zhou, An, Jiang, Xu, Zhang. Cross-Image Relational Knowledge Distillation for Semantic Segmentation. CVPR "
    "2022, arXiv:2204.06986."
)

CIRKD_PULLS = {**KD_PULLS, "cross_image_relation": Range(low=0.1, high=50, log=True)}
WIDE_CIRKD_PULLS = {"cross_image_relation": Range(low=0.1, high=10, log=True)}

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
    pulls=CIRKD_PULLS | {"memory_relation": Range(low=0.02, high=20, log=True)},
    former_pulls={
        **FORMER_KD_PULLS,
        "wide": WIDE_CIRKD_PULLS | {"memory_relation": Range(low=0.02, high=2, log=True)},
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
    former_pulls={**FORMER_KD_PULLS, "wide": WIDE_CIRKD_PULLS},
    notes={
        "weights, temperatures": "stated: those of the whole method",
        "layer": "stated: what feeds the classifier",
        "parts": "secondary: a row of the paper's ablation",
    },
)
