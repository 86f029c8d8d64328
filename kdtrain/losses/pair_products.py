"""Distances between squared products of pixels, through all products of two channels, with their gradient.

`(f_i . f_j)^2` is the product of the pixels' vectors of channel pairs, `g[a, b] = f[a] f[b]`, so that matrices of such
numbers are compared through the Gram matrices of the pairs. The gradient is written out, and pairs are made in blocks
of pixels, because autograd would keep and reread some twenty arrays of pairs x pixels.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from kdtrain.losses.blocks import block_elements, pays_for_launches
from kdtrain.losses.grams import from_grams
from kdtrain.losses.operators import Operator

BLOCK_ELEMENTS = 2**20
"""Numbers of a block on a CPU, in float32: several of them stay in the cache."""


def count_pairs(channels: int, first_shift: int) -> int:
    """Pairs `(a, b)` with `b - a >= first_shift`."""
    return channels * (channels + 1 - 2 * first_shift) // 2


def squared_product_distances(student: Tensor, teacher: Tensor, first_shift: int) -> Tensor:
    """Sum over pixels i, j of `(m_s[i, j] - m_t[i, j])^2`, with `m[i, j] = (f_i . f_j)^2`.

    Differences and sums of both sides are formed in the type that came; after that nothing cancels, and float32 does.

    Args:
        student: Pixels' vectors `f`, `(N, C, P)`.
        teacher: The same, without a gradient.
        first_shift: 0; 1 leaves out `sum_a f_i[a]^2 f_j[a]^2`.

    Returns:
        `(N,)`.
    """
    total: Tensor
    total, _, _ = _DISTANCES(student, teacher, first_shift)
    return total


def _distances(student: Tensor, teacher: Tensor, first_shift: int) -> tuple[Tensor, Tensor, Tensor]:
    """The distances, and what `_gradients` multiplies pairs by."""
    count = count_pairs(student.shape[1], first_shift)
    dd, uu, du = (student.new_zeros(len(student), count, count, dtype=torch.float32) for _ in range(3))
    for d, u in _blocks(student, teacher, count):
        differences, sums = _pairs(d, u, first_shift)
        dd.baddbmm_(differences, differences.mT)
        uu.baddbmm_(sums, sums.mT)
        du.baddbmm_(differences, sums.mT)
    weights = _weights(student.shape[1], first_shift, student.device)
    dd, uu, du = (gram * weights * weights[:, None] for gram in (dd, uu, du))
    total = from_grams(dd, uu, du)
    # of `from_grams` by the student's pairs: by their difference D and by their sum U, (uu + du) D + (dd + du^T) U
    by_differences, by_sums = (2 * weights * weights[:, None] * gram for gram in (uu + du, dd + du.mT))
    return total, by_differences, by_sums


def _gradients(
    factor: Tensor, by_differences: Tensor, by_sums: Tensor, student: Tensor, teacher: Tensor, first_shift: int
) -> Tensor:
    gradients = torch.empty_like(student, memory_format=torch.contiguous_format)
    count = by_sums.shape[1]
    by_differences, by_sums = (factor[:, None, None] * gram for gram in (by_differences, by_sums))
    parts = gradients.split(_step(student, count), -1)
    for (d, u), part in zip(_blocks(student, teacher, count), parts, strict=True):
        differences, sums = _pairs(d, u, first_shift)
        slopes = torch.bmm(by_differences, differences).baddbmm_(by_sums, sums)
        part.copy_(_to_channels(slopes, (d + u).div_(2), first_shift))
    return gradients


def _to_channels(slopes: Tensor, s: Tensor, first_shift: int) -> Tensor:
    """The gradient of the channels `s` from that of their pairs."""
    if pays_for_launches(s.device):
        both = _pair_numbers(s.shape[1], first_shift, s.device)
        channels = torch.arange(s.shape[1], device=s.device)[:, None]
        to_first, to_second = ((channels == side).to(s.dtype).expand(len(s), -1, -1) for side in both)
        of_first, of_second = (slopes * s[:, side] for side in both)
        return torch.bmm(to_first, of_second).baddbmm_(to_second, of_first)
    gradient = torch.zeros_like(s)
    for first, second, pairs in _shifts(s.shape[1], first_shift):
        gradient[:, first].addcmul_(slopes[:, pairs], s[:, second])
        gradient[:, second].addcmul_(slopes[:, pairs], s[:, first])
    return gradient


def _blocks(student: Tensor, teacher: Tensor, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Differences and sums of blocks of pixels, in float32, a channel's pixels in a row."""
    step = _step(student, count)
    for s, t in zip(student.split(step, -1), teacher.split(step, -1), strict=True):
        yield (s - t).float().contiguous(), (s + t).float().contiguous()


