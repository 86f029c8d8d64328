"""DIST: the relations between the predictions, not the predictions (Huang et al., NeurIPS 2022)."""

import torch
from torch import Tensor

from kdtrain.loss_forms import IntraAxis
from kdtrain.losses.maps import deviations, distillation_loss, wide


@distillation_loss(equal_channels=True)
def dist(
    student: Tensor,
    teacher: Tensor,
    inter: float | Tensor = 1.0,
    intra: float | Tensor = 1.0,
    *,
    temperature: float | Tensor = 1.0,
    scaled: bool = False,
    intra_axis: IntraAxis = "pixels",
    eps: float = 1e-8,
) -> Tensor:
    """Pearson distances between probabilities, among the classes of a pixel and among the pixels of a class.

    `inter * (1 - mean correlation of the rows) + intra * (1 - mean correlation of the columns)` of the table of
    probabilities with a row per pixel of the batch and a column per class.

    Args:
        student: Logits `(N, C, H, W)`.
        teacher: `(N, C, H, W)`.
        inter: Weight of the relations between classes.
        intra: Weight of the relations within classes.
        temperature: Divides both logits.
        scaled: Whether to multiply by the temperature squared (mmrazor, the authors' code for classification; their
            code for segmentation has the temperature 1, and the paper does not multiply).
        intra_axis: What a class's correlation runs over: all `pixels` of the batch (official), or, at each position
            by itself, the images of the `batch` (what mmrazor's code does with maps).
        eps: Added to the product of the two lengths (official).
    """
    if intra_axis not in ("pixels", "batch"):
        raise ValueError(f"intra_axis must be pixels or batch, got {intra_axis!r}")
    if intra_axis == "batch" and len(student) < 2:
        raise ValueError(
            "a correlation over the images of a batch needs at least 2, got 1: take a larger batch, or "
            "intra_axis='pixels'"
        )
    scores = [wide(side) / temperature for side in (student, teacher)]
    among_classes = _pearson_distance(scores, (1,), eps)
    within_classes = _pearson_distance(scores, (0, 2, 3) if intra_axis == "pixels" else (0,), eps)
    total = inter * among_classes + intra * within_classes
    return temperature**2 * total if scaled else total


def _varying(scores: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Deviations of the probabilities, whose relative error is the absolute one of their pixel's largest score."""
    largest = scores.detach().amax(1, keepdim=True).abs().amax(axes, keepdim=True)
    return deviations(scores.softmax(1), axes, largest.clamp_min(1))


def _pearson_distance(scores: list[Tensor], axes: tuple[int, ...], eps: float) -> Tensor:
    """One minus the mean correlation along `axes`; where one side does not vary, it is 0, and so is its gradient."""
    x, y = (_varying(side, axes) for side in scores)
    lengths = torch.linalg.vector_norm(x, dim=axes) * torch.linalg.vector_norm(y, dim=axes)
    correlations = (x * y).sum(axes) / torch.where(lengths > 0, lengths + eps, 1.0)
    distance: Tensor = 1 - torch.where(lengths > 0, correlations, 0.0).mean()
    return distance
