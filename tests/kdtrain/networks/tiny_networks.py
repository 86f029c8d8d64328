"""Networks of one's own for the tests, named in configs as `tiny_networks:<function>`."""

import os
import signal

import torch
from torch import Tensor, distributed, nn

SEEN: list[tuple[float, Tensor]] = []
"""Of every training step of `watched`: the sum of its images, and its first weights before the step."""


class Tiny(nn.Module):
    """Two strided convolutions with batch norm and dropout; logits at a quarter of the size."""

    layers = {"decoder": "body", "encoder.1": "stem"}

    def __init__(self, num_classes: int, width: int, dropout: float) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.body = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU(), nn.Dropout2d(dropout)
        )
        self.head = nn.Conv2d(2 * width, num_classes, 1)
        self.unused = nn.Conv2d(1, 1, 1).requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        return self.head(self.body(self.stem(images)))


class WithAux(Tiny):
    def __init__(self, num_classes: int, width: int = 6) -> None:
        super().__init__(num_classes, width, 0.0)
        self.aux = nn.Conv2d(width, num_classes, 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        stem = self.stem(images)
        return {"out": self.head(self.body(stem)), "aux": self.aux(stem)}


class Watched(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            SEEN.append((images.double().sum().item(), self.stem[0].weight.detach().clone()))
        return super().forward(images)


class Breaks(Tiny):
    """NaN from training step `at` on."""

    def __init__(self, num_classes: int, at: int) -> None:
        super().__init__(num_classes, 4, 0.0)
        self.at, self.step = at, 0

    def forward(self, images: Tensor) -> Tensor:
        self.step += self.training
        return super().forward(images) * (float("nan") if self.step >= self.at else 1.0)


class BadGradient(Tiny):
    """A finite value whose gradient is NaN."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, 4, 0.0)
        self.zero = nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + 0.0 * self.zero.sqrt()


class Tied(Tiny):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, 4, 0.0)
        self.again = self.head


class SecondFails(Tiny):
    """Of several processes, the second one fails in training step `at`."""

    def __init__(self, num_classes: int, how: str, at: int) -> None:
        super().__init__(num_classes, 4, 0.0)
        self.how, self.at, self.step = how, at, 0

    def forward(self, images: Tensor) -> Tensor:
        self.step += self.training
        if self.training and self.step == self.at and distributed.is_initialized() and distributed.get_rank() == 1:
            if self.how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise torch.OutOfMemoryError("nothing left")
        return super().forward(images)


def second_fails(num_classes: int, how: str, at: int) -> nn.Module:
    return SecondFails(num_classes, how, at)


def tiny(num_classes: int, width: int = 6, dropout: float = 0.1) -> nn.Module:
    return Tiny(num_classes, width, dropout)


def with_aux(num_classes: int) -> nn.Module:
    return WithAux(num_classes)


def watched(num_classes: int) -> nn.Module:
    return Watched(num_classes, 4, 0.1)


def breaks(num_classes: int, at: int) -> nn.Module:
    return Breaks(num_classes, at)


def bad_gradient(num_classes: int) -> nn.Module:
    return BadGradient(num_classes)


def tied(num_classes: int) -> nn.Module:
    return Tied(num_classes)


def one_class_more(num_classes: int) -> nn.Module:
    return Tiny(num_classes + 1, 4, 0.0)


def no_module(num_classes: int) -> str:
    return "network"


class Unnamed(Tiny):
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"predictions": super().forward(images)}


def unnamed(num_classes: int) -> nn.Module:
    return Unnamed(num_classes, 4, 0.0)


class TooSmall(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        if images.shape[-2] < 64:
            raise RuntimeError("images must be 64 high\nand more")
        return super().forward(images)


def at_least_64_high(num_classes: int) -> nn.Module:
    return TooSmall(num_classes, 4, 0.0)
