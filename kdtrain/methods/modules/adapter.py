"""The module of a term behind an adapter."""

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from kdtrain.losses.maps import precise
from kdtrain.methods.modules.base import PlainModule, TermInput

if TYPE_CHECKING:
    from kdtrain.methods.base import Term


class AdaptedModule(PlainModule):
    """A plain term on the student's features brought to the teacher's channels."""

    def __init__(self, term: "Term", student_channels: int, teacher_channels: int, norm: bool) -> None:
        super().__init__(term)
        self.adapter = nn.Sequential(nn.Conv2d(student_channels, teacher_channels, 1, bias=False))
        if norm:
            self.adapter.extend([nn.BatchNorm2d(teacher_channels), nn.ReLU()])

    def forward(self, taps: TermInput) -> Tensor:
        """Return the loss of the adapted student."""
        return super().forward(replace(taps, students=(self.adapter(precise(taps.student)),)))
