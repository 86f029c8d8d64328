"""The optimizer of a training: one fused kernel for all weights, where the device has one."""

from collections.abc import Sequence

import torch
from torch import nn

from kdtrain.config import Optimizer


def build_optimizer(config: Optimizer, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer of some weights, which lie on one device."""
    fused = parameters[0].device.type in ("cpu", "cuda")
    if config.name == "adamw":
        return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=fused)
    sgd = torch.optim.SGD(
        parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=fused
    )
    if fused:
        sgd.register_step_pre_hook(_start_momentum)
    return sgd


def _start_momentum(sgd: torch.optim.Optimizer, *_: object) -> None:
    """Start the running mean of a weight's gradients at 0, before the first gradient is added to it.

    The fused kernel leaves the means without a value if the step of the first gradients overflows, and refuses a weight
    whose first gradient comes later than those of others. From 0, the first mean is the first gradient, as it must be.
    """
    for group in sgd.param_groups:
        if group["momentum"] == 0:
            continue
        for parameter in group["params"]:
            if parameter.grad is not None and sgd.state[parameter].get("momentum_buffer") is None:
                sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter.grad)
