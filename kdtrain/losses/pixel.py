"""Pixel-wise distillation: the class distribution of every pixel (Hinton et al. 2015, on score maps)."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from kdtrain.losses.maps import distillation_loss, masked_mean, resize_labels

PixelReduction = Literal["mean", "ifvd", "mmrazor", "skd"]


@distillation_loss(equal_channels=True)
def pixel_kd(
    student: Tensor,
    teacher: Tensor,
    temperature: float = 1.0,
    *,
    reduction: PixelReduction = "mean",
    labels: Tensor | None = None,
    ignore_index: int = 255,
) -> Tensor:
    """KL(teacher || student) between the class distributions of every pixel.

    With `L` the mean over batch and pixels of KL at temperature `T`, public codes compute different
    multiples:

    * `mean`: `T^2 L` (CIRKD),
    * `ifvd`: `L / C`, without `T^2` (IFVD, TorchDistiller),
    * `mmrazor`: `T^2 H W L`,
    * `skd`: `N (L + mean entropy of the teacher)`, a cross-entropy without `T^2` (SKD).

    Args:
        student: Logits `(N, C, H, W)`.
        teacher: Logits `(N, C, H, W)`.
        temperature: Divides both logits.
        reduction: Whose multiple.
        labels: `(N, H_label, W_label)`; if given, pixels labelled `ignore_index` do not count (no public code
            does so). They are brought to the map by nearest pixel.
        ignore_index: Label of pixels that do not count.
    """
    batch, classes, height, width = student.shape
    log_student = F.log_softmax(student / temperature, dim=1)
    log_teacher = F.log_softmax(teacher / temperature, dim=1)
    reference = 0.0 if reduction == "skd" else log_teacher
    pixels = (log_teacher.exp() * (reference - log_student)).sum(1)
    if labels is None:
        mean = pixels.mean()
        share: Tensor | float = 1.0
    else:
        mask = resize_labels(labels, (height, width)) != ignore_index
        mean = masked_mean(pixels, mask)
        share = mask.float().mean()
    match reduction:
        case "mean":
            return temperature**2 * mean
        case "ifvd":
            return mean / classes
        case "mmrazor":
            return temperature**2 * height * width * share * mean
        case "skd":
            return batch * share * mean
    raise ValueError(f"reduction must be mean, ifvd, mmrazor or skd, but came {reduction!r}")
