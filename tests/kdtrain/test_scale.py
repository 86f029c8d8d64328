"""A network that resizes its images: the same maps as of images that were resized before, wherever it is used."""

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from kdtrain import Machine, TrainConfig, train
from kdtrain.data import open_role
from kdtrain.deploy.deployed import Inside, multiple_of, ready
from kdtrain.errors import InputError
from kdtrain.loop.cost import count_macs
from kdtrain.loop.evaluate import evaluate, predict
from kdtrain.models import Network, build_network
from kdtrain.models.network import MAPPED
from kdtrain.models.scaling import scaled_size
from kdtrain.teacher import load_model

CLASSES = 5
NETWORK = {"arch": "tiny_networks:tiny"}
FPN = {
    "arch": "FPN",
    "encoder": "tu-mobilenetv3_small_050",
    "options": {"decoder_pyramid_channels": 16, "decoder_segmentation_channels": 32},
}


def built(scale, **content):
    return build_network(Network.model_validate({**NETWORK, **content, "scale": scale}), CLASSES, seed=1).eval()


def images(height=40, width=72):
    pixels = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))
    return pixels.contiguous(memory_format=torch.channels_last)


def smaller(pixels, *size):
    return functional.interpolate(pixels, size=size, mode="bilinear", align_corners=False, antialias=True)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("content", [NETWORK, FPN])
def test_all_maps_are_those_of_resized_images(content, training):
    layers = ["encoder.1", "decoder"]
    seen, given = (built(scale, **content).tap(layers).train(training) for scale in (1.0, 0.5))
    torch.manual_seed(0)
    wanted = seen(smaller(images(), 20, 36))
    torch.manual_seed(0)
    maps = given(images())
    assert maps.keys() == wanted.keys()
    for layer, value in wanted.items():
        assert torch.equal(maps[layer], value), layer


def test_a_prediction_has_the_size_of_the_image_and_costs_what_the_smaller_one_costs():
    whole, half = built(1.0, **FPN), built(0.5, **FPN)
    assert predict(half.logits, images(64, 128), 1.0).shape == (2, 64, 128)
    assert count_macs(half, images(64, 128)) == count_macs(whole, images(32, 64))
    assert scaled_size((1, 101), 0.25) == (1, 25)


def test_a_network_of_mapped_classes_has_the_scale_of_the_one_that_it_maps():
    inner = Network.model_validate({**NETWORK, "scale": 0.5})
    groups = ((0,), (1, 2))
    options = {"network": inner.model_dump(mode="json"), "channels": CLASSES, "groups": groups}
    mapped = build_network(Network(arch=MAPPED, encoder="", options=options), 2)
    assert mapped.scale == 0.5
    assert mapped.eval()(images())["logits"].shape[-2:] == built(0.5)(images())["logits"].shape[-2:]


def test_configs_without_a_scale_are_written_and_identified_as_before():
    plain = TrainConfig(student=Network())
    assert "scale" not in plain.model_dump()["student"]
    assert TrainConfig.parse({"student": {"scale": 1}}) == plain
    halved = TrainConfig.parse({"student": {"scale": 0.5}})
    assert halved.config_id != plain.config_id
    assert TrainConfig.parse(halved.model_dump(mode="json")) == halved
    assert halved.student.title == f"{plain.student.title} at scale 0.5"


@pytest.mark.parametrize("scale", [0, -1, 5, True])
def test_a_scale_is_a_positive_factor(scale):
    with pytest.raises(ValidationError, match="scale"):
        Network(scale=scale)


def test_a_student_learns_from_logits_and_layers_and_is_saved_with_its_scale(make_config, machine: Machine, tmp_path):
    terms = [
        {"loss": "pixel_kd", "weight": 1.0},
        {"loss": "fitnet", "weight": 1.0, "student_layer": "encoder.1", "teacher_layer": "encoder.1"},
        {"loss": "cross_entropy", "weight": 1.0},
    ]
    config = make_config("kd", terms=terms, student={**NETWORK, "scale": 0.5}, epochs=1)
    result = train(config, machine, workdir=tmp_path)
    assert result.evaluation is not None
    whole = train(make_config("kd", terms=terms, student=NETWORK, epochs=1), machine, workdir=tmp_path / "whole")
    assert 4 * result.student["macs"] == whole.student["macs"]
    card, network = load_model(tmp_path / "student")
    assert card.network.scale == 0.5
    select = open_role(config.data, "select", None, machine.cache)
    again = evaluate(network.logits, select, "select", config.batch_size, 1.0, torch.device("cpu"))
    assert (again.confusion == result.evaluation.confusion).all()
    assert card.digest != card.model_copy(update={"network": Network.model_validate(NETWORK)}).digest


@pytest.mark.parametrize(("scale", "multiple"), [(1.0, 32), (0.5, 64), (0.75, 128), (2.0, 16), (0.7, 320)])
def test_an_exported_module_resizes_inside_and_says_which_sizes_it_takes(scale, multiple):
    network = built(scale, **FPN)
    module, _ = ready(network, Inside(height=50, width=70))
    with torch.inference_mode():
        assert torch.equal(module(images(50, 70)), predict(network.logits, images(50, 70), 1.0))
    assert multiple_of(network) == multiple
    sides = Inside(height=multiple, width=2 * multiple, dynamic=True)
    module, example = ready(network, sides)
    assert min(example.shape[-2:]) == 2 * multiple
    with torch.inference_mode():
        other = images(2 * multiple, multiple)
        assert torch.equal(module(other), predict(network.logits, other, 1.0))
    for wrong in (multiple + 2, multiple // 2):
        with pytest.raises(InputError, match=rf"such as \d+ {2 * multiple}, got {wrong}"):
            ready(network, sides.model_copy(update={"height": wrong}))


def test_a_scale_of_many_digits_is_not_exported_for_all_sizes():
    with pytest.raises(InputError, match=r"^--dynamic: images whose sides .* leave --dynamic out"):
        ready(built(0.6180339, **FPN), Inside(height=64, width=64, dynamic=True))
