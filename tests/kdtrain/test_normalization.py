"""The mean and standard deviation of images: their range, and what the library states for its weights."""

import pytest
import timm
from pydantic import ValidationError

from kdtrain.models import (
    IMAGENET,
    Network,
    normalization_remarks,
    stated_normalization,
    without_inherited_normalization,
)

HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"mean": [123.675, 116.28, 103.53]}, r"mean.*must be 0 to 1, .*got \[123.675.*gives \[0.485, 0.456, 0.406\]"),
        ({"std": [58.395, 57.12, 57.375]}, r"std.*must be 0.001 to 10, .*got \[58.395.*gives \[0.229, 0.224, 0.225\]"),
        ({"mean": [0.485, 116.28, 0.406]}, "must be 0 to 1"),
        ({"mean": [123.675, 116.28, 103.53], "std": [1, 1, 1]}, "divide both mean and std by 255"),
        ({"mean": [-0.5, 0, 0]}, "must be 0 to 1"),
        ({"std": [0, 0.2, 0.2]}, "must be positive"),
        ({"std": [0.0009, 0.0009, 0.0009]}, "must be 0.001 to 10"),
    ],
)  # fmt: skip
def test_values_that_are_not_of_images_in_0_to_1_are_refused(fields, says):
    with pytest.raises(ValidationError, match=f"(?s){says}"):
        Network(**fields)


@pytest.mark.parametrize("fields", [{"mean": (0, 0, 0), "std": (1 / 255,) * 3}, {"mean": (0, 0, 0), "std": (1, 1, 1)}])
def test_networks_that_take_0_to_255_or_0_to_1_can_be_described(fields):
    assert Network(**fields).normalization == (fields["mean"], fields["std"])


@pytest.mark.parametrize("weights", ["imagenet", "True", "pretrained", "noisy-student"])
def test_a_name_of_weights_that_is_neither_known_nor_a_path_is_refused(weights):
    with pytest.raises(ValidationError, match=r"must be none, library .* or the path of a safetensors file, got"):
        Network(weights=weights)


@pytest.mark.parametrize(
    ("encoder", "mean", "std"),
    [
        ("tu-tf_mobilenetv3_small_100", *HALF),
        ("tu-vit_base_patch16_clip_224", (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        ("timm-mobilenetv3_large_075", *HALF),
        ("timm-tf_efficientnet_lite0", *HALF),
        ("xception", *HALF),
        ("inceptionv4", *HALF),
        ("dpn68", (124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3),
        ("tu-mobilenetv3_small_050", *IMAGENET),
        ("tu-resnet50.tv_in1k", *IMAGENET),
        ("resnet50", *IMAGENET),
        ("timm-res2net50_26w_4s", *IMAGENET),
    ],
)  # fmt: skip
def test_weights_of_the_library_are_normalized_as_the_library_states(encoder, mean, std):
    network = Network(encoder=encoder, weights="library")
    assert (network.mean, network.std) == (pytest.approx(mean), pytest.approx(std))
    assert Network(encoder=encoder).normalization == IMAGENET
    assert Network.model_validate_json(network.model_dump_json()) == network


def test_every_default_of_timm_is_taken_and_allowed():
    differing = 0
    for name in timm.list_models(pretrained=False):
        stated = stated_normalization(f"tu-{name}")
        if timm.is_model_pretrained(name):
            settings = timm.get_pretrained_cfg(name)
            assert stated == (tuple(settings.mean), tuple(settings.std))
        differing += stated != IMAGENET
        assert Network(mean=stated.mean, std=stated.std).normalization == stated
    assert differing > 300


@pytest.mark.parametrize("encoder", ["tu-no_such_model", "tu-resnet50.no_such_tag", "no_such_encoder"])
def test_an_unknown_encoder_is_left_to_the_builder(encoder):
    assert Network(encoder=encoder, weights="library").normalization == IMAGENET


def test_given_values_win():
    given = Network(encoder="xception", weights="library", mean=IMAGENET.mean, std=IMAGENET.std)
    assert given.normalization == IMAGENET
    assert Network(encoder="xception", weights="library", mean=IMAGENET.mean).normalization == (IMAGENET.mean, HALF[1])


def changed(before, **fields):
    content = before.model_dump() | fields
    return Network.model_validate(without_inherited_normalization(before, content, fields)).normalization


def test_a_changed_encoder_takes_its_own_normalization_unless_one_was_given():
    plain = Network(weights="library")
    assert changed(plain, encoder="xception") == HALF
    assert changed(plain, encoder="xception", mean=[0.1, 0.1, 0.1]) == ((0.1, 0.1, 0.1), HALF[1])
    assert changed(plain, options={"decoder_channels": 8}) == IMAGENET
    assert changed(Network(encoder="xception"), weights="library") == HALF
    assert changed(Network(encoder="xception", weights="library"), weights="none") == IMAGENET
    own = Network(weights="library", mean=(0.3, 0.3, 0.3), std=(0.2, 0.2, 0.2))
    assert changed(own, encoder="xception") == own.normalization


def test_what_differs_from_the_library_is_told():
    assert normalization_remarks("student", Network(weights="library")) == ([], [])
    lines, warnings = normalization_remarks("student", Network(encoder="xception", weights="library"))
    used = "images are normalized with mean 0.5, 0.5, 0.5 and std 0.5, 0.5, 0.5"
    assert (lines, warnings) == ([f"student: {used}, as the library states for xception"], [])
    old = Network(encoder="xception", weights="library", mean=IMAGENET.mean, std=IMAGENET.std)
    lines, (warning,) = normalization_remarks("student", old)
    assert lines == []
    assert (
        "normalized with mean 0.485, 0.456, 0.406 and std 0.229, 0.224, 0.225, but the library states mean 0.5"
        in warning
    )
    _, (warning,) = normalization_remarks("student", Network(encoder="xception", weights="x.safetensors"))
    assert "for its own weights of xception; set mean and std to what yours want" in warning
    assert normalization_remarks("student", Network(arch="a:b", mean=(0, 0, 0))) == (
        ["student: images are normalized with mean 0, 0, 0 and std 0.229, 0.224, 0.225"], [],
    )  # fmt: skip
