"""Losses against the labels, at their resolution: cross-entropy, of hard pixels and near boundaries, and Dice."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from kdtrain.losses.maps import full_precision, masked_mean, precise, resize_map


def cross_entropy(
    student: Tensor,
    labels: Tensor,
    ignore_index: int = 255,
    align_corners: bool = True,
    *,
    smoothing: float = 0.0,
    keep_hardest: float | Tensor = 1.0,
    hard_below: float | Tensor = 0.7,
    boundary_weight: float | Tensor = 0.0,
    boundary_radius: int = 1,
) -> Tensor:
    """Mean cross-entropy over labelled pixels; 0 if there are none.

    Args:
        student: Logits `(N, C, H, W)`, resized bilinearly to the labels.
        labels: `(N, H_label, W_label)` int64.
        ignore_index: Label of pixels that do not count.
        align_corners: How logits are resized; True as in SKD, IFVD, CWD, CIRKD, CSKD, DIST.
        smoothing: Fraction of the target that is spread evenly over all classes (Szegedy et al. 2016).
        keep_hardest: Online hard example mining (OHEM): the least share of the batch's labelled pixels that
            counts, those of the lowest probability of the true class; 1 counts all.
        hard_below: Pixels where the true class has less than this probability count in any case; only below
            a `keep_hardest` of 1.
        boundary_weight: Pixels near a boundary weigh 1 plus this, the others 1; the sum is divided by the sum
            of the weights, so that the learning rate keeps its meaning (inferred).
        boundary_radius: Near is what has a labelled pixel of another class within so many rows and columns.
    """
    with full_precision(student):
        logits = resize_map(precise(student), labels.shape[-2:], align_corners)
        pixels = F.cross_entropy(logits, labels, ignore_index=ignore_index, reduction="none", label_smoothing=smoothing)
        counts = labels != ignore_index
        if isinstance(keep_hardest, Tensor) or keep_hardest < 1:
            plain = pixels.detach()
            if smoothing > 0:
                plain = F.cross_entropy(logits.detach(), labels, ignore_index=ignore_index, reduction="none")
            counts = hard_pixels(plain, counts, keep_hardest, hard_below)
        if not isinstance(boundary_weight, Tensor) and boundary_weight == 0:
            return masked_mean(pixels, counts)
        near = near_boundary(labels, boundary_radius, ignore_index)
        weights = torch.where(counts, 1 + boundary_weight * near.to(pixels.dtype), 0.0)
        return (weights * pixels).sum() / weights.sum().clamp_min(1)


def dice(
    student: Tensor,
    labels: Tensor,
    ignore_index: int = 255,
    align_corners: bool = True,
    *,
    scope: Literal["batch", "image"] = "batch",
    squared: bool = False,
    skip_absent: bool = True,
    smooth: float | Tensor = 1.0,
) -> Tensor:
    """`1 - Dice_k`, mean over classes: `Dice_k = (2 sum p g + smooth) / (sum p + sum g + smooth)`.

    `p` is the probability of class `k` at a labelled pixel, `g` 1 where that is its label, else 0. The details
    are inferred; with `squared`, the form of V-Net (Milletari et al. 2016).

    Args:
        student: Logits `(N, C, H, W)`, resized bilinearly to the labels.
        labels: `(N, H_label, W_label)` int64.
        ignore_index: Label of pixels that do not count.
        align_corners: How logits are resized.
        scope: Sums over the batch, or over every image and then the mean over images.
        squared: `sum p^2` in place of `sum p` below.
        skip_absent: Classes without a pixel in the scope do not count; else they do, with a Dice near 1 where
            the student sees none of them either.
        smooth: Added above and below.

    Returns:
        0 if no pixel is labelled.
    """
    with full_precision(student):
        p = F.softmax(resize_map(precise(student), labels.shape[-2:], align_corners), dim=1)
        valid = (labels != ignore_index)[:, None]
        classes = torch.arange(p.shape[1], device=labels.device)[:, None, None]
        g = (labels[:, None] == classes) & valid
        p = torch.where(valid, p, 0.0)
        axes = (0, 2, 3) if scope == "batch" else (2, 3)
        # sum p + sum g - 2 sum p g, or, squared, sum p^2 + sum g - 2 sum p g
        gap = p - g.to(p.dtype)
        missed = (gap.square() if squared else gap.abs()).sum(axes)
        truth = g.sum(axes).to(p.dtype)
        share = missed / ((p.square() if squared else p).sum(axes) + truth + smooth)
        counts = truth > 0 if skip_absent else valid.any().expand(truth.shape)
        return masked_mean(share, counts)


def hard_pixels(losses: Tensor, valid: Tensor, keep_hardest: float | Tensor, hard_below: float | Tensor) -> Tensor:
    """Where the true class has a probability below `hard_below`, or among the lowest `keep_hardest` of them.

    Args:
        losses: Cross-entropies `(N, H, W)`.
        valid: What counts at all, `(N, H, W)` bool.
        keep_hardest: Share in [0, 1] of the valid pixels; their number is rounded up.
        hard_below: Probability.

    Returns:
        `(N, H, W)` bool.
    """
    ordered = torch.where(valid, losses, -torch.inf).flatten().sort(descending=True).values
    kept = (keep_hardest * valid.sum()).ceil().long().reshape(1)
    last = torch.where(kept > 0, ordered.gather(0, (kept - 1).clamp_min(0)), torch.inf)
    return valid & (((-losses).exp() < hard_below) | (losses >= last))


def near_boundary(labels: Tensor, radius: int, ignore_index: int = 255) -> Tensor:
    """Labelled pixels with a labelled pixel of another class within `radius` rows and columns.

    Args:
        labels: `(N, H, W)` int64.
        radius: At least 1.
        ignore_index: Label of pixels that are of no class.

    Returns:
        `(N, H, W)` bool.
    """
    valid = labels != ignore_index
    ids = labels.float()  # exact: pooling takes no integers
    largest = _largest(torch.where(valid, ids, -torch.inf), radius)
    smallest = -_largest(torch.where(valid, -ids, -torch.inf), radius)
    return valid & (largest > smallest)


def _largest(values: Tensor, radius: int) -> Tensor:
    size = 2 * radius + 1
    rows = F.max_pool2d(values[:, None], (size, 1), 1, (radius, 0))
    return F.max_pool2d(rows, (1, size), 1, (0, radius))[:, 0]
