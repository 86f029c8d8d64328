"""The task loss: cross-entropy at label resolution."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdtrain.losses.maps import masked_mean, precise, resize_map


def cross_entropy(
    student: Tensor,
    labels: Tensor,
    ignore_index: int = 255,
    align_corners: bool = True,
    *,
    smoothing: float = 0.0,
) -> Tensor:
    """Mean cross-entropy over labelled pixels; 0 if there are none.

    Args:
        student: Logits `(N, C, H, W)`, resized bilinearly to the labels.
        labels: `(N, H_label, W_label)` int64.
        ignore_index: Label of pixels that do not count.
        align_corners: How logits are resized; True as in SKD, IFVD, CWD, CIRKD, CSKD, DIST.
        smoothing: Fraction of the target that is spread evenly over all classes (Szegedy et al. 2016).
    """
    with torch.autocast(student.device.type, enabled=False):
        logits = resize_map(precise(student), labels.shape[-2:], align_corners)
        pixels = F.cross_entropy(logits, labels, ignore_index=ignore_index, reduction="none", label_smoothing=smoothing)
        return masked_mean(pixels, labels != ignore_index)
