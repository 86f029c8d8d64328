"""The length of every term's gradient: weights alone do not show it, because each loss has its own scale."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from kdtrain.runtime.process_group import ProcessGroup


def looks_at_gradients(epoch: int, epochs: int) -> bool:
    """Whether the gradients are measured in an epoch, counted from 1.

    In the last, and in the first, second, fourth, ... of the first quarter: a measurement costs a backward pass per
    term for one batch, which should be little for long and for short trainings.
    """
    return epoch == epochs or (epoch & (epoch - 1) == 0 and 4 * epoch <= epochs)


def gradient_norms(
    weighted: Mapping[str, Tensor], student: nn.Module, scaler: torch.amp.GradScaler, group: ProcessGroup
) -> dict[str, float]:
    """The length of the gradient of every weighted term with respect to all weights of the student.

    Args:
        weighted: Scalars with gradient, by the term's name; their graph stays.
        student: The network of these weights.
        scaler: Of mixed precision; without it small gradients vanish.
        group: The processes whose gradients add up.
    """
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
    lengths = {}
    for name, value in weighted.items():
        gradients = torch.autograd.grad(scaler.scale(value), parameters, retain_graph=True, allow_unused=True)
        flat = [gradient.flatten() for gradient in gradients if gradient is not None]
        length = group.sum(torch.cat(flat).double().cpu()).norm() if flat else 0.0
        lengths[name] = float(length) / scaler.get_scale()
    return lengths
