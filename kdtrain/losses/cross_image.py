"""Relations across images, CIRKD (Yang et al., CVPR 2022): to the pixels of the batch, and to remembered ones.

Both are the KL divergence between the softmaxes of a pixel's cosines to many keys, for millions of pairs. It is
computed block by block of rows, exactly, and so is its gradient, in the same pass: nothing of the size rows x keys
is ever stored.
"""

from typing import Any

import torch
from torch import Tensor

from kdtrain.loss_forms import RelationScope
from kdtrain.losses.blocks import BLOCK_ELEMENTS, block_elements, pays_for_launches
from kdtrain.losses.maps import LENGTH_EPS, distillation_loss, pool_map, resize_labels, unit_vectors, wide
from kdtrain.losses.operators import Operator

LARGEST_EXPONENT = 80.0
"""Beyond it an exponential may overflow in float32."""
_LEAST_PROJECTED = 1e-3
"""The student's projection has a BatchNorm: vectors that are shorter are rounding of constant features."""
LEAST_ROWS = 32
"""Rows in a block, however many keys: fewer make slow products."""


@distillation_loss()
def cross_image_relation(
    student: Tensor,
    teacher: Tensor,
    temperature: float | Tensor = 0.1,
    *,
    scope: RelationScope = "pair",
    pool: int = 1,
) -> Tensor:
    """KL(teacher || student) of every pixel's softmax over the pixels of an image, for all ordered pairs of images.

    Mean over pixels and pairs, an image with itself included, without `temperature^2`.

    Args:
        student: Features `(N, C_s, H, W)`.
        teacher: `(N, C_t, H, W)`.
        temperature: Divides the cosines.
        scope: The softmax runs over the pixels of one image (`pair`, official), or of the whole `batch`.
        pool: Both maps are averaged over squares of this side before.
    """
    if scope not in ("pair", "batch"):
        raise ValueError(f"scope must be pair or batch, got {scope!r}")
    sharpness = temperature**-0.5
    s, t = (_rows(side, pool) * sharpness for side in (student, teacher))
    weights = torch.full_like(s[:, 0], 1 / len(s), dtype=student.dtype)
    return relation_kl(s, t, None, weights, len(student) if scope == "pair" else 1, _never_overflows(temperature))


@distillation_loss(equal_channels=True)
def memory_relation(
    student: Tensor,
    teacher: Tensor,
    keys: Tensor,
    labels: Tensor,
    temperature: float | Tensor = 0.1,
    *,
    kd_temperature: float | Tensor = 1.0,
    ignore_index: int = 255,
) -> Tensor:
    """KL(teacher || student) of every labelled pixel's softmax over remembered embeddings.

    Mean over the pixels that count, times `kd_temperature^2`; 0 if none does.

    Args:
        student: Projected features `(N, C, H, W)`.
        teacher: Features `(N, C, H, W)`.
        keys: `(V, C)` of unit length, without gradient.
        labels: `(N, H_label, W_label)`, brought to the map by nearest pixel.
        temperature: Divides the cosines.
        kd_temperature: Divides them once more.
        ignore_index: Label of pixels that do not count.
    """
    sharpness = 1 / (temperature * kd_temperature)
    counts = (resize_labels(labels, student.shape[2:]) != ignore_index).flatten().to(student.dtype)
    weights = counts / counts.sum().clamp_min(1)
    s, t = _rows(student, shortest=_LEAST_PROJECTED) * sharpness, _rows(teacher) * sharpness
    bounded = _never_overflows(temperature * kd_temperature)
    return kd_temperature**2 * relation_kl(s, t, keys.detach().to(weights), weights, 1, bounded)


def _never_overflows(temperature: float | Tensor) -> bool:
    """Whether the exponentials of cosines divided by a temperature are known to be small enough for float32.

    Student and teacher differ by at most 2 in a cosine, and that difference from its mean by at most 4.
    """
    return not isinstance(temperature, Tensor) and 4 / temperature <= LARGEST_EXPONENT


def relation_kl(
    student: Tensor, teacher: Tensor, keys: Tensor | None, weights: Tensor, groups: int, bounded: bool = False
) -> Tensor:
    """Weighted sum over rows of KL(softmax(teacher @ keys^T) || softmax(student @ keys^T)); gradient to the student.

    Args:
        student: `(R, C_s)`, float64 if small differences shall count.
        teacher: `(R, C_t)`.
        keys: `(K, C)` with C = C_s = C_t, without gradient; None: each side's rows are its own keys, with gradient.
        weights: `(R,)`; its type is the one that products are computed in.
        groups: The keys are cut into as many equal parts, each with a softmax of its own; their mean counts.
        bounded: Whether logits of student and teacher are known to differ, less the mean difference, by no more than
            `LARGEST_EXPONENT`.
    """
    with_gradient = torch.is_grad_enabled() and student.requires_grad
    apart = (student.detach() - teacher).to(weights) if student.shape == teacher.shape else None
    value: Tensor
    rows = (student.to(weights), teacher.to(weights), apart)
    value, _ = _RELATION_KL(*rows, keys, weights, groups, bounded, with_gradient)
    return value


