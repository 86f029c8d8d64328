"""Adaptive cross-entropy, ACE (Park & Heo, Sensors 2020, 20(16), 4616).

Only the abstract could be read: the loss "adaptively exploits one-hot encodings using the ground truth
labels and the probability maps predicted by the teacher". How it adapts is inferred here, and every inferred
piece is a switch.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from kdtrain.losses.maps import distillation_loss, masked_mean, resize_labels, resize_map

AdaptiveForm = Literal["hard", "soft", "threshold", "swap"]


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
        teacher = resize_map(teacher, labels.shape[-2:], align_corners)
    elif student.shape != teacher.shape:
        raise ValueError(
            "adaptive_cross_entropy with resize='map' needs maps of equal height and width, but came student "
            f"{tuple(student.shape)}, teacher {tuple(teacher.shape)}"
        )
    labels = resize_labels(labels, student.shape[-2:])
    valid = labels != ignore_index
    truth = torch.where(valid, labels, 0)
    log_student = F.log_softmax(student, dim=1)
    probability = F.softmax(teacher / temperature, dim=1)

    from_teacher = -(probability * log_student).sum(1)
    log_truth = _at(log_student, truth)
    p_truth = _at(probability, truth)
    top, guess = probability.max(1)
    match form:
        case "hard":
            pixels = torch.where(guess == truth, from_teacher, -log_truth)
        case "threshold":
            pixels = torch.where((guess == truth) & (p_truth >= threshold), from_teacher, -log_truth)
        case "soft":
            pixels = p_truth * from_teacher - (1 - p_truth) * log_truth
        case "swap":
            # the exchange gives (top - p_truth) more to the true class and takes it from the guess
            pixels = from_teacher - (top - p_truth) * (log_truth - _at(log_student, guess))
        case _:
            raise ValueError(f"form must be hard, soft, threshold or swap, but came {form!r}")
    if ignored == "teacher":
        return torch.where(valid, pixels, from_teacher).mean()
    return masked_mean(pixels, valid)


def _at(values: Tensor, classes: Tensor) -> Tensor:
    """The value of `(N, C, H, W)` at one class per pixel."""
    return values.gather(1, classes[:, None])[:, 0]
