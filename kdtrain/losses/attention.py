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
from kdtrain.losses.maps import distillation_loss

Projection = tuple[Tensor, Tensor]
"""Weight `(2 Q + C, C)` and bias `(2 Q + C)` of the 1x1 layers to Q query, Q key and C value channels."""


def query_channels(channels: int) -> int:
    """Channels of query and key."""
    return max(channels // 8, 1)


def random_projections(count: int, channels: int, generator: torch.Generator | None) -> list[Projection]:
    """Draw `count` projections as torch initialises a convolution: uniform within `1 / sqrt(channels)`."""
    rows = 2 * query_channels(channels) + channels
    drawn = torch.rand(count, rows, channels + 1, generator=generator) * 2 - 1
    return [(block[:, :-1], block[:, -1]) for block in drawn / math.sqrt(channels)]


def channel_attention(features: Tensor, temperature: float, gamma: float | Tensor) -> Tensor:
    """`gamma A X + X` with `A = softmax(-X X^T / temperature)` over channels, for `X (N, C, H, W)`."""
    if _is_zero(gamma):
        return features
    x = features.flatten(2)
    attention = F.softmax(-(x @ x.mT) / temperature, dim=-1)
    return features + gamma * (attention @ x).view_as(features)


def position_attention(features: Tensor, projection: Projection, temperature: float, gamma: float | Tensor) -> Tensor:
    """`gamma V S^T + X` with `S = softmax(Q^T K / temperature)` over positions, for `X (N, C, H, W)`."""
    channels = features.shape[1]
    weight, bias = (part.to(features) for part in projection)
    tokens = F.linear(features.flatten(2).transpose(1, 2), weight, bias)
    queries = query_channels(channels)
    q, k, v = tokens.split([queries, queries, channels], dim=-1)
    attended = F.scaled_dot_product_attention(q, k, v, scale=1 / temperature)
    return features + gamma * attended.transpose(1, 2).reshape(features.shape)


@distillation_loss()
def cam_cka(
    student: Tensor,
    teacher: Tensor,
    temperature: float = 2.0,
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
    temperature: float = 2.0,
    gamma: float | Tensor = 0.0,
    grid: int = 5,
    *,
    projection: Literal["resampled", "fixed"] | tuple[Projection, Projection] = "resampled",
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
        projection: To queries, keys and values: `resampled`: drawn anew at every call, for every block and
            for both networks, as the official code does; `fixed`: drawn so, but the same at every call; or
            the student's and the teacher's own, used in all blocks.
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
        if isinstance(projection, tuple):
            projections = [[own] * len(pairs) for own in projection]
        elif projection in ("resampled", "fixed"):
            source = generator if projection == "resampled" else torch.Generator().manual_seed(0)
            projections = [random_projections(len(pairs), c, source) for c in channels]
        else:
            raise ValueError(f"projection must be resampled, fixed or a pair, but came {projection!r}")
        pairs = [
            (
                position_attention(s, of_student, temperature, gamma),
                position_attention(t, of_teacher, temperature, gamma),
            )
            for (s, t), of_student, of_teacher in zip(pairs, *projections, strict=True)
        ]
    distances = [cka_distance(as_samples(s, samples), as_samples(t, samples), estimator, distance) for s, t in pairs]
    return torch.stack(distances).mean()


def _blocks(features: Tensor, grid: int) -> list[Tensor]:
    return [block for rows in features.chunk(grid, dim=2) for block in rows.chunk(grid, dim=3)]


def _is_zero(gamma: float | Tensor) -> bool:
    return not isinstance(gamma, Tensor) and gamma == 0
