"""What every loss does first: check shapes, leave autocast, detach the teacher; and shared steps on maps."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from kdtrain.loss_forms import PoolKind

Loss = TypeVar("Loss", bound=Callable[..., Tensor])

LENGTH_EPS = 1e-8
"""What is added to the length of a vector before dividing by it. A vector no longer than this has no direction."""
CONSTANT_BELOW = 1e-6
"""Numbers whose deviations from their mean are no longer than this share of them are constant: what float32 leaves of
equal numbers is rounding, and a gradient that enlarges it to unit length would be enormous."""
IMPOSSIBLE = -1e30
"""Stands for a score of minus infinity: its softmax is exactly 0, and 0 times it is 0."""


def distillation_loss(*, equal_channels: bool = False, equal_size: bool = True) -> Callable[[Loss], Loss]:
    """Make a loss of two maps run in full precision, with a gradient for the student alone.

    The loss then runs outside autocast in float32 (float64 maps stay float64), returns a scalar of that
    type, sees the teacher detached, and refuses maps which it cannot compare.
    """

    def decorate(loss: Loss) -> Loss:
        @wraps(loss)
        def checked(student: Tensor, teacher: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            shapes = f"student {tuple(student.shape)}, teacher {tuple(teacher.shape)}"
            if student.ndim != 4 or teacher.ndim != 4 or len(student) != len(teacher):
                raise ValueError(f"{loss.__name__} compares two maps (N, C, H, W) of one batch, got {shapes}")
            if equal_channels and student.shape[1] != teacher.shape[1]:
                raise ValueError(f"{loss.__name__} needs equal channels, got {shapes}")
            if equal_size and student.shape[2:] != teacher.shape[2:]:
                raise ValueError(f"{loss.__name__} needs maps of equal height and width, got {shapes}")
            with full_precision(student):
                student = precise(student)
                return loss(student, teacher.detach().to(student.dtype), *args, **kwargs).to(student.dtype)

        return cast(Loss, checked)

    return decorate


def exactly(function: Loss) -> Loss:
    """Make a function of a map run outside autocast, in float32 (a float64 map stays float64)."""

    @wraps(function)
    def run(values: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        with full_precision(values):
            return function(precise(values), *args, **kwargs)

    return cast(Loss, run)


def full_precision(values: Tensor) -> AbstractContextManager[object]:
    """A context outside autocast, where the device of the values has it."""
    device = values.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def precise(values: Tensor) -> Tensor:
    """The values as float32; float64 stays float64."""
    return values if values.dtype == torch.float64 else values.float()


def sent(values: Tensor, target: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Values on the device of `target`, in its type unless another is given; the host does not wait for the device."""
    if values.device.type == "cpu" and target.device.type == "cuda":
        values = values.pin_memory()
    return values.to(target.device, dtype or target.dtype, non_blocking=True)


def wide(values: Tensor) -> Tensor:
    """Float64 where the device has it: for sums whose terms nearly cancel."""
    return values.float() if values.device.type == "mps" else values.double()


def resize_map(values: Tensor, size: tuple[int, int] | torch.Size, align_corners: bool = True) -> Tensor:
    """Resize `(N, C, H, W)` bilinearly to `size = (height, width)`; the same tensor where nothing changes."""
    if values.shape[-2:] == tuple(size):
        return values
    return F.interpolate(values, size=tuple(size), mode="bilinear", align_corners=align_corners)


def resize_scores(values: Tensor, size: tuple[int, int] | torch.Size, align_corners: bool = True) -> Tensor:
    """As `resize_map`, for maps that may hold minus infinity, which stays so wherever it takes part."""
    if values.shape[-2:] == tuple(size):
        return values
    resized = resize_map(values.clamp_min(IMPOSSIBLE), size, align_corners)
    return resized.masked_fill(resized < IMPOSSIBLE * 1e-10, -torch.inf)


def pool_map(values: Tensor, kernel: int | tuple[int, int], kind: PoolKind = "max") -> Tensor:
    """Pool `(N, C, H, W)` with a stride equal to the kernel; windows at the border count the pixels that they hold."""
    pool: Callable[..., Tensor]
    match kind:
        case "max":
            pool = F.max_pool2d
        case "average":
            pool = F.avg_pool2d
        case _:
            raise ValueError(f"pool_kind must be max or average, got {kind!r}")
    return values if kernel in (1, (1, 1)) else pool(values, kernel, kernel, ceil_mode=True)


def resize_labels(labels: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Resize labels `(N, H, W)` to `size` by taking the nearest pixel (as IFVD and CIRKD do)."""
    if labels.shape[-2:] == tuple(size):
        return labels
    return F.interpolate(labels[:, None].double(), size=tuple(size), mode="nearest")[:, 0].to(labels.dtype)


def unit_vectors(
    values: Tensor, detach_norm: bool = False, eps: float = LENGTH_EPS, shortest: float = LENGTH_EPS
) -> Tensor:
    """Divide vectors (last axis) by their length plus `eps`.

    Vectors no longer than `shortest` have no direction: they stay as they are, so that the gradient is bounded.
    """
    norm = torch.linalg.vector_norm(values, dim=-1, keepdim=True)
    if detach_norm:
        norm = norm.detach()
    return values / torch.where(norm > shortest, norm + eps, 1.0)


def deviations(values: Tensor, axes: tuple[int, ...], rounding: float | Tensor = 1.0) -> Tensor:
    """Differences from the mean along `axes`; 0, with a gradient of 0, where the values are constant.

    Args:
        values: The values.
        axes: What their mean runs over.
        rounding: How many times the rounding of a number the values may carry, `1` along the axes.
    """
    apart = values - values.mean(axes, keepdim=True)
    length, whole = (torch.linalg.vector_norm(side.detach(), dim=axes, keepdim=True) for side in (apart, values))
    return torch.where(length > CONSTANT_BELOW * rounding * whole, apart, 0.0)


def root(values: Tensor) -> Tensor:
    """Square root whose gradient at 0 is 0."""
    positive = values > 0
    return torch.where(positive, torch.where(positive, values, 1.0).sqrt(), 0.0)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` where `mask` holds; 0 where it holds nowhere."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp_min(1)
