"""The fused optimizers against torch's plain ones."""

import copy

import pytest
import torch
from torch import nn

from kdtrain.config import Optimizer
from kdtrain.loop.optimizer import build_optimizer

SHAPES = ((7,), (4, 3, 3, 3), (5, 11), (1,))
# powers of two and whole gradients: no rounding, so that two orders of the same sums agree to the last bit
SGD = Optimizer(name="sgd", lr=0.25, momentum=0.5, weight_decay=0.0)
ADAMW = Optimizer(name="adamw", lr=0.01, weight_decay=0.01)


def plain(config, parameters):
    if config.name == "adamw":
        return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay, foreach=False)
    return torch.optim.SGD(parameters, lr=config.lr, momentum=config.momentum, foreach=False)


def trained(make, config, *, first_step=(0, 0, 0, 0), overflows=(), resumed=(), steps=6):
    """The weights after some steps.

    Args:
        make: Makes the optimizer from a config and weights.
        config: Of the optimizer.
        first_step: By weight, the step in which its first gradient comes.
        overflows: Steps in which a gradient is infinite.
        resumed: Steps after which a new optimizer takes over the state.
        steps: How many.
    """
    noise = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(torch.randint(-8, 8, shape, generator=noise).float()) for shape in SHAPES]
    optimizer = make(config, weights)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, enabled=bool(overflows))
    for step in range(steps):
        optimizer.zero_grad(set_to_none=True)
        losses = [
            (weight * torch.randint(-4, 4, weight.shape, generator=noise)).sum()
            for weight, first in zip(weights, first_step, strict=True)
            if step >= first
        ]
        loss = torch.stack(losses).sum() * (torch.inf if step in overflows else 1.0)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        if step in resumed:
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = make(config, weights)
            optimizer.load_state_dict(state)
    return weights


@pytest.mark.parametrize("config", [SGD, ADAMW], ids=["sgd", "adamw"])
@pytest.mark.parametrize("first_step", [(0, 0, 0, 0), (0, 2, 0, 0), (3, 2, 1, 0), (0, 9, 0, 0)])
@pytest.mark.parametrize("overflows", [(), (0,), (0, 1, 2), (3,)])
@pytest.mark.parametrize("resumed", [(), (0,), (1, 2), (4,)])
def test_late_first_gradients_and_overflows_give_what_the_plain_optimizer_gives(config, first_step, overflows, resumed):
    case = {"first_step": first_step, "overflows": overflows, "resumed": resumed}
    fused, expected = trained(build_optimizer, config, **case), trained(plain, config, **case)
    for ours, theirs in zip(fused, expected, strict=True):
        if config is SGD:
            assert torch.equal(ours, theirs)
        torch.testing.assert_close(ours, theirs)


def test_usual_trainings_have_the_bits_of_the_fused_kernel():
    config = Optimizer(name="sgd", lr=0.03, momentum=0.9, weight_decay=1e-4)

    def fused(config, parameters):
        return torch.optim.SGD(parameters, config.lr, config.momentum, weight_decay=config.weight_decay, fused=True)

    for ours, theirs in zip(trained(build_optimizer, config), trained(fused, config), strict=True):
        assert torch.equal(ours, theirs)


def test_without_momentum_nothing_is_kept():
    config = Optimizer(name="sgd", lr=0.25, momentum=0.0, weight_decay=0.0)
    weight = nn.Parameter(torch.ones(3))
    optimizer = build_optimizer(config, [weight])
    weight.sum().backward()
    optimizer.step()
    assert weight.tolist() == [0.75] * 3
    assert not optimizer.state[weight]
