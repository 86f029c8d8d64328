"""Channel and position attention maps aligned by CKA: CSKD (Karine et al., PRL 180, 2024).

The abstract speaks of matching attention; the official code compares how the (nearly raw) features of
student and teacher arrange the images of a batch, because the attention enters with a factor `gamma` that
starts at 0.
"""

import math
from itertools import product
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kdtrain.losses.cka import Distance, Estimator, Samples, as_samples, cka_distance
from kdtrain.losses.kernels import inner_products
from kdtrain.losses.maps import distillation_loss, wide

ProjectionSource = Literal["resampled", "fixed"]


def query_channels(channels: int) -> int:
    """Channels of query and key."""
    return max(channels // 8, 1)


def random_projections(count: int, channels: int, generator: torch.Generator | None) -> Tensor:
    """Draw 1x1 layers to Q query, Q key and C value channels as torch initialises a convolution.

    Returns:
        `(count, 2 Q + C, C + 1)`, uniform within `1 / sqrt(channels)`; the last column is the bias.
    """
    rows = 2 * query_channels(channels) + channels
    bound = 1 / math.sqrt(channels)
    # NumPy draws at twice the pace of torch, which counts here: some millions of numbers for every step
    seed = int(torch.randint(2**62, (), generator=generator, device="cpu"))
    drawn = np.random.Generator(np.random.SFC64(seed)).random((count, rows, channels + 1), dtype=np.float32)
    return torch.from_numpy(drawn).mul_(2 * bound).sub_(bound)


def count_blocks(height: int, width: int, grid: int) -> int:
    """How many blocks `grid_pam_cka` cuts a map into."""
    rows, columns = (len(_parts(size, grid)) for size in (height, width))
    return rows * columns


def channel_attention(features: Tensor, temperature: float | Tensor, gamma: float | Tensor) -> Tensor:
    """`gamma A X + X` with `A = softmax(-X X^T / temperature)` over channels, for `X (N, C, H, W)`.

    `X X^T`, a sum over all pixels, is float64, because the softmax magnifies what is lost in it.
    """
    if _is_zero(gamma):
        return features
    x = features.flatten(2)
    if x.shape[1] > x.shape[2]:
        attended = x + gamma * _fused_attention(-wide(x), wide(x), wide(x), temperature)
    else:
        weights = F.softmax(-inner_products(x) / temperature, dim=-1).to(x.dtype)
        attended = _add_mixture(x, weights, x, gamma)
    return attended.to(x.dtype).view_as(features)


def position_attention(
    blocks: Tensor, projections: Tensor, temperature: float | Tensor, gamma: float | Tensor
) -> Tensor:
    """`gamma S V + X` with `S = softmax(Q K^T / temperature)` over positions, for each block `X (positions, channels)`.

    Args:
        blocks: `(blocks, N, positions, C)`: all `X`.
        projections: `(blocks, 2 Q + C, C + 1)`, as `random_projections` draws them.
        temperature: Of the softmax.
        gamma: Factor of the attention.
    """
    count, images, positions, channels = blocks.shape
    projections = projections.to(blocks)
    projected = torch.baddbmm(projections[:, None, :, -1], blocks.flatten(1, 2), projections[..., :-1].mT)
    queries = query_channels(channels)
    q, k, v = projected.view(count * images, positions, -1).split([queries, queries, channels], dim=-1)
    x = blocks.flatten(0, 1)
    if positions > channels:
        attended = x + gamma * _fused_attention(q, k, v, temperature)
    else:
        attended = _add_mixture(x, F.softmax((q / temperature) @ k.mT, dim=-1), v, gamma)
    return attended.view_as(blocks)


def _add_mixture(x: Tensor, weights: Tensor, values: Tensor, gamma: float | Tensor) -> Tensor:
    """`x + gamma weights values`, scaling whichever is the smaller; no product of gradients for `gamma` alone."""
    if weights.requires_grad or values.requires_grad:
        return torch.baddbmm(x, gamma * weights, values)
    return x + gamma * (weights @ values)


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
    student = channel_attention(student, temperature, gamma)
    teacher = channel_attention(teacher, temperature, gamma)
    return cka_distance(as_samples(student, samples), as_samples(teacher, samples), estimator, distance)


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
    rows, columns = (_parts(size, grid) for size in student.shape[2:])
    count = len(rows) * len(columns)
    drawn: tuple[Tensor, Tensor] | None = None
    if not _is_zero(gamma):
        if not isinstance(projection, tuple):
            projection = draw_projections(count, (student.shape[1], teacher.shape[1]), projection, generator)
        drawn = projection
    distances = []
    for of_rows, of_columns in product(_alike(rows), _alike(columns)):
        sides = [_blocks(side, rows[of_rows], columns[of_columns]) for side in (student, teacher)]
        if drawn is not None:
            chosen = (p.expand(count, -1, -1).unflatten(0, (len(rows), len(columns))) for p in drawn)
            own = (p[of_rows, of_columns].flatten(0, 1) for p in chosen)
            sides = [position_attention(side, p, temperature, gamma) for side, p in zip(sides, own, strict=True)]
        s, t = (_as_samples(side, samples) for side in sides)
        distances.append(len(sides[0]) * cka_distance(s, t, estimator, distance))
    return torch.stack(distances).sum() / count


def draw_projections(
    count: int, channels: tuple[int, int], source: ProjectionSource, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Projections of the student and of the teacher for `count` blocks, as `grid_pam_cka` takes them."""
    if source not in ("resampled", "fixed"):
        raise ValueError(f"projection must be resampled, fixed or a pair, but came {source!r}")
    if source == "fixed":
        generator = torch.Generator().manual_seed(0)
    of_student, of_teacher = (random_projections(count, each, generator) for each in channels)
    return of_student, of_teacher


def _parts(size: int, grid: int) -> list[slice]:
    """A side cut as `torch.chunk` does: equal parts, of which the last may be shorter."""
    step = math.ceil(size / grid)
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]


def _alike(parts: list[slice]) -> list[slice]:
    """Which of the parts are as long as the first, and which is not."""
    *others, last = parts
    if not others or last.stop - last.start == others[0].stop:
        return [slice(0, len(parts))]
    return [slice(0, len(others)), slice(len(others), len(parts))]


def _blocks(features: Tensor, rows: list[slice], columns: list[slice]) -> Tensor:
    """Blocks of one size `(blocks, N, positions, C)` of `(N, C, H, W)`, row by row."""
    area = features[:, :, rows[0].start : rows[-1].stop, columns[0].start : columns[-1].stop]
    cut = area.unflatten(3, (len(columns), -1)).unflatten(2, (len(rows), -1))
    return cut.permute(2, 4, 0, 3, 5, 1).flatten(3, 4).flatten(0, 1).contiguous()


def _as_samples(blocks: Tensor, samples: Samples) -> Tensor:
    """As `as_samples`, of blocks `(blocks, N, positions, C)`; their order within an image does not matter to CKA."""
    match samples:
        case "batch":
            return blocks.flatten(2)
        case "pixels":
            return blocks
    raise ValueError(f"samples must be batch or pixels, but came {samples!r}")


def _is_zero(gamma: float | Tensor) -> bool:
    return not isinstance(gamma, Tensor) and gamma == 0
