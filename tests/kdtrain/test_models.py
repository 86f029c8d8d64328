import sys

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from kdtrain.errors import InputError
from kdtrain.models import Network, build_network, building_once, check_layers, layer_channels
from kdtrain.models.library import ARCHITECTURES

ENCODER = "tu-mobilenetv3_small_050"
CLASSES = 7
STAGES = [f"encoder.{stage}" for stage in range(1, 6)]


def images(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def weights_of(network: Network, seed: int = 0, **options) -> dict[str, torch.Tensor]:
    return build_network(network, CLASSES, seed, **options).net.state_dict()


def alike(one, two, prefix="") -> bool:
    return all(torch.equal(one[name], two[name]) for name in one if name.startswith(prefix))


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_has_the_promised_layers(arch):
    size = (128, 160) if arch == "PAN" else (64, 96)
    network = build_network(Network(arch=arch), CLASSES).eval()
    depth = getattr(network.net.encoder, "_depth", 0)
    with torch.no_grad():
        maps = network.tap(["decoder", *STAGES[:depth]])(images(*size))
        features = network.net.encoder((images(*size) - network.mean) / network.std)
        fed = network.net.segmentation_head(maps["decoder"])
    assert set(maps) == {"logits", "decoder", *STAGES[:depth]}
    assert maps["logits"].shape[:2] == (1, CLASSES)
    if arch != "DPT":  # whose classifier is the last layer of a head that has others
        assert maps["decoder"].shape[-2:] == maps["logits"].shape[-2:]
    assert torch.equal(fed, maps["logits"])
    for stage in range(1, depth + 1):
        assert torch.equal(maps[f"encoder.{stage}"], features[stage])
    assert layer_channels(network, ["decoder"], size)["decoder"] == tuple(maps["decoder"].shape[1:])


@pytest.mark.parametrize(("arch", "stride"), [("FPN", 4), ("DeepLabV3Plus", 4), ("PSPNet", 8), ("Unet", 1)])
def test_logits_are_those_of_the_classifier_before_upsampling(arch, stride):
    shapes = layer_channels(build_network(Network(arch=arch), CLASSES), [], (64, 96))
    assert shapes == {"logits": (CLASSES, 64 // stride, 96 // stride)}


@pytest.mark.parametrize("size", [(33, 47), (31, 64), (48, 65), (7, 7)])
def test_images_of_any_size_are_padded_and_maps_cut_back(size):
    height, width = size
    network = build_network(Network(), CLASSES).eval()
    with torch.no_grad():
        maps = network.tap(["decoder", "encoder.3"])(images(height, width))
        normal = (images(height, width) - network.mean) / network.std
        padded = functional.pad(normal, (0, -width % 32, 0, -height % 32))
        whole = network.net(padded)
    rows, columns = max(1, round(height / 4)), max(1, round(width / 4))
    assert torch.equal(maps["logits"], whole[..., :rows, :columns])
    assert maps["decoder"].shape[-2:] == (rows, columns)
    assert maps["encoder.3"].shape[-2:] == (max(1, round(height / 8)), max(1, round(width / 8)))


def test_images_are_normalized_by_mean_and_std_of_the_config():
    config = Network(arch="tiny_networks:tiny", mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    network = build_network(config, CLASSES).eval()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (config.mean, config.std))
    with torch.no_grad():
        assert torch.equal(network(images(16, 16))["logits"], network.net((images(16, 16) - mean) / std))


def test_starting_weights_depend_on_the_seed_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one = weights_of(Network(), seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    assert alike(one, weights_of(Network(), seed=1))
    assert not alike(one, weights_of(Network(), seed=2))


def test_taps_can_be_moved_and_name_any_module():
    network = build_network(Network(arch="tiny_networks:tiny"), CLASSES)
    assert set(network.tap(["decoder", "stem.0", "decoder"])(images(16, 16))) == {"logits", "decoder", "stem.0"}
    assert set(network.tap(["encoder.1"])(images(16, 16))) == {"logits", "encoder.1"}
    assert set(network.tap(())(images(16, 16))) == {"logits"}
    assert not any(module._forward_hooks for module in network.modules())


def test_gradients_flow_through_taps():
    network = build_network(Network(arch="tiny_networks:tiny"), CLASSES)
    network.tap(["decoder"])(images(16, 16))["decoder"].sum().backward()
    assert network.net.stem[0].weight.grad.abs().sum() > 0
    assert network.net.head.weight.grad is None


def test_ones_own_network_maps_layer_names_to_modules():
    network = Network(arch="tiny_networks:tiny", options={"width": 5})
    assert check_layers(network, CLASSES, ["decoder", "encoder.1"], (32, 48)) == {
        "decoder": (10, 8, 12),
        "encoder.1": (5, 16, 24),
        "logits": (CLASSES, 8, 12),
    }
    shapes = check_layers(Network(arch="tiny_networks:with_aux"), CLASSES, ["aux"], (32, 48))
    assert shapes["aux"] == (CLASSES, 16, 24)


class TestWeights:
    network = Network()

    def saved(self, path, tensors):
        save_file({name: value.contiguous() for name, value in tensors.items()}, path)
        return Network(weights=str(path))

    def test_of_a_whole_network(self, tmp_path):
        there = weights_of(self.network, seed=5)
        assert alike(there, weights_of(self.saved(tmp_path / "w.safetensors", there)))

    def test_of_the_encoder_with_or_without_its_prefix(self, tmp_path):
        there, fresh = weights_of(self.network, seed=5), weights_of(self.network)
        encoder = {name: value for name, value in there.items() if name.startswith("encoder.")}
        for index, tensors in enumerate((encoder, {n.removeprefix("encoder."): v for n, v in encoder.items()})):
            loaded = weights_of(self.saved(tmp_path / f"{index}.safetensors", tensors))
            assert alike(encoder, loaded)
            assert alike(fresh, loaded, "decoder.")
            assert not alike(there, loaded, "decoder.")

    def test_of_the_published_model_with_layers_that_the_encoder_has_not(self, tmp_path):
        torch.manual_seed(0)
        published = timm.create_model(ENCODER.removeprefix("tu-")).state_dict()
        loaded = weights_of(self.saved(tmp_path / "w.safetensors", published))
        encoder = [name.removeprefix("encoder.model.") for name in loaded if name.startswith("encoder.model.")]
        assert {"classifier.weight"} <= set(published) - set(encoder)
        for name in encoder:
            assert torch.equal(loaded[f"encoder.model.{name}"], published[name])

    @pytest.mark.parametrize("file", [ENCODER, ENCODER.removeprefix("tu-")])
    def test_of_the_library_lie_in_the_machines_folder(self, tmp_path, file):
        there = weights_of(self.network, seed=5)
        self.saved(tmp_path / f"{file}.safetensors", {n: v for n, v in there.items() if n.startswith("encoder.")})
        loaded = weights_of(Network(weights="library"), weights_folder=tmp_path)
        assert alike({n: v for n, v in there.items() if n.startswith("encoder.")}, loaded)

    def test_are_left_out_where_others_will_be_loaded(self, tmp_path):
        weights_of(Network(weights=str(tmp_path / "gone.safetensors")), bare=True)

    def test_of_the_library_without_a_folder_or_a_line(self, monkeypatch):
        def unreachable(**_options: object) -> nn.Module:
            raise ConnectionError("no route")

        monkeypatch.setitem(ARCHITECTURES, "FPN", unreachable)
        with pytest.raises(InputError, match=r"could not be fetched .*put them as mobilenetv3_small_050\.safetensors"):
            build_network(Network(weights="library"), CLASSES)

    def test_that_do_not_fit_are_refused(self, tmp_path):
        there = weights_of(self.network)
        head = "segmentation_head.0.weight"
        for change, said in (
            ({head: torch.zeros(CLASSES + 1, 128, 1, 1)}, rf"{head} is \(8, 128, 1, 1\) in the file and \(7, 128"),
            (
                {"encoder.model.conv_stem.weight": None},
                r"1 of \d+ tensors are missing \(first encoder\.model\.conv_stem",
            ),
            (dict.fromkeys(there), r"does not fit FPN: \d+ of \d+ tensors are missing"),
        ):
            kept = {name: value for name, value in (there | change | {"z": torch.ones(1)}).items() if value is not None}
            with pytest.raises(InputError, match=said):
                build_network(self.saved(tmp_path / "w.safetensors", kept), CLASSES)
        (tmp_path / "w.safetensors").write_bytes(b"no tensors")
        with pytest.raises(InputError, match=r"w\.safetensors does not read as safetensors"):
            build_network(Network(weights=str(tmp_path / "w.safetensors")), CLASSES)
        with pytest.raises(InputError, match=r"there is no file .*gone\.safetensors"):
            build_network(Network(weights=str(tmp_path / "gone.safetensors")), CLASSES)

    def test_of_ones_own_network(self, tmp_path):
        with pytest.raises(InputError, match="tiny_networks:tiny has no weights of a library: use none or the path"):
            build_network(Network(arch="tiny_networks:tiny", weights="library"), CLASSES)
        own = Network(arch="tiny_networks:tiny")
        there = weights_of(own, seed=5)
        self.saved(tmp_path / "w.safetensors", there)
        assert alike(there, weights_of(own.model_copy(update={"weights": str(tmp_path / "w.safetensors")})))


@pytest.mark.parametrize(
    ("network", "deepest"),
    [
        ({}, "encoder.5"),
        ({"arch": "PSPNet"}, "encoder.3"),
        ({"arch": "Unet", "options": {"encoder_depth": 4, "decoder_channels": [32, 16, 8, 8]}}, "encoder.4"),
        ({"encoder": "mit_b0"}, "encoder.5"),
        ({"arch": "tiny_networks:tiny"}, "encoder.1"),
    ],
)
def test_the_deepest_stage_has_a_name_in_every_encoder(network, deepest):
    built = build_network(Network.model_validate(network), CLASSES).eval()
    maps = built.tap(["encoder.last", deepest])(images(64, 64))
    assert torch.equal(maps["encoder.last"], maps[deepest])


def test_a_network_without_an_encoder_has_no_deepest_stage():
    network = build_network(Network(arch="tiny_networks:tiny"), CLASSES)
    network.net.layers = {"decoder": "body"}
    with pytest.raises(InputError, match=r"layer 'encoder\.last' does not exist in Tiny: allowed are .*encoder\.last"):
        network.tap(["encoder.last"])


@pytest.mark.parametrize(
    ("network", "layers", "said"),
    [
        ({"arch": "Unett"}, (), "or package.module:function, got 'Unett'; did you mean Unet?"),
        ({"encoder": "resnet81"}, (), "or tu-<name> of timm, got 'resnet81'; did you mean resnet18"),
        ({"encoder": "tu-mobilnetv3_small_050"}, (), "did you mean tu-mobilenetv3_small_050"),
        ({"encoder": "mobilenetv3_small_050"}, (), "did you mean tu-mobilenetv3_small_050"),
        ({"encoder": "qqq"}, (), "got 'qqq'; known: densenet121, "),
        ({"options": {"depth": 3}}, (), "FPN with encoder tu-mobilenetv3_small_050 and options {'depth': 3}: "),
        ({"options": {"encoder_name": "resnet18"}}, (), "encoder_name"),
        ({"encoder": "resnet18", "options": {"decoder_dropuot": 0.5}}, (), "did you mean decoder_dropout?"),
        ({"arch": "DPT", "encoder": "resnet18"}, (), "Only Timm encoders are supported for DPT"),
        ({"arch": "PAN"}, (), "PAN does not take images of 32 x 48: Given input size"),
        ({"arch": "PSPNet"}, ("encoder.4",), "layer 'encoder.4' does not exist: this encoder has the stages 1 to 3"),
        ({"encoder": "mit_b0"}, ("encoder.1",), "layer 'encoder.1' gives no map of the form (N, C, H, W)"),
        ({}, ("encoder.0",), "this encoder has the stages 1 to 5"),
        ({}, ("decodr",), "layer 'decodr' does not exist in FPN: allowed are logits, aux, decoder,"),
        ({}, ("decodr",), "near it are decoder"),
        ({}, ("",), "layer '' does not exist"),
        ({}, ("aux",), "layer 'aux': this network has no auxiliary head"),
        ({}, ("encoder.model.conv_stem.weight",), "does not exist in FPN"),
        ({"arch": "tiny_networks:tiny"}, ("unused",), "layer 'unused' takes no part in what Tiny computes"),
        ({"arch": "tiny_networks:gone"}, (), "arch: 'tiny_networks:gone' cannot be imported (module 'tiny_networks'"),
        ({"arch": "gone_module:tiny"}, (), "arch: 'gone_module:tiny' cannot be imported (No module named"),
        ({"arch": ":tiny"}, (), "arch: ':tiny' cannot be imported"),
        ({"arch": "tiny_networks:"}, (), "arch: 'tiny_networks:' cannot be imported"),
        ({"arch": "tiny_networks:tiny", "options": {"depth": 3}}, (), "failed, TypeError: tiny() got an unexpected"),
        ({"arch": "tiny_networks:no_module"}, (), "must return a torch.nn.Module, got str"),
        ({"arch": "tiny_networks:one_class_more"}, (), "gives 8 channels of logits for 7 classes"),
        ({"arch": "tiny_networks:unnamed"}, (), "out or logits, or a tuple that starts with them, got a dict with the"),
        (
            {"arch": "Unet", "encoder": "tu-swin_tiny_patch4_window7_224"},
            (),
            "doesn't match model (224); set train.augment.crop and take images of this size, or let the encoder take",
        ),
        ({"arch": "tiny_networks:at_least_64_high"}, (), "TooSmall does not take images of 32 x 48: images must be"),
    ],
)  # fmt: skip
def test_a_network_that_cannot_be_is_refused_in_one_sentence(network, layers, said):
    with pytest.raises(InputError) as error:
        check_layers(Network.model_validate(network), CLASSES, layers, (32, 48))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_options_that_the_library_hands_on_to_its_encoders_are_taken():
    options = {"encoder_depth": 5, "output_stride": 8}
    network = build_network(Network(arch="PSPNet", encoder="resnet18", options=options), CLASSES, bare=True).to("meta")
    assert layer_channels(network, (), (64, 96))["logits"] == (CLASSES, 8, 12)


@pytest.mark.parametrize("arch", ["Unet", "UnetPlusPlus", "MAnet"])
@pytest.mark.parametrize(
    ("given", "widths"), [({}, (64, 32, 16)), ({"decoder_channels": [9, 8, 32, 16, 8]}, (32, 16, 8))]
)
def test_a_decoder_is_as_deep_as_its_encoder(arch, given, widths):
    whole, cut = (
        Network(arch=arch, encoder="resnet18", options={"encoder_depth": 3, **options})
        for options in ({"decoder_channels": list(widths)}, given)
    )
    assert {n: v.shape for n, v in weights_of(whole).items()} == {n: v.shape for n, v in weights_of(cut).items()}
    with pytest.raises(InputError, match="decoder_channels"):
        build_network(Network(arch=arch, encoder="resnet18", options={"decoder_channels": [16, 8]}), CLASSES)


def test_a_network_of_ones_own_lies_in_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "networks_of_mine.py").write_text(
        "from torch import nn\ndef small(num_classes):\n    return nn.Conv2d(3, num_classes, 1)\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    shapes = check_layers(Network(arch="networks_of_mine:small"), CLASSES, (), (5, 6))
    assert shapes == {"logits": (CLASSES, 5, 6)}


def test_networks_that_are_built_once_are_copies_with_the_same_start(monkeypatch):
    network = Network(arch="DeepLabV3Plus", encoder="tu-resnet10t", options={"encoder_depth": 4})
    alone = build_network(network, CLASSES, seed=3).state_dict()
    with building_once():
        first = build_network(network, CLASSES, seed=3)
        with torch.no_grad():
            next(first.parameters()).zero_()
        monkeypatch.setattr("kdtrain.models.build._of_library", lambda *given: pytest.fail("built again"))
        spoilt, copy = (build_network(network, CLASSES, seed=3) for _ in range(2))
        with torch.no_grad():
            next(spoilt.parameters()).zero_()
        build_network(network.model_copy(update={"weights": "library"}), CLASSES, bare=True)
    assert all(torch.equal(value, alone[name]) for name, value in copy.state_dict().items())


def test_other_starts_and_other_networks_are_built():
    network = Network(arch="DeepLabV3Plus", encoder="tu-resnet10t", options={"encoder_depth": 4})
    with building_once():
        first, other = (build_network(network, CLASSES, seed=seed).state_dict() for seed in (3, 4))
        wider = build_network(network, CLASSES + 1, seed=3)
    assert not all(torch.equal(value, other[name]) for name, value in first.items())
    assert wider.eval().logits(torch.zeros(1, 3, 32, 32)).shape[1] == CLASSES + 1
