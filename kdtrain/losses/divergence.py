"""Divergences between softmaxes, exact also where both sides nearly agree.

`sum p (log p - log q)` cancels there: at a true value of 1e-8 float32 leaves no digit. So it is summed in
float64, block by block, and the gradient, which has a closed form, is kept instead of what autograd would
keep: less memory than the plain float32 form, and about its time.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kdtrain.loss_forms import Divergence
from kdtrain.losses.blocks import block_elements
from kdtrain.losses.maps import IMPOSSIBLE, wide

_LEAST_LOG = -1e4
"""Bounds KL(student || teacher), and its gradient, where a score of the teacher is minus infinity."""
BLOCK_ELEMENTS = 2**18
"""Numbers in a block on a CPU: what its caches hold."""


def divergences(student: Tensor, teacher: Tensor, temperature: float | Tensor, dim: int, kind: Divergence) -> Tensor:
    """Divergence between the softmaxes of student and teacher along `dim`, for every place of the others.

    Args:
        student: `(N, ..., ...)`; gets the gradient (of first order).
        teacher: Of the same shape.
        temperature: Divides both; gets no gradient.
        dim: Not 0.
        kind: `kl`: KL(teacher || student); `reverse`: KL(student || teacher); `symmetric`: their mean;
            `mse`: sum of squared differences.

    Returns:
        Float64 where the device has it, of the shape without `dim`.
    """
    if kind not in ("kl", "reverse", "symmetric", "mse"):
        raise ValueError(f"divergence must be kl, reverse, symmetric or mse, got {kind!r}")
    values: Tensor = _Divergences.apply(student, teacher, temperature, dim, kind)
    return values


def softmax_and_log(scores: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Softmax and its logarithm, with one exponential for both.

    A score of minus infinity has the probability 0 and, as its logarithm, a number so low that 0 times it is 0. If all
    scores are minus infinity, they are equal.
    """
    scores = scores.clamp_min(IMPOSSIBLE)
    scores = scores.sub_(scores.amax(dim, keepdim=True))
    raised = scores.exp()
    total = raised.sum(dim, keepdim=True)
    return raised / total, scores - total.log()


class _Divergences(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, temperature: float | Tensor, dim: int, kind: Divergence
    ) -> Tensor:
        step = max(block_elements(student.device, BLOCK_ELEMENTS) // student[0].numel(), 1)
        values, slopes = [], []
        for s, t in zip(student.split(step), teacher.split(step), strict=True):
            value, slope = _block(wide(s) / temperature, wide(t) / temperature, dim, kind)
            values.append(value)
            slopes.append((slope / temperature).to(student.dtype))
        ctx.save_for_backward(torch.cat(slopes))
        ctx.dim = dim
        return torch.cat(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None, None, None]:
        (slopes,) = ctx.saved_tensors
        return slopes * outer[0].unsqueeze(ctx.dim).to(slopes.dtype), None, None, None, None


def _block(s: Tensor, t: Tensor, dim: int, kind: Divergence) -> tuple[Tensor, Tensor]:
    """Values, and their gradient with respect to the scores `s`."""
    p_s, log_s = softmax_and_log(s, dim)
    p_t, log_t = softmax_and_log(t, dim)
    if kind == "mse":
        difference = p_s - p_t
        along = (p_s * difference).sum(dim, keepdim=True)
        return difference.square().sum(dim), 2 * p_s * (difference - along)
    if kind != "kl":
        log_t = torch.where(log_t < IMPOSSIBLE / 2, _LEAST_LOG, log_t)
    gap = log_s - log_t
    forward, forward_slope = -(p_t * gap).sum(dim), p_s - p_t
    if kind == "kl":
        return forward, forward_slope
    reverse = (p_s * gap).sum(dim, keepdim=True)
    reverse_slope = p_s * (gap - reverse)
    if kind == "reverse":
        return reverse.squeeze(dim), reverse_slope
    return (forward + reverse.squeeze(dim)) / 2, (forward_slope + reverse_slope) / 2
