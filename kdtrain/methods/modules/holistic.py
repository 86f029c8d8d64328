"""The discriminator of holistic distillation, with an optimizer of its own."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import relu
from torch.nn.utils.parametrizations import spectral_norm

from kdtrain.losses import resize_map
from kdtrain.losses.maps import full_precision, sent
from kdtrain.methods.holistic import LAST_KERNEL, WIDTHS
from kdtrain.methods.modules.base import TermInput, TermModule

if TYPE_CHECKING:
    from kdtrain.methods.holistic import Holistic

_ATTENTIVE = 256
"""From this width on, self-attention follows."""


class HolisticModule(TermModule):
    """The discriminator, which is trained in the same call that computes the loss."""

    def __init__(self, term: "Holistic", channels: int, side: int) -> None:
        super().__init__()
        self.term = term
        self.discriminator = build_discriminator(channels, side).requires_grad_(False)
        parameters = list(self.discriminator.parameters())
        self.optimizer: torch.optim.Optimizer
        if term.optimizer == "adam":
            self.optimizer = torch.optim.Adam(parameters, lr=term.lr, betas=(0.9, 0.99))
        else:
            self.optimizer = torch.optim.SGD(parameters, lr=term.lr, momentum=0.9, weight_decay=5e-4)

    @property
    def draws(self) -> bool:
        """The gradient penalty draws; also, the discriminator takes steps of its own."""
        return True

    def forward(self, taps: TermInput) -> Tensor:
        """Return minus the mean judgement of the student; in training mode, the discriminator learns first."""
        student, teacher = taps.pair()
        if self.term.view is not None:
            student, teacher = (resize_map(side, (self.term.view, self.term.view)) for side in (student, teacher))
        with full_precision(student):
            if self.training:
                self._learn(student.detach(), teacher.detach(), taps)
            loss: Tensor = -self.discriminator(student).mean()
            return loss

    def get_extra_state(self) -> dict[str, Any]:
        """The state of the optimizer, which belongs into checkpoints."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Resume from a checkpoint."""
        self.optimizer.load_state_dict(state)

    def _learn(self, fake: Tensor, real: Tensor, taps: TermInput) -> None:
        # needs no gradient outside of this function, so that the student's optimizer and its clipping never see it
        judge = self.discriminator.requires_grad_(True)
        parameters = list(judge.parameters())
        with torch.enable_grad():
            match self.term.objective:
                case "hinge":
                    loss = relu(1 - judge(real)).mean() + relu(1 + judge(fake)).mean()
                case "wgan_gp":
                    drawn = sent(torch.rand(len(fake), 1, 1, 1, generator=taps.generator), fake)
                    loss = judge(fake).mean() - judge(real).mean()
                    loss = loss + self.term.penalty * gradient_penalty(judge, drawn * real + (1 - drawn) * fake)
            gradients = torch.autograd.grad(self.term.discriminator_weight * loss, parameters)
        judge.requires_grad_(False)
        taps.broadcast_([*gradients, *judge.buffers()])
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def gradient_penalty(judge: nn.Module, maps: Tensor) -> Tensor:
    """Mean over images of `(|gradient of the judgement| - 1)^2` (Gulrajani et al., NeurIPS 2017)."""
    maps = maps.detach().requires_grad_()
    (slopes,) = torch.autograd.grad(judge(maps).sum(), maps, create_graph=True)
    penalty: Tensor = (torch.linalg.vector_norm(slopes.flatten(1), dim=1) - 1).square().mean()
    return penalty


def build_discriminator(channels: int, side: int) -> nn.Sequential:
    """Make a discriminator for maps `(N, channels, H, W)`, the smaller of H and W being `side` (at least 2).

    Where the map is too small for all four layers of stride 2, the last ones are left out.
    """
    depth = min(len(WIDTHS), max(1, (side // LAST_KERNEL).bit_length() - 1))
    layers: list[nn.Module] = [nn.BatchNorm2d(channels)]
    for width in WIDTHS[:depth]:
        layers += [spectral_norm(nn.Conv2d(channels, width, 4, stride=2, padding=1)), nn.LeakyReLU(0.1)]
        if width >= _ATTENTIVE:
            layers.append(SelfAttention(width))
        channels = width
    return nn.Sequential(*layers, nn.Conv2d(channels, 1, min(LAST_KERNEL, side >> depth)))


class SelfAttention(nn.Module):
    """Attention among the pixels of a small map, added with a factor that starts at 0 (Zhang et al., ICML 2019)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1)
        self.key = nn.Conv2d(channels, channels // 8, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps `(N, C, H, W)` of the same shape."""
        query, key, value = (layer(maps).flatten(2) for layer in (self.query, self.key, self.value))
        attention = (query.mT @ key).softmax(-1)
        attended: Tensor = maps + self.gamma * (value @ attention.mT).view_as(maps)
        return attended
