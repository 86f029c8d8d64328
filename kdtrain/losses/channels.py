"""Channel-wise distillation: where each channel looks (Shu et al., ICCV 2021, arXiv 2011.13256)."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from kdtrain.losses.maps import distillation_loss

Normalize = Literal["channel", "class", "channel_mean", "none"]
Divergence = Literal["kl", "reverse", "symmetric", "mse"]


@distillation_loss(equal_channels=True)
def channel_wise(
    student: Tensor,
    teacher: Tensor,
    temperature: float = 4.0,
    *,
    normalize: Normalize = "channel",
    divergence: Divergence = "kl",
) -> Tensor:
    """Divergence between normalised maps; by default equation (4) of the paper.

    With `phi` the softmax over space of every channel at temperature `T`, the default is
    `T^2 / (N C) * sum over images and channels of KL(phi(teacher) || phi(student))`.

    Args:
        student: Logits or features `(N, C, H, W)`.
        teacher: `(N, C, H, W)`.
        temperature: `T`. (The official code fixes it to 1 for `mse`.)
        normalize: `channel`: softmax over space; `class`: softmax over channels, divided by `N H W` instead
            of `N C`; `channel_mean`: mean over space; `none`: the raw maps, divided by `N H W`. The last two
            are no
            distributions: they take `mse` only, and the temperature cancels.
        divergence: `kl`: KL(teacher || student), the paper's; `reverse`: KL(student || teacher);
            `symmetric`: the mean of both (inferred); `mse`: sum of squared differences.
    """
    batch, channels, height, width = student.shape
    groups = batch * (channels if normalize in ("channel", "channel_mean") else height * width)
    student, teacher = student.flatten(2), teacher.flatten(2)
    if normalize in ("channel_mean", "none"):
        if divergence != "mse":
            raise ValueError(
                f"normalize={normalize!r} gives no distributions: divergence must be 'mse', but came {divergence!r}"
            )
        difference = student - teacher
        if normalize == "channel_mean":
            difference = difference.mean(-1)
        return difference.square().sum() / groups
    axis = {"channel": 2, "class": 1}[normalize]
    log_student = F.log_softmax(student / temperature, dim=axis)
    log_teacher = F.log_softmax(teacher / temperature, dim=axis)
    match divergence:
        case "kl":
            total = _kl(log_teacher, log_student)
        case "reverse":
            total = _kl(log_student, log_teacher)
        case "symmetric":
            total = (_kl(log_teacher, log_student) + _kl(log_student, log_teacher)) / 2
        case "mse":
            total = (log_student.exp() - log_teacher.exp()).square().sum()
        case _:
            raise ValueError(f"divergence must be kl, reverse, symmetric or mse, but came {divergence!r}")
    return temperature**2 * total / groups


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Sum of `p (log p - log q)`."""
    return (log_p.exp() * (log_p - log_q)).sum()
