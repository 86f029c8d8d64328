"""Networks of a user's that are unusual or wrong, named in configs as `odd_networks:<function>`."""

import os
import signal
from collections import namedtuple
from typing import Any

import torch
from tiny_networks import Tiny
from torch import Tensor, nn

Named = namedtuple("Named", "loss logits")


class Returned:
    """An object as libraries of transformers return it."""

    def __init__(self, logits: Tensor) -> None:
        self.logits, self.loss = logits, None


class Returns(Tiny):
    """Tiny, whose output has another form; a second head is there where the form has two."""

    def __init__(self, num_classes: int, form: str) -> None:
        super().__init__(num_classes, 6, 0.0)
        self.form = form
        if "second" in form:
            self.second = nn.Conv2d(6, num_classes, 1)

    def forward(self, images: Tensor) -> Any:
        stem = self.stem(images)
        logits = self.head(self.body(stem))
        match self.form:
            case "tensor":
                return logits
            case "dict of logits":
                return {"logits": logits}
            case "dict of out":
                return {"out": logits}
            case "object":
                return Returned(logits)
            case "named tuple":
                return Named(None, logits)
            case "tuple":
                return (logits, stem)
            case "list of one":
                return [logits]
            case "second first":
                return [self.second(stem), logits]
            case "second first in training":
                return [self.second(stem), logits] if self.training else logits
            case "second last in training":
                return [logits, self.second(stem)] if self.training else logits
            case "losses in training":
                return {"loss_ce": logits.mean(), "loss_dice": logits.mean()} if self.training else logits
            case "loss and logits":
                return (logits.mean(), logits)
            case "nested":
                return ((logits, stem), stem)
            case "class ids":
                return logits.argmax(1, keepdim=True)
            case "three dimensions":
                return logits.flatten(2)
            case "softmax":
                return logits.softmax(1)
            case "sigmoid":
                return logits.sigmoid()
            case "log_softmax":
                return logits.log_softmax(1)
            case "one class more in training":
                return torch.cat([logits, logits[:, :1]], 1) if self.training else logits
            case "transposed":
                return logits.mT
            case "one value":
                return logits.mean((2, 3), keepdim=True)
            case "softmax in evaluation":
                return logits if self.training else logits.softmax(1)
            case "softmax in training":
                return logits.softmax(1) if self.training else logits
            case "nothing":
                return None
        raise ValueError(self.form)


def returns(num_classes: int, form: str) -> nn.Module:
    return Returns(num_classes, form)


class Multiple(nn.Module):
    """A network that takes multiples of a number alone, as one with skip connections or patches does."""

    def __init__(self, num_classes: int, multiple: int, patches: bool = False) -> None:
        super().__init__()
        self.multiple = multiple
        if patches:
            self.patch_size = (multiple, multiple)
        self.body = nn.Conv2d(3, 4, multiple, multiple)
        self.head = nn.ConvTranspose2d(4, num_classes, multiple, multiple)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images)) + images.mean(1, keepdim=True)


def multiple_of(num_classes: int, multiple: int, patches: bool = False) -> nn.Module:
    return Multiple(num_classes, multiple, patches)


