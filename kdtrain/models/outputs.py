"""What a network may return, and the maps in it."""

from collections.abc import Mapping

import torch
from torch import Tensor

from kdtrain.errors import InputError

LOGITS, AUX = "logits", "aux"
_NAMES = ("out", "logits")
"""Under these names a dict or an object may hold the logits; the first that is there is taken."""


def maps_of(output: object, owner: str) -> dict[str, Tensor]:
    """The logits `(N, C, h, w)` in what a network returned, and the logits of its auxiliary head if they have a name.

    Args:
        output: A tensor; a dict or an object with `out` or `logits`, and perhaps `aux`; or a tuple or list that starts
            with the logits.
        owner: The network, for the error.

    Raises:
        InputError: If it is something else.
    """
    value: object = _named(output, _NAMES)
    if value is None:
        value = output[0] if isinstance(output, list | tuple) and output else output
    if (logits := _map(value)) is None:
        raise InputError(
            f"{owner} must return logits of the form (N, classes, height, width), a dict or an object that names them "
            f"out or logits, or a tuple that starts with them, got {_described(output)}"
        )
    maps = {LOGITS: logits}
    if (value := _named(output, (AUX,))) is not None:
        if (aux := _map(value)) is None:
            raise InputError(f"{owner} must name a map of the form (N, classes, height, width) aux, got {_form(value)}")
        maps[AUX] = aux
    return maps


def rival_maps(output: object, channels: int) -> int:
    """How many maps without a name have the channels of the logits: with two or more, which is the prediction?"""
    if not isinstance(output, list | tuple) or _named(output, _NAMES) is not None:
        return 0
    maps = [_map(value) for value in output]
    return sum(value is not None and value.shape[1] == channels for value in maps)


def _named(output: object, names: tuple[str, ...]) -> Tensor | None:
    if isinstance(output, Tensor):
        return None
    for name in names:
        value = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if isinstance(value, Tensor):
            return value
    return None


def _map(value: object) -> Tensor | None:
    return value if isinstance(value, Tensor) and value.ndim == 4 and value.is_floating_point() else None


def _described(output: object) -> str:
    """What a network returned, in a few words."""
    if isinstance(output, Mapping):
        return f"a dict with the keys {', '.join(map(str, list(output)[:8]))}"
    if isinstance(output, list | tuple):
        return (
            f"a {type(output).__name__} of {len(output)} that starts with {_form(output[0]) if output else 'nothing'}"
        )
    return _form(output)


def _form(value: object) -> str:
    if isinstance(value, Tensor):
        kind = "" if value.is_floating_point() else f" of {str(value.dtype).removeprefix('torch.')}"
        return f"a tensor{kind} of the form {tuple(value.shape)}"
    return type(value).__name__


def is_probability(logits: Tensor) -> str | None:
    """What a map of the form `(N, C, h, w)` looks like if it holds probabilities: `softmax` or `sigmoid`; else None.

    Logits of a network are on both sides of 0, or not all below 1; a map of one value says nothing. Logits of a network
    that was not trained may be its positive biases alone, which are small: a sigmoid also has values above a half.
    """
    values = logits.detach().float()
    low, high = torch.aminmax(values)
    if not (low >= 0 and high <= 1) or low == high:
        return None
    sums = values.sum(dim=1)
    if bool(((sums - 1).abs() < 1e-2).all()):
        return "softmax"
    return "sigmoid" if high > 0.5 else None
