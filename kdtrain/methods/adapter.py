"""A trained 1x1 layer that brings the student's features to the teacher's channels."""

from dataclasses import replace
from typing import Literal

from torch import Tensor, nn

from kdtrain.losses.maps import precise
from kdtrain.methods.base import PlainModule, Shape, Term, TermInput, TermModule

Adapter = Literal["auto", "conv", "conv_bn_relu", "none"]


class AdaptedTerm(Term):
    """A loss between maps of equal channels, which an adapter may have to make so."""

    adapter: Adapter = "auto"
    """A trained 1x1 layer on the student: `auto` is `conv` where features differ in channels, else `none`."""

    @property
    def equal_channels(self) -> bool:
        """Channels must agree where nothing adapts them; the channels of logits are classes."""
        logits = {*self.student_layers, *self.teacher_layers} == {"logits"}
        return self.adapter == "none" or (self.adapter == "auto" and logits)

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
