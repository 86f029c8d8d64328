"""Channel and position attention maps aligned by CKA: CSKD (Karine et al., PRL 180, 2024).

The abstract speaks of matching attention; the official code compares how the (nearly raw) features of
student and teacher arrange the images of a batch, because the attention enters with a factor `gamma` that
starts at 0.
"""

import math
from typing import Literal

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
    return (torch.rand(count, rows, channels + 1, generator=generator) * 2 - 1) / math.sqrt(channels)


def count_blocks(height: int, width: int, grid: int) -> int:
    """How many blocks `grid_pam_cka` cuts a map into."""
    rows, columns = (math.ceil(size / math.ceil(size / grid)) for size in (height, width))
    return rows * columns


def channel_attention(features: Tensor, temperature: float | Tensor, gamma: float | Tensor) -> Tensor:
    """`gamma A X + X` with `A = softmax(-X X^T / temperature)` over channels, for `X (N, C, H, W)`.

    `X X^T`, a sum over all pixels, is float64, because the softmax magnifies what is lost in it.
    """
    if _is_zero(gamma):
        return features
    x = features.flatten(2)
    if x.shape[1] > x.shape[2]:
        attended = _attend(-wide(x), wide(x), wide(x), temperature)
    else:
        attended = F.softmax(-inner_products(x) / temperature, dim=-1).to(x.dtype) @ x
    return features + gamma * attended.view_as(features)


def position_attention(
    features: Tensor, projection: Tensor, temperature: float | Tensor, gamma: float | Tensor
) -> Tensor:
    """`gamma V S^T + X` with `S = softmax(Q^T K / temperature)` over positions, for `X (N, C, H, W)`.

    Args:
        features: `X`.
        projection: `(2 Q + C, C + 1)`, as `random_projections` draws them.
        temperature: Of the softmax.
        gamma: Factor of the attention.
    """
    channels = features.shape[1]
    projection = projection.to(features)
    tokens = F.linear(features.flatten(2).transpose(1, 2), projection[:, :-1], projection[:, -1])
    queries = query_channels(channels)
    q, k, v = tokens.split([queries, queries, channels], dim=-1)
    attended = _attend(q, k, v, temperature)
    return features + gamma * attended.transpose(1, 2).reshape(features.shape)


def _attend(q: Tensor, k: Tensor, v: Tensor, temperature: float | Tensor) -> Tensor:
    """`softmax(q k^T / temperature) v` of `(N, tokens, width)`, without a matrix of tokens x tokens.

    Such a matrix is smaller than the values where there are fewer tokens than their width. Torch's fused kernels need
    queries as wide as values, else it falls back on the plain form.
    """
    if q.shape[-2] <= v.shape[-1]:
        return F.softmax(q @ k.mT / temperature, dim=-1) @ v
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
    pairs = list(zip(_blocks(student, grid), _blocks(teacher, grid), strict=True))
    if not _is_zero(gamma):
        channels = (student.shape[1], teacher.shape[1])
        if not isinstance(projection, tuple):
            projection = draw_projections(len(pairs), channels, projection, generator)
        of_student, of_teacher = (own.expand(len(pairs), -1, -1) for own in projection)
        pairs = [
            (position_attention(s, p, temperature, gamma), position_attention(t, q, temperature, gamma))
            for (s, t), p, q in zip(pairs, of_student, of_teacher, strict=True)
        ]
    distances = [cka_distance(as_samples(s, samples), as_samples(t, samples), estimator, distance) for s, t in pairs]
    return torch.stack(distances).mean()


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


def _blocks(features: Tensor, grid: int) -> list[Tensor]:
    return [block for rows in features.chunk(grid, dim=2) for block in rows.chunk(grid, dim=3)]


def _is_zero(gamma: float | Tensor) -> bool:
    return not isinstance(gamma, Tensor) and gamma == 0
