"""What a network of the user's may return, which sizes it takes, and that its maps are those of the named module."""

import pytest
import torch

from kdtrain.errors import InputError
from kdtrain.models import Network, TappedNetwork, build_network, layer_channels
from kdtrain.models.outputs import is_probability

CLASSES = 7


def built(function: str, module: str = "odd_networks", **options) -> TappedNetwork:
    return build_network(Network(arch=f"{module}:{function}", options=options), CLASSES).eval()


def images(height: int = 32, width: int = 48, count: int = 2) -> torch.Tensor:
    pixels = torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))
    return pixels.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "form", ["dict of logits", "dict of out", "object", "named tuple", "tuple", "list of one"]
)  # fmt: skip
@torch.no_grad()
def test_every_usual_form_of_an_output_holds_the_logits(form):
    plain, other = built("returns", form="tensor"), built("returns", form=form)
    other.load_state_dict(plain.state_dict())
    assert torch.equal(other.logits(images()), plain.logits(images()))


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("losses in training", "in training mode must return logits .*, got a dict with the keys loss_ce, loss_dice"),
        ("loss and logits", r"got a tuple of 2 that starts with a tensor of the form \(\)"),
        ("nested", "got a tuple of 2 that starts with tuple"),
        ("class ids", r"got a tensor of int64 of the form \(2, 1, 8, 12\)"),
        ("three dimensions", r"got a tensor of the form \(2, 7, 96\)"),
        ("nothing", "got NoneType"),
    ],
)
def test_an_output_without_logits_is_refused(form, said):
    with pytest.raises(InputError, match=said):
        built("returns", form=form).train()(images())


@pytest.mark.parametrize(
    ("options", "padded"),
    [
        ({"multiple": 14}, (98, 126)),
        ({"multiple": 14, "patches": True}, (98, 126)),
        ({"multiple": 32}, (96, 128)),
        ({"multiple": 12, "patches": True}, (96, 120)),
        ({"multiple": 10}, (90, 120)),
        ({"multiple": 20}, (100, 120)),
        ({"multiple": 64}, (128, 128)),
    ],
)
@torch.no_grad()
def test_images_are_padded_to_what_a_network_needs(options, padded):
    network = built("multiple_of", **options)
    pixels = images(90, 120)
    logits = network.logits(pixels)
    assert logits.shape == (2, CLASSES, 90, 120)
    larger = torch.nn.functional.pad(
        (pixels - network.mean) / network.std, (0, padded[1] - 120, 0, padded[0] - 90)
    )  # fmt: skip
    assert torch.equal(logits, network.net(larger)[..., :90, :120])
    assert torch.equal(network.train().logits(pixels), logits)


@torch.no_grad()
def test_unet_with_hrnet_takes_the_sizes_that_fpn_takes():
    network = build_network(Network(arch="Unet", encoder="tu-hrnet_w18_small"), CLASSES, bare=True).eval().to("meta")
    assert layer_channels(network, (), (90, 120))["logits"] == (CLASSES, 90, 120)
    assert layer_channels(network, (), (96, 128))["logits"] == (CLASSES, 96, 128)


def test_the_error_of_a_network_of_one_size_is_its_own():
    network = built("one_size")
    assert layer_channels(network, (), (32, 48))["logits"] == (CLASSES, 8, 12)
    with pytest.raises(InputError, match="OneSize does not take images of 40 x 48: images must be 32 x 48"):
        layer_channels(network, (), (40, 48))


@torch.no_grad()
def test_a_network_that_views_its_maps_gets_contiguous_maps():
    network = built("views").place(torch.device("cpu"))
    assert not network.contiguous
    logits = network.logits(images())
    assert network.contiguous
    assert network.net.body[0].weight.is_contiguous()
    plain = built("tiny", module="tiny_networks", dropout=0.0)
    plain.load_state_dict(network.state_dict())
    torch.testing.assert_close(logits, plain.logits(images()))
    assert network.train().logits(images()).shape == logits.shape


def test_a_network_that_views_its_maps_in_training_alone_says_so():
    with pytest.raises(InputError, match="Views does not take maps in channels-last order in training mode; use res"):
        built("views", when="training").place(torch.device("cpu")).train()(images())
    silent = built("views_and_says_so").place(torch.device("cpu"))
    assert silent.train()(images())["logits"].shape == (2, CLASSES, 8, 12)


@pytest.mark.parametrize(("function", "layer"), [("in_place", "norm"), ("adds_in_place", "norm")])
def test_a_tapped_map_is_what_its_module_gave_though_a_later_operation_overwrites_it(function, layer):
    network = built(function)
    maps = network.tap([layer])(images())
    expected = network.net.norm(network.net.conv((images() - network.mean) / network.std))
    assert torch.equal(maps[layer], expected)
    maps = network.train().tap([layer])(images())
    assert maps[layer].min() < 0
    maps[layer].sum().backward()
    assert network.net.head.weight.grad is None
    assert network.net.norm.bias.grad is not None


def test_a_map_that_is_overwritten_in_training_alone_is_refused():
    network = built("in_place_in_training").tap(["norm"])
    network(images())
    with pytest.raises(InputError, match=r"layer 'norm': a later operation of InPlaceInTraining .* in training mode"):
        network.train()(images())


@pytest.mark.parametrize(
    ("logits", "kind"),
    [
        (torch.randn(2, 5, 4, 4).softmax(1), "softmax"),
        (torch.randn(2, 5, 4, 4).sigmoid(), "sigmoid"),
        (torch.randn(2, 5, 4, 4).log_softmax(1), None),
        (torch.randn(2, 5, 4, 4), None),
        (torch.zeros(2, 5, 4, 4), None),
        (torch.full((2, 5, 4, 4), torch.nan), None),
        (torch.randn(2, 5, 4, 4).abs() * 3, None),
        (0.1 + 0.2 * torch.rand(2, 5, 4, 4), None),
    ],
)
def test_probabilities_are_told_from_logits(logits, kind):
    assert is_probability(logits) == kind


def test_lazy_modules_get_their_weights_from_the_seed():
    one, two = (build_network(Network(arch="odd_networks:lazy"), CLASSES, seed).net.state_dict() for seed in (1, 1))
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = build_network(Network(arch="odd_networks:lazy"), CLASSES, 2).net.state_dict()
    assert not torch.equal(one["0.weight"], other["0.weight"])


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("full"), RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), OSError("no file")],
)
def test_errors_of_devices_and_memory_are_not_hidden_by_another_size(error, monkeypatch):
    network, sizes = built("tiny", module="tiny_networks"), []

    def fails(inputs: torch.Tensor) -> torch.Tensor:
        sizes.append(inputs.shape[-2:])
        raise error

    monkeypatch.setattr(network.net, "forward", fails)
    with pytest.raises(type(error)):
        network(images(90, 120))
    assert sizes == [(90, 120)]
