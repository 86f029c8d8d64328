"""CWD: Shu, Liu, Gao, Yan, Shen. Channel-wise Knowledge Distillation for Dense Prediction. ICCV 2021.

Stated: formula, temperature and weight on logits, adapters on features. Inferred: the divergences other than
KL and MSE.
"""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import model_validator

from kdtrain.loss_forms import Divergence, Normalize
from kdtrain.methods.adapter import AdaptedTerm
from kdtrain.methods.base import Method, Shape, Temperature
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Choice, Range

if TYPE_CHECKING:
    from torch import Tensor

    from kdtrain.methods.modules.base import TermInput, TermModule


class ChannelWise(AdaptedTerm):
    """Divergence between the places where the channels of student and teacher look."""

    zero_at_teacher: ClassVar[bool] = True
    formula: ClassVar[str] = "T² / (N C) · sum over images and channels of KL(φ(t) ‖ φ(s)), φ the softmax over space"
    source: ClassVar[str] = "Shu et al., ICCV 2021, equation 4"
    status: ClassVar[dict[str, str]] = {
        "formula": "stated: KL(teacher ‖ student) of softmaxes over space",
        "normalize": "stated: channel, class, channel_mean and none are in the authors' code",
        "divergence": "stated: kl and mse; inferred: reverse and symmetric",
        "adapter": "stated: 1x1 convolution (CIRKD), with batch norm and ReLU (the authors); none on logits",
        "counted": "stated: student is what CIRKD and CSKD do; the paper's C is that of the maps compared",
        "size": "inferred: a teacher map of another size is resized to the student's",
    }
    disagreements: ClassVar[tuple[str, ...]] = (
        "CIRKD and CSKD divide a feature loss by the student's channels before the adapter, and so weigh it C_t / C_s "
        "times too much (2 to 4 in their zoo): counted=student.",
        "The authors' code takes the logarithm of a softmax, which is NaN once a channel's range exceeds about 104 T.",
        "The authors' port to mmseg has T = 1 and weight 5 (10 on ADE20K) where their own code has T = 4 and weight 3.",
    )

    loss: Literal["channel_wise"] = "channel_wise"
    temperature: Temperature = 4.0
    normalize: Normalize = "channel"
    """`channel`: softmax over space; `class`: over channels; `channel_mean` and `none`: no softmax, `mse` only."""
    divergence: Divergence = "kl"
    """`kl` (of the student from the teacher), `reverse`, `symmetric` or `mse`."""
    counted: Literal["adapted", "student"] = "adapted"
    """Whose channels the loss is divided by: those behind the adapter, or, as in CIRKD's code, before it."""

    @model_validator(mode="after")
    def _distributions(self) -> "ChannelWise":
        if self.normalize in ("channel_mean", "none") and self.divergence != "mse":
            raise ValueError(
                f"normalize={self.normalize!r} gives no distributions: divergence must be 'mse', "
                f"got {self.divergence!r}"
            )
        if self.normalize in ("class", "none") and self.counted == "student":
            raise ValueError(
                f"normalize={self.normalize!r} divides by no channels: counted must be 'adapted', got 'student'"
            )
        return self

    def value(self, taps: "TermInput") -> "Tensor":
        """Return the loss between maps of equal channels."""
        from kdtrain.losses import channel_wise

        return channel_wise(*taps.pair(), self.temperature, normalize=self.normalize, divergence=self.divergence)

    def module(self, student: Shape, teacher: Shape, num_classes: int) -> "TermModule":
        """The loss, behind an adapter if there is one."""
        from kdtrain.methods.modules.base import PlainModule
        from kdtrain.methods.modules.channel_wise import Rescaled

        inner = super().module(student, teacher, num_classes)
        if self.counted == "adapted" or type(inner) is PlainModule:
            return inner
        return Rescaled(inner, teacher[0] / student[0])


CITATION = (
    "Shu, Liu, Gao, Yan, Shen. Channel-wise Knowledge Distillation for Dense Prediction. ICCV 2021, arXiv:2011.13256."
)

CWD = Method(
    name="cwd",
    title="Channel-wise distillation of the logits",
    citation=CITATION,
    terms=(CrossEntropy(), ChannelWise(weight=3.0, temperature=4.0)),
    search={
        "channel_wise.weight": Range(low=0.3, high=30, log=True),
        "channel_wise.temperature": Choice(choices=(1.0, 2.0, 4.0, 8.0)),
    },
    pulls={"channel_wise": Range(low=0.2, high=19, log=True)},
    notes={
        "formula": "stated: T^2 / (N C) times the sum of KL(teacher || student) over channels",
        "weight, temperature": "stated: 3 and 4 in the authors' code; 5 and 1 in their port to mmseg",
        "divergence": "stated: kl and mse; inferred: reverse and symmetric",
        "size": "inferred: a teacher map of another size is resized to the student's",
    },
)

CWD_FEATURE = Method(
    name="cwd_feature",
    title="Channel-wise distillation of the features",
    citation=CITATION,
    terms=(
        CrossEntropy(),
        ChannelWise(
            weight=35.0,
            temperature=4.0,
            student_layer="decoder",
            teacher_layer="decoder",
            adapter="conv_bn_relu",
        ),
    ),
    search={
        "channel_wise.weight": Range(low=3, high=300, log=True),
        "channel_wise.temperature": Range(low=1, high=10, integer=True),
    },
    pulls={"channel_wise": Range(low=0.2, high=19, log=True)},
    notes={
        "weight, temperature": "stated: the authors' logs have 35 and 40, with 1 to 10",
        "adapter": "stated: 1x1 convolution, batch norm (in place and leaky there) and ReLU in the "
        "authors' code; CIRKD has the convolution alone",
        "layer": "stated: what feeds the classifier",
    },
)
