"""The generator of MGD."""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kdtrain.losses.maps import precise, sent
from kdtrain.methods.modules.base import PlainModule, TermInput

if TYPE_CHECKING:
    from kdtrain.methods.mgd import MaskedGeneration


class MaskedGenerationModule(PlainModule):
    """A generator that fills in masked pixels of the student's features."""

    term: "MaskedGeneration"

    def __init__(self, term: "MaskedGeneration", student_channels: int, teacher_channels: int) -> None:
        super().__init__(term)
        same = student_channels == teacher_channels
        self.align = nn.Identity() if same else nn.Conv2d(student_channels, teacher_channels, 1)
        self.generate = nn.Sequential(
            nn.Conv2d(teacher_channels, teacher_channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(teacher_channels, teacher_channels, 3, padding=1),
        )

    @property
    def draws(self) -> bool:
        """The mask is random."""
        return True

    def forward(self, taps: TermInput) -> Tensor:
        """Return the loss of what the generator makes of the rest."""
        features = self.align(precise(taps.student))
        drawn = torch.rand(len(features), 1, *features.shape[2:], generator=taps.generator)
        kept = sent((drawn >= self.term.masked), features)
        return super().forward(replace(taps, students=(self.generate(kept * features),)))
