"""Adaptive cross-entropy, ACE (Park & Heo, Sensors 2020, 20(16), 4616).

Only the abstract could be read: the loss "adaptively exploits one-hot encodings using the ground truth
labels and the probability maps predicted by the teacher". How it adapts is inferred here, and every inferred
piece is a switch.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from kdtrain.loss_forms import AdaptiveForm
from kdtrain.losses.blocks import block_elements
from kdtrain.losses.maps import distillation_loss, resize_labels, resize_map, resize_scores


@distillation_loss(equal_channels=True, equal_size=False)
def adaptive_cross_entropy(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    form: AdaptiveForm = "hard",
    *,
    threshold: float = 0.5,
    temperature: float = 1.0,
    ignore_index: int = 255,
    ignored: Literal["mask", "teacher"] = "mask",
    resize: Literal["labels", "map"] = "labels",
    align_corners: bool = True,
) -> Tensor:
    """Cross-entropy of the student against a target that trusts the teacher where it is right.

    The target `q` of a pixel with label `y` and teacher probabilities `p` (all forms inferred):

    * `hard`: `p` where its largest class is `y`, else the one-hot of `y`;
    * `threshold`: as `hard`, and `p[y]` must reach `threshold`;
    * `soft`: `p[y] p + (1 - p[y]) onehot(y)`;
    * `swap`: `p` with the probabilities of `y` and of its largest class exchanged.

    The loss is the mean of `-sum_c q[c] log softmax(student)[c]` over the pixels that count.

    Args:
        student: Logits `(N, C, H, W)`.
        teacher: Logits `(N, C, H', W')`; of the student's size if `resize` is `map`.
        labels: `(N, H_label, W_label)` int64.
        form: How the target is made.
        threshold: For `threshold`.
        temperature: Divides the teacher's logits alone.
        ignore_index: Label of pixels without truth.
        ignored: What to do there: leave them out, or learn from the teacher.
        resize: `labels`: both logits are resized bilinearly to the labels; `map`: the labels are brought to
            the map by nearest pixel (cheaper).
        align_corners: How logits are resized.
    """
    if resize == "labels":
        student = resize_map(student, labels.shape[-2:], align_corners)
        teacher = resize_scores(teacher, labels.shape[-2:], align_corners)
    elif student.shape != teacher.shape:
        raise ValueError(
            "adaptive_cross_entropy with resize='map' needs maps of equal height and width, got student "
            f"{tuple(student.shape)}, teacher {tuple(teacher.shape)}"
        )
    if form not in ("hard", "soft", "threshold", "swap"):
        raise ValueError(f"form must be hard, soft, threshold or swap, got {form!r}")
    labels = resize_labels(labels, student.shape[-2:])
    valid = labels != ignore_index
    truth = torch.where(valid, labels, 0)
    weights = (torch.ones_like(labels) if ignored == "teacher" else valid).to(student.dtype)
    weights = weights / weights.sum().clamp_min(1)
    value: Tensor = _CrossEntropy.apply(student, teacher, temperature, truth, valid, weights, form, threshold)
    return value


class _CrossEntropy(torch.autograd.Function):
    """Weighted sum over pixels of the cross-entropy to the target, in blocks of images; the gradient is `p - q`."""

    @staticmethod
    def forward(
        ctx: Any,
        student: Tensor,
        teacher: Tensor,
        temperature: float | Tensor,
        truth: Tensor,
        valid: Tensor,
        weights: Tensor,
        form: AdaptiveForm,
        threshold: float,
    ) -> Tensor:
        sums, slopes = [], torch.empty_like(student, memory_format=torch.contiguous_format)
        maps = (student, teacher, truth[:, None], valid[:, None], weights[:, None], slopes)
        step = max(block_elements(student.device, 0) // student[0].numel(), 1)
        for s, t, y, has_label, weight, slope in zip(*(part.split(step) for part in maps), strict=True):
            log_p = F.log_softmax(s, dim=1)
            target = _target(F.softmax(t / temperature, dim=1), y, has_label, form, threshold)
            sums.append(-((target * log_p).sum(1, keepdim=True) * weight).sum())
            torch.mul(log_p.exp_().sub_(target), weight, out=slope)
        ctx.save_for_backward(slopes)
        return torch.stack(sums).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        return outer[0] * ctx.saved_tensors[0], *(None,) * 7


def _target(p: Tensor, truth: Tensor, valid: Tensor, form: AdaptiveForm, threshold: float) -> Tensor:
    """`q` of all pixels, written over the teacher's probabilities, which it equals where there is no label."""
    top, guess = p.max(1, keepdim=True)
    p_truth = p.gather(1, truth)
    if form == "swap":
        swapped = p.scatter(1, truth, top).scatter(1, guess, p_truth)
        return torch.where(valid, swapped, p)
    trust = {
        "hard": guess == truth,
        "threshold": (guess == truth) & (p_truth >= threshold),
        "soft": p_truth,
    }[form].to(p.dtype)
    trust = torch.where(valid, trust, 1.0)
    return p.mul_(trust).scatter_add_(1, truth, 1 - trust)
