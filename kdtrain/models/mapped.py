"""A network whose classes are merged into those of the data: a teacher of other classes."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor

from kdtrain.config_base import Strict
from kdtrain.errors import InputError
from kdtrain.explain import did_you_mean
from kdtrain.models.network import Network
from kdtrain.models.outputs import AUX, LOGITS
from kdtrain.models.tapped import TappedNetwork

_NEVER = -30.0
"""Beside the highest logit, that of a class which the network does not know."""


class Mapped(Strict):
    """The options of a network with arch `mapped`."""

    network: Network
    """The network as it was trained."""
    channels: int = Field(ge=2)
    """Of its logits."""
    groups: tuple[tuple[int, ...], ...] = Field(min_length=2)
    """For each class of the data, the channels that mean it; none for a class that the network does not know."""


class MappedNetwork(TappedNetwork):
    """A network with the logits of other classes; its inner layers are those that it has.

    A class of several channels has the sum of their probabilities, which is the log-sum-exp of their logits. Channels
    that no class has are left out, as if the network had never had them.
    """

    def __init__(self, inner: TappedNetwork, config: Mapped) -> None:
        super().__init__(inner.net, inner.mean.flatten().tolist(), inner.std.flatten().tolist(), inner.divisor)
        self.scale = inner.scale
        self._groups = config.groups

    def _read(self, output: object) -> dict[str, Tensor]:
        maps = super()._read(output)
        return {name: merged(value, self._groups) if name in (LOGITS, AUX) else value for name, value in maps.items()}


def merged(logits: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """The logits of merged classes.

    Args:
        logits: `(N, channels, h, w)`.
        groups: As in `Mapped`.

    Returns:
        `(N, len(groups), h, w)`.
    """
    lowest = logits.amax(1) + _NEVER
    return torch.stack([logits[:, list(group)].logsumexp(1) if group else lowest for group in groups], dim=1)


def groups_of(
    names: Mapping[str, str], theirs: Sequence[str], ours: Sequence[str]
) -> tuple[tuple[tuple[int, ...], ...], list[str], list[str]]:
    """The groups of a map between classes.

    Args:
        names: By class of the network, the class of the data that it means; a class that has the same name on both
            sides need not be there.
        theirs: The classes of the network, by channel.
        ours: The classes of the data.

    Returns:
        The groups, the classes of the data that the network does not know, and its classes that mean none of the data.

    Raises:
        InputError: If a name is of neither side, or fewer than two classes are known.
    """
    _check(names, theirs, "classes of the network")
    _check(names.values(), ours, "classes of the data")
    meaning = {name: names.get(name, name if name in ours else None) for name in theirs}
    groups = tuple(tuple(index for index, name in enumerate(theirs) if meaning[name] == each) for each in ours)
    if sum(map(bool, groups)) < 2:
        raise InputError(
            f"classes: fewer than two classes of the data ({', '.join(ours[:4])}, ...) are among those of the network "
            f"({', '.join(theirs[:4])}, ...); map them, as in classes: {{{theirs[0]}: {ours[0]}}}"
        )
    unknown = [name for name, group in zip(ours, groups, strict=True) if not group]
    return groups, unknown, [name for name in theirs if meaning[name] is None]


def _check(names: Iterable[str], allowed: Sequence[str], what: str) -> None:
    for name in names:
        if name not in allowed:
            raise InputError(
                f"classes: must be {what} ({', '.join(allowed[:6])}{', ...' * (len(allowed) > 6)}), got {name!r}"
                f"{did_you_mean(name, list(allowed))}"
            )
