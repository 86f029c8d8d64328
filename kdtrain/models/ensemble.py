"""Several networks whose logits are averaged: a teacher made of teachers."""

import math
from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from kdtrain.config_base import Strict
from kdtrain.errors import InputError
from kdtrain.losses.maps import resize_map
from kdtrain.models.network import Network
from kdtrain.models.normalization import NO_NORMALIZATION
from kdtrain.models.tapped import TappedNetwork

Average = Literal["probability", "logit"]


class Ensemble(Strict):
    """The options of a network with arch `ensemble`."""

    members: tuple[Network, ...] = Field(min_length=1)
    average: Average = "probability"
    """What is averaged: probabilities at `temperature`, or logits."""
    temperature: float = Field(default=1.0, gt=0)
    """A term at the same temperature sees exactly the mean of the members' probabilities."""
    flip: bool = False
    """Whether the logits of the mirrored image are averaged, too, for every member."""


class EnsembleNetwork(TappedNetwork):
    """A network made of members, of which only the logits can be tapped; each member normalizes its input."""

    def __init__(self, members: Iterable[TappedNetwork], config: Ensemble) -> None:
        super().__init__(AveragedLogits(members, config), *NO_NORMALIZATION)

    def tap(self, layers: Iterable[str]) -> "EnsembleNetwork":
        """Choose the layers; only `logits` is allowed.

        Raises:
            InputError: For any layer but the logits.
        """
        for layer in layers:
            if layer != "logits":
                raise InputError(
                    f"layer {layer!r}: an ensemble only has the layer logits; set teacher_layer to logits, or take one "
                    "of its members as the teacher"
                )
        return self


class AveragedLogits(nn.Module):
    """Logits `(N, C, h, w)` of the mean of its members.

    For the mean of probabilities at temperature `T` they are `T log mean softmax(z / T)`: divided by `T`, their
    softmax is that mean.
    """

    def __init__(self, members: Iterable[TappedNetwork], config: Ensemble) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.config = config

    def views(self, images: Tensor) -> list[Tensor]:
        """The logits of every member, and after them those of the mirrored images."""
        views = [member(images)["logits"] for member in self.members]
        if self.config.flip:
            views += [member(images.flip(-1))["logits"].flip(-1) for member in self.members]
        return views

    def forward(self, images: Tensor) -> Tensor:
        """Average over the members; maps of other sizes are resized bilinearly to the first's."""
        views = self.views(images)
        maps = torch.stack([resize_map(view.float(), views[0].shape[-2:]) for view in views])
        if self.config.average == "logit":
            return maps.mean(0)
        logs = F.log_softmax(maps / self.config.temperature, dim=2)
        return self.config.temperature * (logs.logsumexp(0) - math.log(len(views)))
