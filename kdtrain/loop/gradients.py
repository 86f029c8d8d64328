"""How strongly every term pulls at the student: weights alone do not say it, since each loss has its own scale."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from kdtrain.runtime.process_group import ProcessGroup


def looks_at_gradients(epoch: int, epochs: int) -> bool:
    """Whether the gradients are looked at in an epoch, counted from 1.

    In the last, and in the first, second, fourth, ... of the first quarter: each look costs a backward pass per term
    for one batch, for which neither long nor short trainings should pay much.
    """
    return epoch == epochs or (epoch & (epoch - 1) == 0 and 4 * epoch <= epochs)


def gradient_norms(
    weighted: Mapping[str, Tensor], student: nn.Module, scaler: torch.amp.GradScaler, world: ProcessGroup
) -> dict[str, float]:
    """The length of the gradient of every weighted term with respect to all weights of the student.

    Args:
        weighted: Scalars with gradient, by the term's name; their graph is kept.
        student: Whose weights.
        scaler: Of mixed precision, without which small gradients vanish.
        world: The processes whose gradients add up.
    """
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
    found = {}
    for name, value in weighted.items():
        gradients = torch.autograd.grad(scaler.scale(value), parameters, retain_graph=True, allow_unused=True)
        own = [gradient.flatten() for gradient in gradients if gradient is not None]
        length = world.sum(torch.cat(own).double().cpu()).norm() if own else 0.0
        found[name] = float(length) / scaler.get_scale()
    return found
