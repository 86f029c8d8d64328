"""Distances between products of a vector with itself, pixel by pixel, with their gradient in closed form.

Written out because autograd would keep a dozen float64 copies of the maps for what is a few sums per pixel.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from kdtrain.losses.blocks import block_elements
from kdtrain.losses.maps import LENGTH_EPS, wide
from kdtrain.losses.operators import Operator

BLOCK_ELEMENTS = 2**16
"""Numbers of a block on a CPU, which a core's own cache holds several times in float64."""


def rank_one_distances(student: Tensor, teacher: Tensor, without_squares: bool, detach_norm: bool) -> Tensor:
    """Sum over pixels of `||s s^T - t t^T||^2`, of the pixels' vectors divided by their lengths.

    Args:
        student: `(N, C, P)`.
        teacher: The same, without a gradient.
        without_squares: Leave out the diagonals of the products.
        detach_norm: As in `unit_vectors`.

    Returns:
        `(N,)`, float64 where the device has it.
    """
    distances: Tensor = _DISTANCES(student, teacher, without_squares, detach_norm)
    return distances


def _distances(student: Tensor, teacher: Tensor, without_squares: bool, detach_norm: bool) -> Tensor:
    total = wide(student.new_zeros(len(student)))
    for x, y in _blocks(student, teacher):
        s, t = x.div_(_length(x)), y.div_(_length(y))
        d, u = s - t, t.add_(s)
        # The identity of `gram_distance` with numbers: (|d|^2 |u|^2 + (d u)^2) / 2
        dd, uu = d.square().sum(1), u.square().sum(1)
        both = d.mul_(u)
        total += dd.mul_(uu).add_(both.sum(1).square()).sum(1) / 2
        if without_squares:
            total -= both.square_().sum((1, 2))
    return total


def _gradients(factor: Tensor, student: Tensor, teacher: Tensor, without_squares: bool, detach_norm: bool) -> Tensor:
    gradients = torch.empty_like(student, memory_format=torch.contiguous_format)
    parts = gradients.split(_step(student), -1)
    for (x, y), part in zip(_blocks(student, teacher), parts, strict=True):
        length = _length(x)
        s, t = x.div_(length), y.div_(_length(y))
        d, u = s - t, t.add_(s)
        dd, uu = (side.square().sum(1, keepdim=True) for side in (d, u))
        both = d * u
        slope = 2 * both.sum(1, keepdim=True)
        if without_squares:
            slope = slope - both.mul_(4)
        gradient = d.mul_(uu).add_(u.mul_(dd)).add_(slope * s)
        if not detach_norm:
            along = (gradient * s).sum(1, keepdim=True)
            gradient -= s.mul_(along * length / (length - LENGTH_EPS))
        part.copy_(gradient.mul_(factor[:, None, None] / length))
    return gradients


def _blocks(student: Tensor, teacher: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Pixels of both, copied."""
    step = _step(student)
    for x, y in zip(student.split(step, -1), teacher.split(step, -1), strict=True):
        yield _copied(x), _copied(y)


def _copied(values: Tensor) -> Tensor:
    wider = wide(values)
    return wider.clone() if wider is values else wider


def _step(values: Tensor) -> int:
    return max(block_elements(values.device, BLOCK_ELEMENTS) // max(values[..., 0].numel(), 1), 1)


def _length(vectors: Tensor) -> Tensor:
    """What `unit_vectors` divides by."""
    norm = vectors.square().sum(1, keepdim=True).sqrt_()
    return torch.where(norm > LENGTH_EPS, norm + LENGTH_EPS, 1.0)


def _empty_distances(student: Tensor, teacher: Tensor, without_squares: bool, detach_norm: bool) -> Tensor:
    return wide(student.new_empty(len(student)))


def _empty_gradients(
    factor: Tensor, student: Tensor, teacher: Tensor, without_squares: bool, detach_norm: bool
) -> Tensor:
    return torch.empty_like(student, memory_format=torch.contiguous_format)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, bool, bool], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.switches = inputs[2:]


def _slopes(ctx: Any, factor: Tensor, compiled: bool) -> Tensor:
    gradients: Tensor = _GRADIENTS(factor, *ctx.saved_tensors, *ctx.switches, compiled=compiled)
    return gradients


_GRADIENTS = Operator("rank_one_gradients", _gradients, _empty_gradients)
_DISTANCES = Operator("rank_one_distances", _distances, _empty_distances, _keep, _slopes)
