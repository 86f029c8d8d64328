"""CWD: Shu, Liu, Gao, Yan, Shen. Channel-wise Knowledge Distillation for Dense Prediction. ICCV 2021.

Stated: formula, temperature and weight on logits, adapters on features. Inferred: the divergences other than
KL and MSE.
"""

from dataclasses import replace
from typing import Literal

from pydantic import model_validator
from torch import Tensor, nn

from kdtrain.losses import channel_wise
from kdtrain.losses.channels import Divergence, Normalize
from kdtrain.losses.maps import precise
from kdtrain.methods.base import Method, PlainModule, Shape, Temperature, Term, TermInput, TermModule
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Choice, Range

Adapter = Literal["auto", "conv", "conv_bn_relu", "none"]


class ChannelWise(Term):
    """Divergence between the places where the channels of student and teacher look."""

    loss: Literal["channel_wise"] = "channel_wise"
    temperature: Temperature = 4.0
    normalize: Normalize = "channel"
    divergence: Divergence = "kl"
    adapter: Adapter = "auto"
    """A trained 1x1 layer on the student: `auto` is `conv` where features differ in channels, else `none`."""

    @model_validator(mode="after")
    def _distributions(self) -> "ChannelWise":
        if self.normalize in ("channel_mean", "none") and self.divergence != "mse":
            raise ValueError(
                f"normalize={self.normalize!r} gives no distributions: divergence must be 'mse', "
                f"but came {self.divergence!r}"
            )
        return self

    @property
    def equal_channels(self) -> bool:
        """Channels must agree where nothing adapts them; the channels of logits are classes."""
        logits = {*self.student_layers, *self.teacher_layers} == {"logits"}
        return self.adapter == "none" or (self.adapter == "auto" and logits)

    def value(self, taps: TermInput) -> Tensor:
        """Return the loss between maps of equal channels."""
        return channel_wise(*taps.pair(), self.temperature, normalize=self.normalize, divergence=self.divergence)

    def module(self, student: Shape, teacher: Shape, num_classes: int) -> TermModule:
        """The loss, behind an adapter if there is one."""
        match self.adapter:
            case "none":
                return PlainModule(self)
            case "auto" if student[0] == teacher[0]:
                return PlainModule(self)
        return AdaptedModule(self, student[0], teacher[0], self.adapter == "conv_bn_relu")


class AdaptedModule(PlainModule):
    """A plain term on the student's features brought to the teacher's channels."""

    def __init__(self, term: Term, student_channels: int, teacher_channels: int, norm: bool) -> None:
        super().__init__(term)
        self.adapter = nn.Sequential(nn.Conv2d(student_channels, teacher_channels, 1, bias=False))
        if norm:
            self.adapter.extend([nn.BatchNorm2d(teacher_channels), nn.ReLU()])

    def forward(self, taps: TermInput) -> Tensor:
        """Return the loss of the adapted student."""
        return super().forward(replace(taps, students=(self.adapter(precise(taps.student)),)))


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
    notes={
        "weight, temperature": "stated: the authors' logs have 35 and 40, with 1 to 10",
        "adapter": "stated: 1x1 convolution, batch norm (in place and leaky there) and ReLU in the "
        "authors' code; CIRKD has the convolution alone",
        "layer": "stated: what feeds the classifier",
    },
)
