"""Intra-class feature variation: how every pixel differs from its class (Wang et al., ECCV 2020)."""

import torch
from torch import Tensor

from kdtrain.loss_forms import PrototypeScope
from kdtrain.losses.maps import LENGTH_EPS, distillation_loss, resize_labels, unit_vectors, wide


@distillation_loss()
def intra_class_variation(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    num_classes: int,
    ignore_index: int = 255,
    *,
    prototypes: PrototypeScope = "image",
) -> Tensor:
    """Mean squared difference of the pixels' cosines with the mean feature of their class.

    With `m_k` the mean feature of class k and `s_i = cos(f_i, m_(y_i))`, the mean of
    `(s_i of the student - s_i of the teacher)^2` over all pixels. Pixels without a class have the cosine 1 on both
    sides: they count in the mean, with 0. The gradient flows through the prototypes, too.

    Args:
        student: Features `(N, C_s, H, W)`.
        teacher: `(N, C_t, H, W)`.
        labels: `(N, H_label, W_label)`, brought to the map by nearest pixel.
        num_classes: Labels from 0 to below it are classes.
        ignore_index: Label of pixels without a class.
        prototypes: The mean feature of a class is that of the `image` (official) or of the whole `batch`.
    """
    if prototypes not in ("image", "batch"):
        raise ValueError(f"prototypes must be image or batch, got {prototypes!r}")
    classes = resize_labels(labels, student.shape[-2:]).flatten(1)[..., None]
    members = classes == torch.arange(num_classes, device=classes.device)
    members = members & (classes != ignore_index)
    s, t = (_cosines(wide(side), members, prototypes) for side in (student, teacher))
    return (s - t).square().mean()


def _cosines(maps: Tensor, members: Tensor, scope: PrototypeScope) -> Tensor:
    """Cosine of every pixel with its class: maps `(N, C, H, W)`, members `(N, HW, K)`, cosines `(N, HW)`."""
    pixels = maps.flatten(2)
    weights = members.to(pixels.dtype)
    sums, counts = (pixels @ weights).mT, weights.sum(1)[..., None]
    if scope == "batch":
        sums, counts = sums.sum(0, keepdim=True), counts.sum(0, keepdim=True)
    classes = unit_vectors(sums / counts.clamp_min(1))
    along = torch.where(members.mT, classes @ pixels, 0.0).sum(1)
    lengths = torch.linalg.vector_norm(pixels, dim=1)
    return along / torch.where(lengths > LENGTH_EPS, lengths, 1.0)
