"""AT: Zagoruyko, Komodakis. Paying More Attention to Attention. ICLR 2017."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from kdtrain.loss_forms import AttentionForm
from kdtrain.methods.base import Layers, Method, Term
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Range

if TYPE_CHECKING:
    from torch import Tensor

    from kdtrain.methods.modules.base import TermInput


class AttentionTransfer(Term):
    """Distance between the maps of where features are strong."""

    zero_at_teacher: ClassVar[bool] = True
    formula: ClassVar[str] = "mean over images and pixels of (q_s − q_t)², q = Σ_c |f_c|^p as a unit vector per image"
    source: ClassVar[str] = "Zagoruyko & Komodakis, ICLR 2017, equation 2"
    status: ClassVar[Mapping[str, str]] = {
        "form": "stated: paper is the paper's equation, code that of the authors, CIRKD, mmrazor; inferred: squared",
        "power": "stated: 2 in the codes; 1 is among the paper's choices",
        "size": "inferred: a teacher map of another size is resized to the student's",
    }
    disagreements: ClassVar[tuple[str, ...]] = (
        "The paper sums distances |q_s − q_t|; the codes take the mean of squares, which is 2 (1 − cosine) / (H W).",
        "As coded the value shrinks with the number of pixels: a weight holds for one crop size only; form=squared is "
        "that value times the pixels.",
    )

    loss: Literal["attention_transfer"] = "attention_transfer"
    student_layer: Layers = "decoder"
    teacher_layer: Layers = "decoder"
    form: AttentionForm = "code"
    """`code`: mean of squared differences; `paper`: distance of the two unit vectors; `squared`: its square, which
    depends on no size."""
    power: Annotated[float, Field(ge=1)] = 2.0
    """Exponent of the features before channels are averaged."""

    def value(self, taps: "TermInput") -> "Tensor":
        """Return the loss between maps of any channels."""
        from kdtrain.losses import attention_transfer

        return attention_transfer(*taps.pair(), form=self.form, power=self.power)


CITATION = (
    "Zagoruyko, Komodakis. Paying More Attention to Attention: Improving the Performance of Convolutional Neural "
    "Networks via Attention Transfer. ICLR 2017, arXiv:1612.03928."
)

AT = Method(
    name="at",
    title="Attention transfer at the penultimate features",
    citation=CITATION,
    terms=(CrossEntropy(), AttentionTransfer(weight=1.2, form="squared")),
    published=(CrossEntropy(), AttentionTransfer(weight=1e4)),
    search={"attention_transfer.weight": Range(low=1e2, high=1e6, log=True)},
    pulls={"attention_transfer": Range(low=0.1, high=10, log=True)},
    notes={
        "weight": "stated: 10000 in CIRKD, beside pixel-wise KD (zoo_at), at 64 x 128 pixels; "
        "inferred: 1.2 for form squared, which is 10000 divided by these pixels",
        "layer": "stated: what feeds the classifier, in CIRKD; the ends of several stages in the paper",
        "alone": "inferred: without the pixel-wise KD that the zoo adds",
    },
)
