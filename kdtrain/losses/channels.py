"""Channel-wise distillation: where each channel looks (Shu et al., ICCV 2021, arXiv 2011.13256)."""

from torch import Tensor

from kdtrain.loss_forms import Divergence, Normalize
from kdtrain.losses.divergence import divergences
from kdtrain.losses.maps import distillation_loss


@distillation_loss(equal_channels=True)
def channel_wise(
    student: Tensor,
    teacher: Tensor,
    temperature: float | Tensor = 4.0,
    *,
    normalize: Normalize = "channel",
    divergence: Divergence = "kl",
) -> Tensor:
    """Divergence between normalized maps; by default equation (4) of the paper.

    With `phi` the softmax over space of every channel at temperature `T`, the default is
    `T^2 / (N C) * sum over images and channels of KL(phi(teacher) || phi(student))`.

    Args:
        student: Logits or features `(N, C, H, W)`.
        teacher: `(N, C, H, W)`.
        temperature: `T`. (The official code fixes it to 1 for `mse`.)
        normalize: `channel`: softmax over space; `class`: softmax over channels, divided by `N H W` instead
            of `N C`; `channel_mean`: mean over space; `none`: the raw maps, divided by `N H W`. The last two
            are no distributions: they take `mse` only, and the temperature cancels.
        divergence: `kl`: KL(teacher || student), the paper's; `reverse`: KL(student || teacher);
            `symmetric`: the mean of both (inferred); `mse`: sum of squared differences.
    """
    batch, channels, height, width = student.shape
    groups = batch * (channels if normalize in ("channel", "channel_mean") else height * width)
    student, teacher = student.flatten(2), teacher.flatten(2)
    if normalize in ("channel_mean", "none"):
        if divergence != "mse":
            raise ValueError(
                f"normalize={normalize!r} gives no distributions: divergence must be 'mse', got {divergence!r}"
            )
        difference = student - teacher
        if normalize == "channel_mean":
            difference = difference.mean(-1)
        return difference.square().sum() / groups
    if normalize not in ("channel", "class"):
        raise ValueError(f"normalize must be channel, class, channel_mean or none, got {normalize!r}")
    if normalize == "channel":  # every channel is a row of its own, so that blocks may hold few of them
        student, teacher = student.flatten(0, 1), teacher.flatten(0, 1)
    return temperature**2 * divergences(student, teacher, temperature, 1, divergence).sum() / groups