def _step(values: Tensor, count: int) -> int:
    return max(block_elements(values.device, BLOCK_ELEMENTS) // (len(values) * count), 1)


def _pairs(d: Tensor, u: Tensor, first_shift: int) -> tuple[Tensor, Tensor]:
    """Twice the differences and sums of the pairs of `(u + d) / 2` and `(u - d) / 2`."""
    if pays_for_launches(d.device):
        both = _pair_numbers(d.shape[1], first_shift, d.device)
        (d_first, d_second), (u_first, u_second) = ([side[:, channels] for channels in both] for side in (d, u))
        return (d_first * u_second).addcmul_(u_first, d_second), (u_first * u_second).addcmul_(d_first, d_second)
    differences, sums = (d.new_empty(len(d), count_pairs(d.shape[1], first_shift), d.shape[2]) for _ in range(2))
    for first, second, pairs in _shifts(d.shape[1], first_shift):
        torch.mul(d[:, first], u[:, second], out=differences[:, pairs]).addcmul_(u[:, first], d[:, second])
        torch.mul(u[:, first], u[:, second], out=sums[:, pairs]).addcmul_(d[:, first], d[:, second])
    return differences, sums


def _pair_numbers(channels: int, first_shift: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The channels `a` and `b` of every pair, in the order of `_shifts`."""
    first, second = torch.triu_indices(channels, channels, first_shift, device=device)
    order = (second - first).argsort(stable=True)
    return first[order], second[order]


def _shifts(channels: int, first_shift: int) -> Iterator[tuple[slice, slice, slice]]:
    """Channels `a` and `a + k`, and where their pairs stand, for every shift `k`: nothing is gathered or scattered."""
    begin = 0
    for shift in range(first_shift, channels):
        end = begin + channels - shift
        yield slice(0, channels - shift), slice(shift, channels), slice(begin, end)
        begin = end


def _weights(channels: int, first_shift: int, device: torch.device) -> Tensor:
    """Halves what `_pairs` doubles; every pair of different channels stands for two of the whole matrix."""
    weights = torch.full((count_pairs(channels, first_shift),), 0.5**0.5, device=device)
    if first_shift == 0:
        weights[:channels] = 0.5
    return weights


def _empty_distances(student: Tensor, teacher: Tensor, first_shift: int) -> tuple[Tensor, Tensor, Tensor]:
    count = count_pairs(student.shape[1], first_shift)
    total, by_differences, by_sums = (
        student.new_empty(shape, dtype=torch.float32)
        for shape in ((len(student),), *[(len(student), count, count)] * 2)
    )
    return total, by_differences, by_sums


def _empty_gradients(
    factor: Tensor, by_differences: Tensor, by_sums: Tensor, student: Tensor, teacher: Tensor, first_shift: int
) -> Tensor:
    return torch.empty_like(student, memory_format=torch.contiguous_format)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: tuple[Tensor, Tensor, Tensor]) -> None:
    student, teacher, ctx.first_shift = inputs
    ctx.save_for_backward(*output[1:], student, teacher)
    ctx.set_materialize_grads(False)


def _slopes(ctx: Any, factor: Tensor, compiled: bool) -> Tensor:
    gradients: Tensor = _GRADIENTS(factor, *ctx.saved_tensors, ctx.first_shift, compiled=compiled)
    return gradients


_GRADIENTS = Operator("squared_product_gradients", _gradients, _empty_gradients)
_DISTANCES = Operator("squared_product_distances", _distances, _empty_distances, _keep, _slopes)