def _relation_kl(
    student: Tensor,
    teacher: Tensor,
    apart: Tensor | None,
    keys: Tensor | None,
    weights: Tensor,
    groups: int,
    bounded: bool,
    with_gradient: bool,
) -> tuple[Tensor, Tensor]:
    """Value of `relation_kl`, and its gradient on demand; `apart` is student less teacher, if channels allow it."""
    teacher_keys = teacher if keys is None else keys
    together = student if apart is None else student + teacher
    gradient = torch.zeros_like(student) if with_gradient else student.new_empty(0)
    total = wide(torch.zeros((), device=student.device))
    step = max(block_elements(student.device, BLOCK_ELEMENTS) // len(teacher_keys), LEAST_ROWS)
    for start in range(0, len(student), step):
        rows = slice(start, start + step)
        logits = teacher[rows] @ teacher_keys.mT
        if apart is None:
            difference = student[rows] @ student.mT - logits
        elif keys is not None:
            difference = apart[rows] @ keys.mT
        else:
            # s_i s_j - t_i t_j, from the difference of the rows rather than of the products
            difference = torch.mm(apart[rows], together.mT).addmm_(together[rows], apart.mT).div_(2)
        logits, difference = (side.unflatten(1, (groups, -1)) for side in (logits, difference))
        divergence, slope = _row_kl(logits, difference, bounded)
        total += (divergence.mean(1) * weights[rows]).sum()
        if with_gradient:
            slope = slope.flatten(1).mul_(weights[rows, None] / groups)
            if keys is None:
                gradient[rows].addmm_(slope, student)
                gradient.addmm_(slope.mT, student[rows])
            else:
                torch.mm(slope, keys, out=gradient[rows])
    return total.to(student.dtype), gradient


def _empty(
    student: Tensor,
    teacher: Tensor,
    apart: Tensor | None,
    keys: Tensor | None,
    weights: Tensor,
    groups: int,
    bounded: bool,
    with_gradient: bool,
) -> tuple[Tensor, Tensor]:
    return student.new_empty(()), torch.empty_like(student) if with_gradient else student.new_empty(0)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(output[1])


def _slopes(ctx: Any, value: Tensor, compiled: bool) -> Tensor:
    slopes: Tensor = value * ctx.saved_tensors[0]
    return slopes


_RELATION_KL = Operator("relation_kl", _relation_kl, _empty, _keep, _slopes)


def _row_kl(logits: Tensor, difference: Tensor, bounded: bool) -> tuple[Tensor, Tensor]:
    """KL along the last axis between the softmaxes p of `logits`, and q of `logits + difference`, and q - p.

    With `d` the difference less its mean under p, `KL = log(1 + m)` and `q - p = p (e^d - 1 - m) / (1 + m)`, where
    `m = sum p (e^d - 1 - d)`: no term of it is negative, and nothing cancels when p and q are nearly equal.
    """
    p = logits.softmax(-1)
    d = difference - (p * difference).sum(-1, keepdim=True)
    if bounded:
        return _small_kl(p, d)
    if not pays_for_launches(d.device):
        return _any_kl(p, logits, difference) if d.amax() > LARGEST_EXPONENT else _small_kl(p, d)
    # to ask whether any exponent is large would wait for the device
    large = d.amax(-1) > LARGEST_EXPONENT
    (value, slope), (small, small_slope) = _any_kl(p, logits, difference), _small_kl(p, d.clamp_(max=LARGEST_EXPONENT))
    return torch.where(large, value, small), torch.where(large[..., None], slope, small_slope)


def _small_kl(p: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    gain = d.expm1()
    m = (p * (gain - d)).sum(-1, keepdim=True)
    return m.log1p().squeeze(-1), gain.sub_(m).mul_(p).div_(1 + m)


def _any_kl(p: Tensor, logits: Tensor, difference: Tensor) -> tuple[Tensor, Tensor]:
    log_p, log_q = logits.log_softmax(-1), (logits + difference).log_softmax(-1)
    return (p * (log_p - log_q)).sum(-1), log_q.exp_() - p


def _rows(values: Tensor, pool: int = 1, shortest: float = LENGTH_EPS) -> Tensor:
    """`(N, C, H, W)` as float64 unit vectors `(N H W, C)`; `shortest` is as in `unit_vectors`."""
    if pool > 1:
        values = pool_map(wide(values), pool, "average")
    return unit_vectors(wide(values.flatten(2).transpose(1, 2).flatten(0, 1)), eps=0.0, shortest=shortest)