class OneSize(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        assert images.shape[-2:] == (32, 48), "images must be 32 x 48"
        return super().forward(images)


def one_size(num_classes: int) -> nn.Module:
    return OneSize(num_classes, 6, 0.0)


class Views(Tiny):
    """Views a map as contiguous, in which modes `when` says."""

    def __init__(self, num_classes: int, when: str) -> None:
        super().__init__(num_classes, 6, 0.0)
        self.when = when

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stem(images)
        if self.when == "always" or self.training:
            maps = maps.view(len(maps), -1).view(maps.shape)
        return self.head(self.body(maps))


def views(num_classes: int, when: str = "always") -> nn.Module:
    return Views(num_classes, when)


def views_and_says_so(num_classes: int) -> nn.Module:
    network = Views(num_classes, "training")
    network.channels_last = False
    return network


class InPlace(nn.Module):
    """Batch norm, and an activation that overwrites its map."""

    def __init__(self, num_classes: int, inplace: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.ReLU(inplace=inplace)
        self.head = nn.Conv2d(8, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.act(self.norm(self.conv(images))))


def in_place(num_classes: int, inplace: bool = True) -> nn.Module:
    return InPlace(num_classes, inplace)


class AddsInPlace(InPlace):
    def forward(self, images: Tensor) -> Tensor:
        maps = self.norm(self.conv(images))
        maps += 1
        return self.head(self.act(maps))


def adds_in_place(num_classes: int) -> nn.Module:
    return AddsInPlace(num_classes, False)


class InPlaceInTraining(InPlace):
    def forward(self, images: Tensor) -> Tensor:
        maps = self.norm(self.conv(images))
        return self.head(maps.relu_() if self.training else maps.relu())


def in_place_in_training(num_classes: int) -> nn.Module:
    return InPlaceInTraining(num_classes, False)


class Pooled(Tiny):
    """A branch with batch norm over one value per channel, as ASPP has it."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, 6, 0.0)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(12, 12, 1, bias=False), nn.BatchNorm2d(12))

    def forward(self, images: Tensor) -> Tensor:
        maps = self.body(self.stem(images))
        return self.head(maps + self.pool(maps))


def pooled(num_classes: int) -> nn.Module:
    return Pooled(num_classes)


class ExtraState(Tiny):
    """Has state that is no tensor."""

    def get_extra_state(self) -> dict[str, int]:
        return {"version": 3}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.version = state["version"]


def extra_state(num_classes: int) -> nn.Module:
    return ExtraState(num_classes, 6, 0.0)


class HiddenState(Tiny):
    """Computes with a tensor that `state_dict` leaves out, and that training changes."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, 6, 0.0)
        self.register_buffer("shift", torch.zeros(()), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.shift += 1
        return super().forward(images) + self.shift * torch.linspace(0, 1, self.head.out_channels).view(-1, 1, 1)


def hidden_state(num_classes: int) -> nn.Module:
    return HiddenState(num_classes)


class RandomBuffer(Tiny):
    """Its output depends on numbers that are drawn when it is built, and that no checkpoint holds."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, 6, 0.0)
        self.register_buffer("drawn", torch.randn(1, num_classes, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + self.drawn


def random_buffer(num_classes: int) -> nn.Module:
    return RandomBuffer(num_classes)


class NoGrad(Tiny):
    """Trains its head alone, without saying so."""

    def forward(self, images: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.training):
            maps = self.body(self.stem(images))
        return self.head(maps)


def no_grad_in_training(num_classes: int) -> nn.Module:
    return NoGrad(num_classes, 6, 0.0)


class Endless(Tiny):
    """Logits of minus infinity, or NaN, for the first class."""

    def __init__(self, num_classes: int, value: str) -> None:
        super().__init__(num_classes, 6, 0.0)
        self.value = float(value)

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        first = torch.zeros_like(logits)
        first[:, 0] = self.value
        return logits + first


def endless(num_classes: int, value: str) -> nn.Module:
    return Endless(num_classes, value)


class SkipsAtRandom(Tiny):
    """Leaves a block out in its first training pass and in half of the others."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, 6, 0.0)
        self.block = nn.Conv2d(12, 12, 3, padding=1)
        self.passes = 0

    def forward(self, images: Tensor) -> Tensor:
        maps = self.body(self.stem(images))
        self.passes += self.training
        if not self.training or (self.passes > 1 and torch.rand(()) < 0.5):
            maps = maps + self.block(maps)
        return self.head(maps)


def skips_at_random(num_classes: int) -> nn.Module:
    return SkipsAtRandom(num_classes)


class Unready(nn.Module):
    """Fails in training mode alone."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            raise KeyError("targets")
        return self.head(images)


def needs_targets(num_classes: int) -> nn.Module:
    return Unready(num_classes)


class Random(Tiny):
    """Dropout in evaluation mode, too."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(images), 0.5, training=True)


def random_in_evaluation(num_classes: int) -> nn.Module:
    return Random(num_classes, 6, 0.0)


def frozen(num_classes: int) -> nn.Module:
    return Tiny(num_classes, 6, 0.0).requires_grad_(False)


def spectral_norm(num_classes: int) -> nn.Module:
    network = Tiny(num_classes, 6, 0.0)
    network.head = nn.utils.parametrizations.spectral_norm(network.head)
    return network


def lazy(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.LazyConv2d(num_classes, 1))


def lazy_and_failing(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.Unflatten(1, (3, 2)))


SHARED: dict[int, nn.Module] = {}


def shared(num_classes: int) -> nn.Module:
    """The same network in every call."""
    return SHARED.setdefault(num_classes, Tiny(num_classes, 6, 0.0))


def drawn_elsewhere(num_classes: int) -> nn.Module:
    """Weights from a generator that no seed of ours reaches."""
    network = Tiny(num_classes, 6, 0.0)
    nn.init.normal_(network.head.weight, generator=ELSEWHERE)
    return network


ELSEWHERE = torch.Generator()


def scripted(num_classes: int) -> nn.Module:
    return torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, num_classes, 1)))


def zero_head(num_classes: int) -> nn.Module:
    """As detectors of rare classes begin: the same logits everywhere."""
    network = Tiny(num_classes, 6, 0.0)
    nn.init.zeros_(network.head.weight)
    nn.init.constant_(network.head.bias, 1 / num_classes)
    return network


class Killed(Tiny):
    """Ends its process in the first training step, as the system does where memory is short."""

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(images)


def killed(num_classes: int) -> nn.Module:
    return Killed(num_classes, 6, 0.0)


class Twice(Tiny):
    """Runs its head on two maps."""

    def forward(self, images: Tensor) -> Tensor:
        maps = self.body(self.stem(images))
        return self.head(maps) + self.head(maps.flip(-1))


def twice(num_classes: int) -> nn.Module:
    return Twice(num_classes, 6, 0.0)
