"""Channel and position attention maps aligned by CKA: CSKD (Karine et al., PRL 180, 2024).

The abstract speaks of matching attention; the official code compares how the (nearly raw) features of
student and teacher arrange the images of a batch, because the attention enters with a factor `gamma` that
starts at 0.
"""

import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from kdtrain.loss_forms import Distance, Estimator, Samples
from kdtrain.losses.cka import centered_kernel, cka, distance_of, kernel_at, kernel_cka, kernel_terms
from kdtrain.losses.kernels import inner_products
from kdtrain.losses.maps import distillation_loss, exactly, sent, wide

ProjectionSource = Literal["resampled", "fixed"]
Side = Literal["student", "teacher"]

_LEAST_LOG = -80 * math.log(2)


def query_channels(channels: int) -> int:
    """Channels of query and key."""
    return max(channels // 8, 1)


def random_projections(count: int, channels: int, generator: torch.Generator | None) -> Tensor:
    """Draw 1x1 layers to Q query, Q key and C value channels as torch initializes a convolution.

    Returns:
        `(count, 2 Q + C, C + 1)`, uniform within `1 / sqrt(channels)`; the last column is the bias.
    """
    rows = 2 * query_channels(channels) + channels
    bound = 1 / math.sqrt(channels)
    # NumPy draws twice as fast as torch, which matters for millions of numbers in every step
    seed = int(torch.randint(2**62, (), generator=generator, device="cpu"))
    drawn = np.random.Generator(np.random.SFC64(seed)).random((count, rows, channels + 1), dtype=np.float32)
    return torch.from_numpy(drawn).mul_(2 * bound).sub_(bound)


def count_blocks(height: int, width: int, grid: int) -> int:
    """How many blocks `grid_pam_cka` cuts a map into."""
    rows, columns = (sum(map(len, _parts(size, grid))) for size in (height, width))
    return rows * columns


def channel_attention(features: Tensor, temperature: float | Tensor, gamma: float | Tensor | None = None) -> Tensor:
    """`A X` with `A = softmax(-X X^T / temperature)` over channels, or `X + gamma A X`, for `X (N, C, H, W)`.

    `X X^T`, a sum over all pixels, is float64, because the softmax magnifies what is lost in it.

    Returns:
        `(N, H W, C)`, which is how channels-last maps lie in memory.
    """
    x = _pixels(features)
    if _is_zero(gamma):
        return x
    if x.shape[2] > x.shape[1]:
        channels = wide(x.mT)
        mixture = _fused_attention(-channels, channels, channels, temperature).to(x.dtype).mT
        return mixture if gamma is None else x + gamma * mixture
    weights = _softmax(-inner_products(x.mT) / temperature).to(x.dtype).mT
    return x @ weights if gamma is None else torch.baddbmm(x, x, gamma * weights)


def position_attention(
    blocks: Tensor, projections: Tensor, temperature: float | Tensor, gamma: float | Tensor | None = None
) -> Tensor:
    """`S V` with `S = softmax(Q K^T / temperature)` over positions, or `X + gamma S V`, for each block `X`.

    Args:
        blocks: `(blocks, N, positions, C)`: all `X`, with the channels last.
        projections: `(blocks, 2 Q + C, C + 1)`, as `random_projections` draws them.
        temperature: Of the softmax.
        gamma: Factor of the attention; None for the attention by itself.
    """
    count, images, positions, channels = blocks.shape
    queries, x = query_channels(channels), blocks.flatten(1, 2)
    weights, bias = sent(projections, blocks).split([channels, 1], -1)
    layers = zip(*(part.split([2 * queries, channels], 1) for part in (weights, bias)), strict=True)
    pair, v = (torch.bmm(x, layer.mT).add_(shift.mT).view(count * images, positions, -1) for layer, shift in layers)
    q, k = pair.split(queries, -1)
    x = blocks.flatten(0, 1)
    if positions > channels:
        mixture = _fused_attention(q, k, v, temperature)
        attended = mixture if gamma is None else x + gamma * mixture
    else:
        weights = _softmax((q / temperature) @ k.mT)
        attended = weights @ v if gamma is None else torch.baddbmm(x, gamma * weights, v)
    return attended.view_as(blocks)


def _softmax(scores: Tensor) -> Tensor:
    """Softmax along the last axis, with 0 for what is less than 2^-80 of the largest weight.

    So little changes no sum in float32. But as float32 or as a gradient it may be subnormal, and a CPU multiplies
    matrices of subnormal numbers ten times slower.
    """
    least = scores.detach().amax(-1, keepdim=True) + _LEAST_LOG
    return F.softmax(scores.masked_fill(scores < least, -torch.inf), dim=-1)


def _fused_attention(q: Tensor, k: Tensor, v: Tensor, temperature: float | Tensor) -> Tensor:
    """`softmax(q k^T / temperature) v` of `(N, tokens, width)`, without a matrix of tokens x tokens.

    Where there are fewer tokens than they are wide, that matrix is the smaller one, and this form the slower. Torch's
    kernels need queries as wide as values, else they fall back on the plain form.
    """
    fill = (0, v.shape[-1] - q.shape[-1])
    return F.scaled_dot_product_attention(F.pad(q / temperature, fill), F.pad(k, fill), v, scale=1.0)


@distillation_loss()
def cam_cka(
    student: Tensor,
    teacher: Tensor,
    temperature: float | Tensor = 2.0,
    gamma: float | Tensor = 0.0,
    *,
    samples: Samples = "batch",
    estimator: Estimator = "biased",
    distance: Distance = "neg_log",
) -> Tensor:
    """CKA distance between the channel attention maps of student and teacher.

    Args:
        student: Features `(N, C_s, H, W)`.
        teacher: Features `(N, C_t, H, W)`.
        temperature: Of the attention; without effect while `gamma` is 0.
        gamma: Factor of the attention, shared by both; a tensor if it is learned.
        samples: What CKA compares: the images of the batch (official; with two images the loss is 0 for any
            input, with few images almost 0), or the pixels of every image.
        estimator: Of CKA.
        distance: `neg_log`: `-log(CKA + 1e-8)`; `one_minus`: `1 - CKA`.

    Raises:
        ValueError: For fewer than 2 samples (4 if unbiased).
    """
    if samples == "batch":
        teacher_kernel = cam_kernel(teacher, temperature, attended=not _is_zero(gamma))
        return cam_cka_to(student, teacher_kernel, temperature, gamma, estimator, distance)
    if samples != "pixels":
        raise ValueError(f"samples must be batch or pixels, got {samples!r}")
    s, t = (channel_attention(side, temperature, gamma) for side in (student, teacher))
    return distance_of(cka(s, t, estimator), estimator, distance)


@exactly
def cam_kernel(teacher: Tensor, temperature: float | Tensor, *, attended: bool = True) -> Tensor:
    """The kernel of the teacher that `cam_cka` needs in place of its features, to compare the images of a batch.

    Args:
        teacher: Features `(N, C_t, H, W)`.
        temperature: Of the attention.
        attended: False if `gamma` will be 0.

    Returns:
        `(3, N, N)`, or `(1, N, N)` if not attended: as `kernel_terms` gives it.
    """
    mixture = channel_attention(teacher, temperature).flatten(1) if attended else None
    return kernel_terms(_pixels(teacher).flatten(1), mixture)


@exactly
def cam_cka_to(
    student: Tensor,
    teacher_kernel: Tensor,
    temperature: float | Tensor,
    gamma: float | Tensor,
    estimator: Estimator = "biased",
    distance: Distance = "neg_log",
) -> Tensor:
    """`cam_cka` over the images of a batch, with the kernel from `cam_kernel` in place of the teacher's features."""
    student_kernel = centered_kernel(channel_attention(student, temperature, gamma).flatten(1))
    return distance_of(kernel_cka(student_kernel, kernel_at(gamma, teacher_kernel), estimator), estimator, distance).to(
        student.dtype
    )


@distillation_loss()
def grid_pam_cka(
    student: Tensor,
    teacher: Tensor,
    temperature: float | Tensor = 2.0,
    gamma: float | Tensor = 0.0,
    grid: int = 5,
    *,
    projection: ProjectionSource | tuple[Tensor, Tensor] = "resampled",
    generator: torch.Generator | None = None,
    samples: Samples = "batch",
    estimator: Estimator = "biased",
    distance: Distance = "neg_log",
) -> Tensor:
    """Mean CKA distance between the position attention maps of the blocks of a grid.

    Args:
        student: Features `(N, C_s, H, W)`.
        teacher: Features `(N, C_t, H, W)`.
        temperature: Of the attention; without effect while `gamma` is 0.
        gamma: Factor of the attention, shared by both; a tensor if it is learned. The number 0 skips the
            attention.
        grid: Height and width are each cut as `torch.chunk` does, into at most this many parts.
        projection: To queries, keys and values: the student's and the teacher's, each `(blocks, 2 Q + C, C + 1)`
            as `random_projections` draws them, or `(1, ...)` for the same in all blocks; or drawn here,
            `resampled` at every call, for every block and for both networks, as the official code does, or
            `fixed`: so, but the same at every call. (A compiled call takes them as tensors.)
        generator: CPU source of `resampled`.
        samples: As in `cam_cka`.
        estimator: As in `cam_cka`.
        distance: As in `cam_cka`.

    Raises:
        ValueError: For fewer than 2 samples (4 if unbiased) in a block.
    """
    drawn: tuple[Tensor | None, Tensor | None] = (None, None)
    if isinstance(projection, tuple):
        drawn = projection
    elif not _is_zero(gamma):
        count = count_blocks(student.shape[2], student.shape[3], grid)
        drawn = (
            draw_projections(count, student.shape[1], projection, generator, "student"),
            draw_projections(count, teacher.shape[1], projection, generator, "teacher"),
        )
    of_student, of_teacher = drawn
    if samples == "batch":
        teacher_kernel = grid_pam_kernel(teacher, temperature, grid, None if _is_zero(gamma) else of_teacher)
        return grid_pam_cka_to(student, teacher_kernel, temperature, gamma, grid, of_student, estimator, distance)
    if samples != "pixels":
        raise ValueError(f"samples must be batch or pixels, got {samples!r}")
    sides = [_attended(*side, grid, temperature, gamma) for side in ((student, of_student), (teacher, of_teacher))]
    return distance_of(torch.cat([cka(s, t, estimator) for s, t in zip(*sides, strict=True)]), estimator, distance)


@exactly
def grid_pam_kernel(teacher: Tensor, temperature: float | Tensor, grid: int, projections: Tensor | None) -> Tensor:
    """The kernels of the teacher that `grid_pam_cka` needs in place of its features, to compare images of a batch.

    Args:
        teacher: Features `(N, C_t, H, W)`.
        temperature: Of the attention.
        grid: As in `grid_pam_cka`.
        projections: The teacher's, as in `grid_pam_cka`; None if `gamma` will be 0.

    Returns:
        `(blocks, 3, N, N)`, or `(blocks, 1, N, N)` without projections: as `kernel_terms` gives it.
    """
    kernels = []
    for blocks, layers in _blocks(teacher, grid, projections):
        mixture = None if layers is None else position_attention(blocks, layers, temperature).flatten(2)
        kernels.append(kernel_terms(blocks.flatten(2), mixture))
    return torch.cat(kernels)


@exactly
def grid_pam_cka_to(
    student: Tensor,
    teacher_kernel: Tensor,
    temperature: float | Tensor,
    gamma: float | Tensor,
    grid: int,
    projections: Tensor | None,
    estimator: Estimator = "biased",
    distance: Distance = "neg_log",
) -> Tensor:
    """`grid_pam_cka` over the images of a batch, with the kernels from `grid_pam_kernel`."""
    attended = _attended(student, projections, grid, temperature, gamma)
    student_kernel = torch.cat([centered_kernel(blocks.flatten(2)) for blocks in attended])
    return distance_of(kernel_cka(student_kernel, kernel_at(gamma, teacher_kernel), estimator), estimator, distance).to(
        student.dtype
    )


def draw_projections(
    count: int, channels: int, source: ProjectionSource, generator: torch.Generator | None, side: Side
) -> Tensor:
    """Projections of one of both networks for `count` blocks, as `grid_pam_cka` takes them."""
    if source not in ("resampled", "fixed"):
        raise ValueError(f"projection must be resampled, fixed or a pair, got {source!r}")
    if source == "fixed":
        generator = torch.Generator().manual_seed(0 if side == "student" else 1)
    return random_projections(count, channels, generator)


def _attended(
    features: Tensor, projections: Tensor | None, grid: int, temperature: float | Tensor, gamma: float | Tensor
) -> list[Tensor]:
    """Blocks of equal size `(blocks, N, positions, C)` with their attention."""
    return [
        blocks if layers is None or _is_zero(gamma) else position_attention(blocks, layers, temperature, gamma)
        for blocks, layers in _blocks(features, grid, projections)
    ]


def _blocks(features: Tensor, grid: int, projections: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Blocks of equal size `(blocks, N, positions, C)` of `(N, C, H, W)`, row by row, each with its projections."""
    rows, columns = (_parts(size, grid) for size in features.shape[2:])
    per_block = None
    if projections is not None:
        every = sent(projections, features).expand(count_blocks(features.shape[2], features.shape[3], grid), -1, -1)
        per_block = every.unflatten(0, (sum(map(len, rows)), -1)).split(list(map(len, rows)))
    blocks = iter(_Cut.apply(features, rows, columns))
    for number in range(len(rows)):
        row = None if per_block is None else per_block[number].split(list(map(len, columns)), 1)
        for place in range(len(columns)):
            yield next(blocks), None if row is None else row[place].flatten(0, 1)


class _Cut(torch.autograd.Function):
    """Cuts a map into blocks; their gradients are written to their places, where autograd would add up whole maps."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, rows: list[list[int]], columns: list[list[int]]) -> tuple[Tensor, ...]:
        ctx.parts, ctx.shape = (rows, columns), features.shape
        areas = _areas(features.permute(0, 2, 3, 1), rows, columns)
        return tuple(area.flatten(3, 4).flatten(0, 1).contiguous() for area in areas)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        images, channels, height, width = ctx.shape
        pixels = outer[0].new_empty(images, height, width, channels)
        for area, gradient in zip(_areas(pixels, *ctx.parts), outer, strict=True):
            area.copy_(gradient.view(area.shape))
        return pixels.permute(0, 3, 1, 2), None, None


def _areas(pixels: Tensor, rows: list[list[int]], columns: list[list[int]]) -> Iterator[Tensor]:
    """Views `(block rows, block columns, N, height, width, C)` of `(N, H, W, C)`, in each of which blocks are equal."""
    for some_rows, band in zip(rows, pixels.split(list(map(sum, rows)), 1), strict=True):
        for some_columns, area in zip(columns, band.split(list(map(sum, columns)), 2), strict=True):
            cut = area.unflatten(2, (len(some_columns), -1)).unflatten(1, (len(some_rows), -1))
            yield cut.permute(1, 3, 0, 2, 4, 5)


def _parts(size: int, grid: int) -> list[list[int]]:
    """Lengths of the parts into which `torch.chunk` cuts a side, equal ones together: the last may be shorter."""
    length = math.ceil(size / grid)
    whole, rest = divmod(size, length)
    return [[length] * whole, *([[rest]] if rest else [])]


def _pixels(features: Tensor) -> Tensor:
    """`(N, H W, C)` of `(N, C, H, W)`."""
    return features.permute(0, 2, 3, 1).flatten(1, 2)


def _is_zero(gamma: float | Tensor | None) -> bool:
    return isinstance(gamma, float | int) and gamma == 0
