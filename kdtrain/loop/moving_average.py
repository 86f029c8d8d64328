"""The exponential moving average of a network's weights, which is evaluated and saved as the student.

Parameters are averaged. Buffers keep their last values, as in torch: statistics of batch norm are averages themselves,
and averaged once more they lag behind (`docs/spec.md` has the figures). Layers that a term trains beside the student
are no part of it.

`torch.optim.swa_utils.AveragedModel` computes the same average on a deep copy of the network. The copy would have hooks
and a memory order of its own, and a network that cannot be copied could not be trained.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage:
    """The average of the weights that a network has had.

    Args:
        net: The network, on its device. Its parameters are looked up at every call, because a network may replace them.
    """

    def __init__(self, net: nn.Module) -> None:
        self._net = net
        self._average = {name: _at_least_float32(value).clone() for name, value in _averaged(net).items()}

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """Take in the weights of now.

        Args:
            decay: The share that the average keeps of what it was; with 0 it becomes the weights of now.
        """
        now = [_at_least_float32(value) for value in _averaged(self._net).values()]
        get_ema_multi_avg_fn(decay)(list(self._average.values()), now, None)

    def apply(self) -> None:
        """Give the network the average in place of its own weights."""
        _copy(self._average, self._net)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """In the block the network has the average; after it, or after an error in it, its own weights again."""
        own = {name: value.clone() for name, value in _averaged(self._net).items()}
        try:
            self.apply()
            yield
        finally:
            _copy(own, self._net)

    def state_dict(self) -> dict[str, Tensor]:
        """The average by the names of parameters."""
        return dict(self._average)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state_dict`.

        Raises:
            KeyError: If the state belongs to another network; likewise `RuntimeError`.
        """
        for name, average in self._average.items():
            average.copy_(state[name])


def _averaged(net: nn.Module) -> dict[str, Tensor]:
    """The parameters by name, without gradient; a shared one comes once."""
    parameters = net.named_parameters()
    return {name: value.detach() for name, value in parameters if value.is_floating_point() or value.is_complex()}


def _at_least_float32(value: Tensor) -> Tensor:
    """The values in a type that does not round small changes away."""
    return value.to(torch.promote_types(value.dtype, torch.float32))


@torch.no_grad()
def _copy(values: dict[str, Tensor], net: nn.Module) -> None:
    for name, tensor in _averaged(net).items():
        tensor.copy_(values[name])
