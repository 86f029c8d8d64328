"""DSD, double similarity distillation: Feng, Sun, Diao, Li, Gao. IEEE Transactions on Image Processing 30, 2021."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from kdtrain.loss_forms import LayerPairs, SimilarityForm, SimilarityReduction, SimilaritySoftmax
from kdtrain.methods.base import Layers, Method, Temperature, Term
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Choice, Range

if TYPE_CHECKING:
    from torch import Tensor

    from kdtrain.methods.modules.base import TermInput


class PixelSimilarity(Term):
    """What changes in the attention to pixels, from layer to layer."""

    joint: ClassVar[bool] = True
    zero_at_teacher: ClassVar[bool] = True
    formula: ClassVar[str] = "mean over pairs of layers, images and pixels of (r_s − r_t)², r = unit(a_m − a_n)"
    source: ClassVar[str] = "Feng et al., IEEE TIP 2021, as in CIRKD's code"
    status: ClassVar[Mapping[str, str]] = {
        "formula": "stated: CIRKD, with a the squares averaged over channels, of unit length",
        "reduction": "stated: mean, in CIRKD; inferred: image",
        "pairs": "stated: all, in CIRKD; secondary: adjacent ones, in descriptions of the paper",
        "layers": "stated: auxiliary logits, penultimate features, logits, in CIRKD; inferred: the fourth stage "
        "instead of the auxiliary logits, which not every network has",
        "size": "inferred: all maps are resized to that of the student's last layer",
    }
    disagreements: ClassVar[tuple[str, ...]] = (
        "CIRKD's code takes the logits twice for students without an auxiliary head, beside the teacher's auxiliary "
        "logits.",
        "The value falls as 1 over the pixels: a weight holds for one crop size only; reduction=image is that value "
        "times the pixels.",
    )

    loss: Literal["pixel_similarity"] = "pixel_similarity"
    student_layer: Layers = "encoder.4,decoder,logits"
    teacher_layer: Layers = "encoder.4,decoder,logits"
    pairs: LayerPairs = "all"
    """Between which layers: `all` pairs, or `adjacent` ones."""
    reduction: SimilarityReduction = "mean"
    """`mean` over pixels, or their sum, as a mean over images (`image`), which depends on no size."""

    @model_validator(mode="after")
    def _several(self) -> "PixelSimilarity":
        if len(self.student_layers) < 2:
            raise ValueError(f"student_layer: pixel_similarity needs at least two, got {self.student_layer!r}")
        return self

    def value(self, taps: "TermInput") -> "Tensor":
        """Return the loss between maps of any channels and sizes."""
        from kdtrain.losses import pixel_similarity, resize_map
        from kdtrain.losses.maps import precise

        size = taps.students[-1].shape[-2:]
        _ = taps.teacher  # raises where there is none
        students, teachers = (
            [resize_map(precise(side), size) for side in sides] for sides in (taps.students, taps.teachers)
        )
        return pixel_similarity(students, teachers, pairs=self.pairs, reduction=self.reduction)


class CategorySimilarity(Term):
    """Products of the soft maps of all pairs of classes."""

    zero_at_teacher: ClassVar[bool] = True
    formula: ClassVar[str] = "mean over images and pairs of classes of (Q_s Q_sᵀ − Q_t Q_tᵀ)², Q = softmax(z / T)"
    source: ClassVar[str] = "Feng et al., IEEE TIP 2021, as in CIRKD's code"
    status: ClassVar[Mapping[str, str]] = {
        "formula": "stated: CIRKD, on logits averaged over 2 x 2 pixels",
        "form": "stated: code, in CIRKD; secondary: rows, in descriptions of the paper",
        "softmax": "stated: space, in CIRKD; secondary: class, in descriptions of the paper",
        "temperature": "stated: 4, in CIRKD",
        "size": "inferred: a teacher map of another size is resized to the student's",
    }
    disagreements: ClassVar[tuple[str, ...]] = (
        "As CIRKD codes it the value is about 1e-11 at 64 x 128: with its weight of 10 the term does not act. "
        "form=rows has values that do.",
    )

    loss: Literal["category_similarity"] = "category_similarity"
    temperature: Temperature = 4.0
    pool: Annotated[int, Field(ge=1)] = 2
    """Side of the squares over which the logits are averaged first."""
    form: SimilarityForm = "code"
    """The soft maps as the softmax gives them (`code`), or of unit length (`rows`)."""
    softmax: SimilaritySoftmax = "space"
    """Over all pixels of a class, or over all classes of a pixel."""

    @property
    def equal_channels(self) -> bool:
        """Both maps hold the same classes."""
        return True

    def value(self, taps: "TermInput") -> "Tensor":
        """Return the loss between maps of equal classes."""
        from kdtrain.losses import category_similarity

        return category_similarity(*taps.pair(), self.temperature, pool=self.pool, form=self.form, softmax=self.softmax)


DSD = Method(
    name="dsd",
    title="Double similarity: of pixels between layers, and of categories",
    citation=(
        "Feng, Sun, Diao, Li, Gao. Double Similarity Distillation for Semantic Image Segmentation. IEEE Transactions "
        "on Image Processing 30, 2021."
    ),
    terms=(
        CrossEntropy(),
        PixelSimilarity(weight=0.12, reduction="image"),
        CategorySimilarity(weight=10.0, form="rows"),
    ),
    published=(CrossEntropy(), PixelSimilarity(weight=1000.0), CategorySimilarity(weight=10.0)),
    search={
        "pixel_similarity.weight": Range(low=10, high=1e5, log=True),
        "category_similarity.weight": Range(low=1, high=1e6, log=True),
        "category_similarity.form": Choice(choices=("code", "rows")),
    },
    pulls={
        "pixel_similarity": Range(low=0.03, high=3, log=True),
        "category_similarity": Range(low=0.05, high=5, log=True),
    },
    notes={
        "weights": "stated: 1000 and 10 in CIRKD; the authors published no code; inferred: 0.12 for reduction image, "
        "which is 1000 divided by the 64 x 128 pixels there, and form rows, because the published one does not act",
        "alone": "stated: in CIRKD without pixel-wise KD",
    },
)
