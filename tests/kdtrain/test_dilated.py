import copy

import pytest
import torch
from torch import nn
from torch.nn.modules.utils import _pair

from kdtrain.models import Network, build_network
from kdtrain.models.dilated import quicken_dilated


def gradients(conv: nn.Module, x: torch.Tensor, outer: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    conv.zero_grad()
    y = conv(x)
    y.backward(outer)
    return [y.detach(), x.grad, conv.weight.grad]


@pytest.mark.parametrize(
    ("kernel", "dilation", "size"),
    [
        (3, 2, (10, 14)),
        (3, 12, (10, 14)),
        (3, 24, (10, 14)),
        (5, (2, 3), (7, 9)),
        ((1, 3), (1, 2), (4, 6)),
        (3, 2, (1, 2)),
    ],
)
def test_gradients_are_those_of_the_library(kernel, dilation, size):
    torch.manual_seed(0)
    padding = tuple(size // 2 * step for size, step in zip(_pair(kernel), _pair(dilation), strict=True))
    conv = nn.Conv2d(6, 6, kernel, padding=padding, dilation=dilation, groups=6, bias=False).double()
    quick = copy.deepcopy(conv)
    quicken_dilated(quick)
    assert type(quick) is not nn.Conv2d
    x, outer = torch.randn(2, 2, 6, *size, dtype=torch.float64).unbind()
    torch.testing.assert_close(gradients(quick, x, outer), gradients(conv, x, outer), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"groups": 1, "dilation": 2, "padding": 2},
        {"groups": 6, "dilation": 1, "padding": 1},
        {"groups": 6, "dilation": 2, "padding": 0},
        {"groups": 6, "dilation": 2, "padding": 2, "stride": 2},
        {"groups": 6, "dilation": 2, "padding": 2, "padding_mode": "reflect"},
        {"groups": 6, "dilation": 2, "padding": "same"},
        {"groups": 6, "dilation": 2, "padding": 2, "bias": True},
    ],
)
def test_other_convolutions_stay_the_library_s(options):
    conv = nn.Conv2d(6, 6, 3, **{"bias": False} | options)
    quicken_dilated(conv)
    assert type(conv) is nn.Conv2d


def test_a_network_trains_as_before_up_to_rounding():
    network = Network(arch="DeepLabV3Plus", encoder="tu-mobilenetv2_050")
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    found = []
    for quick in (False, True):
        net = build_network(network, 5).eval()  # without dropout
        if quick:
            quicken_dilated(net)
            assert sum(type(module).__name__ == "_DilatedDepthwise" for module in net.modules()) == 6
        net(images)["logits"].square().mean().backward()
        found.append({name: value.grad for name, value in net.named_parameters() if value.grad is not None})
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6)
