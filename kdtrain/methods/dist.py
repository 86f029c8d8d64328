"""DIST: Huang, You, Wang, Qian, Xu. Knowledge Distillation from A Stronger Teacher. NeurIPS 2022."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from kdtrain.loss_forms import IntraAxis
from kdtrain.methods.base import FormerPulls, Method, Temperature, Term
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Choice, Domain, Range

if TYPE_CHECKING:
    from torch import Tensor

    from kdtrain.methods.modules.base import TermInput


class Dist(Term):
    """Pearson distances between probabilities, among classes and among pixels."""

    zero_at_teacher: ClassVar[bool] = True
    formula: ClassVar[str] = "β (1 − mean over pixels of ρ(p_s, p_t)) + γ (1 − mean over classes of ρ(p_s, p_t))"
    source: ClassVar[str] = "Huang et al., NeurIPS 2022"
    status: ClassVar[Mapping[str, str]] = {
        "formula": "stated: rows are the pixels of the batch, columns its classes, on unresized logits",
        "inter, intra": "stated: 1 and 1",
        "temperature": "stated: 1",
        "intra_axis": "stated: pixels (authors), batch (mmrazor, on maps)",
        "size": "inferred: a teacher map of another size is resized to the student's",
    }
    disagreements: ClassVar[tuple[str, ...]] = (
        "mmrazor and the authors' code for classification multiply by T²; the paper does not: scaled=true.",
        "mmrazor's intra term on maps correlates the images of a batch at each position: intra_axis=batch, constant 1 "
        "for one image.",
    )

    loss: Literal["dist"] = "dist"
    inter: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the relations between classes (β)."""
    intra: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the relations within classes (γ)."""
    temperature: Temperature = 1.0
    scaled: bool = False
    """Whether to multiply by the temperature squared."""
    intra_axis: IntraAxis = "pixels"
    """What a class's correlation runs over: all pixels of the batch, or its images, position by position."""

    @model_validator(mode="after")
    def _something(self) -> "Dist":
        if self.inter == 0 and self.intra == 0:
            raise ValueError("inter and intra cannot both be 0: then nothing is compared")
        return self

    @property
    def equal_channels(self) -> bool:
        """Both maps hold the same classes."""
        return True

    @property
    def smallest_batch(self) -> int:
        """A correlation over images needs several of them."""
        return 2 if self.intra_axis == "batch" else 1

    def value(self, taps: "TermInput") -> "Tensor":
        """Return the weighted sum of both distances."""
        from kdtrain.losses import dist

        return dist(
            *taps.pair(),
            self.inter,
            self.intra,
            temperature=self.temperature,
            scaled=self.scaled,
            intra_axis=self.intra_axis,
        )


CITATION = "Huang, You, Wang, Qian, Xu. Knowledge Distillation from A Stronger Teacher. NeurIPS 2022, arXiv:2205.10536."
SEARCH: dict[str, Domain] = {
    "dist.weight": Range(low=0.1, high=10, log=True),
    "dist.inter": Choice(choices=(0.5, 1.0, 2.0)),
    "dist.intra": Choice(choices=(0.5, 1.0, 2.0)),
    "dist.temperature": Choice(choices=(1.0, 2.0, 4.0)),
}
PULLS = {"dist": Range(low=0.1, high=50, log=True)}
FORMER_PULLS: FormerPulls = {"narrow": {"dist": Range(low=0.1, high=10, log=True)}}
NOTES = {
    "weight, inter, intra, temperature": "stated: all 1 in the authors' code for segmentation",
    "layer": "stated: the logits, unresized",
}

DIST = Method(
    name="dist",
    title="Relations between predictions",
    citation=CITATION,
    terms=(CrossEntropy(), Dist()),
    search=SEARCH,
    pulls=PULLS,
    former_pulls=FORMER_PULLS,
    notes=NOTES | {"auxiliary logits": "stated: left out for students without an auxiliary head; see dist_aux"},
)

DIST_AUX = Method(
    name="dist_aux",
    title="Relations between predictions, of the auxiliary heads, too",
    citation=CITATION,
    terms=(CrossEntropy(), Dist(), Dist(name="dist_aux", weight=0.4, student_layer="aux", teacher_layer="aux")),
    search=SEARCH | {"dist_aux.weight": Range(low=0.04, high=4, log=True)},
    pulls=PULLS | {"dist_aux": Range(low=0.05, high=5, log=True)},
    former_pulls=FORMER_PULLS,
    notes=NOTES | {"auxiliary logits": "stated: 0.4, for ResNet students, between both auxiliary heads"},
)
