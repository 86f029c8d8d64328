"""Encoders that know no classes (DINOv2, DINOv3, SAM, ...) teach methods that compare their layers."""

import json
from pathlib import Path

import pytest
import timm
import torch
import transformers
import yaml
from called_command import called
from PIL import Image
from safetensors.torch import load_file, save_file
from small_encoders import MEAN, SMALL, STD, dinov2, saved

from kdtrain.teacher import load_model
from sweeps import Sweep, SweepSpec

DATA = {"name": "streets", "size": [32, 64], "counts": {"train": 4, "select": 2, "test": 1}}
BY_TRANSFORMERS = pytest.mark.newer_torch(2, 6)
TIMM = {"depth": 3, "embed_dim": 32, "num_heads": 2}


def dinov2_with_registers():
    config = transformers.Dinov2WithRegistersConfig(
        **SMALL, mlp_ratio=2, image_size=56, patch_size=14, num_register_tokens=2
    )
    return transformers.Dinov2WithRegistersModel(config)


def dinov3():
    config = transformers.DINOv3ViTConfig(**SMALL, intermediate_size=32, patch_size=16, num_register_tokens=2)
    return transformers.DINOv3ViTModel(config)


def vit():
    config = transformers.ViTConfig(**SMALL, intermediate_size=32, image_size=64, patch_size=16)
    return transformers.ViTForImageClassification(config)


def radio():
    config = transformers.RadioConfig(**SMALL, mlp_ratio=2.0, patch_size=16, max_img_size=128)
    return transformers.RadioModel(config)


def sam_vision():
    config = transformers.SamVisionConfig(
        **SMALL, mlp_dim=32, output_channels=16, image_size=48, patch_size=16, window_size=2, global_attn_indexes=[2]
    )
    return transformers.SamVisionModel(config)


def sam():
    vision = sam_vision().config
    decoder = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_dim": 16}
    config = transformers.SamConfig(
        vision_config=vision.to_dict(), mask_decoder_config=decoder, prompt_encoder_config={"hidden_size": 16}
    )
    return transformers.SamModel(config)


def of_timm(name, folder="encoder", **options):
    """Save a model of timm as its hub has it."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5, **options).eval()
    Path(folder).mkdir()
    save_file(model.state_dict(), f"{folder}/model.safetensors")
    described = {"mean": MEAN, "std": STD}
    config = {"architecture": name, "model_args": options, "pretrained_cfg": described, "num_classes": 5}
    (Path(folder) / "config.json").write_text(json.dumps(config))
    return model


@pytest.fixture
def imported(tmp_path, monkeypatch, capsys):
    """A function that imports an encoder; gives exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDSWEEP_CACHE", str(tmp_path / "cache"))

    def run(place="encoder", **more):
        Path("teacher.yaml").write_text(yaml.safe_dump({"data": DATA, **more}))
        words = ("teacher", "import", place, "--spec", "teacher.yaml", "--dir", "t", "--force")
        return called(monkeypatch, capsys, *words)

    return run


def images(*size):
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))


def normalized(pixels):
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (MEAN, STD))
    return (pixels - mean) / std


def grid(tokens, rows, columns):
    return tokens[:, -rows * columns :].transpose(1, 2).reshape(len(tokens), -1, rows, columns)


LAYERS = ["block.1", "block.2", "block.3", "encoder.1", "encoder.last", "features"]


def maps_of(pixels):
    card, network = load_model(Path("t"))
    assert card.classes == ()
    with torch.inference_mode():
        return network.tap(LAYERS)(pixels)


def check(maps, blocks, output):
    """Compare the maps of the teacher with those of the library."""
    wanted = [*blocks, blocks[0], blocks[-1], output]
    assert list(maps) == LAYERS
    for layer, value in zip(LAYERS, wanted, strict=True):
        torch.testing.assert_close(maps[layer], value, rtol=1e-4, atol=1e-5, msg=layer)


@pytest.mark.parametrize(
    ("make", "side"), [(dinov2, 14), (dinov2_with_registers, 14), (dinov3, 16), (vit, 16), (radio, 16)]
)
def test_maps_are_the_hidden_states_of_transformers(imported, make, side):
    model = saved(make)
    code, said, errors = imported()
    assert (code, errors) == (0, "")
    assert "its layers are block.1 to block.3, encoder.1 to encoder.4, features" in said
    assert "mIoU" not in said
    pixels = images(2 * side, 4 * side)
    more = {"interpolate_pos_encoding": True} if make is vit else {}
    with torch.inference_mode():
        encoder = model.vit if make is vit else model
        states = encoder(pixel_values=normalized(pixels), output_hidden_states=True, **more)
    blocks = [grid(state, 2, 4) for state in states.hidden_states[1:]]
    check(maps_of(pixels), blocks, grid(states.last_hidden_state, 2, 4))


@pytest.mark.parametrize("make", [sam_vision, sam])
def test_sam_gives_its_maps_at_its_size_and_at_others(imported, make):
    model = saved(make)
    assert imported()[::2] == (0, "")
    encoder, pixels = model.vision_encoder, images(48, 48)
    with torch.inference_mode():
        states = encoder(normalized(pixels), output_hidden_states=True)
    check(maps_of(pixels), [state.permute(0, 3, 1, 2) for state in states.hidden_states[1:]], states.last_hidden_state)
    assert [tuple(value.shape[1:]) for value in maps_of(images(32, 80)).values()] == [(32, 2, 5)] * 5 + [(16, 2, 5)]


def hooked(model, pixels):
    """What the blocks of a model of timm give, and its output."""
    states = []
    hooks = [block.register_forward_hook(lambda _m, _i, output: states.append(output)) for block in model.blocks]
    with torch.inference_mode():
        output = model.forward_features(normalized(pixels))
    for hook in hooks:
        hook.remove()
    return states, output


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("vit_small_patch14_dinov2", 14),
        ("vit_small_patch14_reg4_dinov2", 14),
        ("vit_small_patch16_dinov3", 16),
        ("vit_base_patch16_radio_v3", 16),
    ],
)
def test_maps_are_the_hidden_states_of_timm(imported, name, side):
    if not timm.is_model(name):
        pytest.skip(f"timm {timm.__version__} has no {name}")
    model = of_timm(name, img_size=4 * side, **TIMM)
    code, _, errors = imported()
    assert (code, errors) == (0, "")
    pixels = images(4 * side, 4 * side)
    states, output = hooked(model, pixels)
    check(maps_of(pixels), [grid(state, 4, 4) for state in states], grid(output, 4, 4))
    assert maps_of(images(2 * side, 3 * side))["block.2"].shape == (2, 32, 2, 3)


def test_sam_of_timm(imported):
    model = of_timm("samvit_base_patch16", img_size=48, global_attn_indexes=[2], **TIMM)
    assert imported()[::2] == (0, "")
    pixels = images(48, 48)
    states, output = hooked(model, pixels)
    check(maps_of(pixels), [state.permute(0, 3, 1, 2) for state in states], output)


def test_a_size_that_is_no_multiple_of_the_patch_is_padded_and_cut_back(imported):
    saved(dinov2)
    assert imported()[0] == 0
    maps = maps_of(images(30, 50))
    padded = torch.nn.functional.pad(normalized(images(30, 50)), (0, 6, 0, 12))
    _, network = load_model(Path("t"))
    with torch.inference_mode():
        states = network.net.model(padded, output_hidden_states=True).hidden_states
    torch.testing.assert_close(maps["block.3"], grid(states[3], 3, 4)[:, :, :2, :4], rtol=1e-4, atol=1e-5)


def test_a_file_of_timm_needs_the_name_alone(imported):
    model = of_timm("vit_small_patch14_dinov2", **TIMM)
    network = {"arch": "timm", "encoder": "vit_small_patch14_dinov2", "options": TIMM, "mean": MEAN, "std": STD}
    torch.save({"state_dict": {f"module.{name}": value for name, value in model.state_dict().items()}}, "w.pth")
    assert imported("w.pth", network=network)[::2] == (0, "")
    pixels = images(28, 56)
    states, _ = hooked(timm_of_any_size(model), pixels)
    torch.testing.assert_close(maps_of(pixels)["block.3"], grid(states[2], 2, 4), rtol=1e-4, atol=1e-5)


def timm_of_any_size(model):
    other = timm.create_model("vit_small_patch14_dinov2", num_classes=5, dynamic_img_size=True, **TIMM).eval()
    other.load_state_dict(model.state_dict())
    return other


def test_a_name_of_timm_reads_the_folder_of_weights(imported, monkeypatch):
    name = "vit_tiny_patch16_224.augreg_in21k"
    model = timm.create_model(name, pretrained=False).eval()
    Path("weights").mkdir()
    save_file(model.state_dict(), f"weights/{name}.safetensors")
    monkeypatch.setenv("KDSWEEP_WEIGHTS", "weights")
    assert imported(f"timm:{name}")[::2] == (0, "")
    card, network = load_model(Path("t"))
    assert (card.network.encoder, card.network.mean) == (name, (0.5, 0.5, 0.5))
    assert torch.equal(network.net.model.pos_embed, model.pos_embed)


def test_radio_normalizes_images_itself(imported):
    model = saved(radio)
    Path("encoder/preprocessor_config.json").unlink()
    assert imported()[0] == 0
    with torch.inference_mode():
        output = model(images(32, 64)).last_hidden_state
    torch.testing.assert_close(maps_of(images(32, 64))["features"], grid(output, 2, 4), rtol=1e-4, atol=1e-5)


def damaged(file):
    def make():
        saved(dinov2)
        (Path("encoder") / file).write_bytes(b"not weights")

    return make


def changed(**more):
    """A folder whose config says something else."""

    def make():
        saved(dinov2)
        path = Path("encoder/config.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | more))

    return make


def without(name):
    def make():
        saved(dinov2)
        tensors = load_file("encoder/model.safetensors")
        save_file({key: value for key, value in tensors.items() if name not in key}, "encoder/model.safetensors")

    return make


def pickled():
    model = saved(dinov2)
    Path("encoder/model.safetensors").unlink()
    torch.save(model.state_dict(), "encoder/pytorch_model.bin")


def remote(**content):
    """RADIO as its hub has it: code beside the weights."""

    def make():
        Path("encoder").mkdir()
        code = {"AutoConfig": "hf_model.RADIOConfig", "AutoModel": "hf_model.RADIOModel"}
        Path("encoder/config.json").write_text(json.dumps({"auto_map": code, **content}))
        Path("encoder/hf_model.py").write_text("raise SystemExit('executed')")

    return make


def timm_changed(**more):
    def make():
        of_timm("vit_small_patch14_dinov2", **TIMM)
        path = Path("encoder/config.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | more))

    return make


def timm_without(name):
    def make():
        of_timm("vit_small_patch14_dinov2", **TIMM)
        tensors = load_file("encoder/model.safetensors")
        save_file({key: value for key, value in tensors.items() if name not in key}, "encoder/model.safetensors")

    return make


def timm_pickled():
    model = of_timm("vit_small_patch14_dinov2", **TIMM)
    Path("encoder/model.safetensors").unlink()
    torch.save(model.state_dict(), "encoder/pytorch_model.bin")


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (damaged("model.safetensors"), "transformers cannot load it"),
        (damaged("config.json"), "is not JSON"),
        (changed(model_type="vit"), "tensors are missing"),
        (changed(model_type="bert"), "nor an encoder of images"),
        (changed(model_type="swin"), "encoder"),
        (changed(hidden_size=64), "tensors are missing or have another shape"),
        (changed(model_type="vit_mae"), "encoder"),
        (without("layer.1.norm1"), "2 tensors are missing or have another shape"),
        (pickled, "transformers cannot load it"),
        pytest.param(
            remote(),
            "code that comes with it (auto_map in config.json), which is never executed",
            marks=BY_TRANSFORMERS,
        ),
        pytest.param(remote(model_type="radio_of_mine"), "which is never executed", marks=BY_TRANSFORMERS),
        (
            changed(attn_implementation="someone/kernel"),
            "names code on the hub (someone/kernel), which is never",
        ),
        (changed(vision_config={"_attn_implementation": "a/b@main:c"}), "names code on the hub"),
        (timm_changed(architecture="hf-hub:someone/else"), "must be a model of timm"),
        (timm_changed(architecture=5), "encoder"),
        (timm_changed(architecture="vit_small_patch14_reg4_dinov2"), "weights: "),
        (timm_changed(model_args={"checkpoint_path": "evil.bin"}), "must be parameters of the model, got 'check"),
        (timm_changed(model_args={**TIMM, "embed_dim": 64}), "weights: "),
        (timm_changed(model_args=[1]), "must be mappings"),
        (timm_changed(pretrained_cfg={"mean": [124, 116, 104], "std": STD}), "divide both mean and std by 255"),
        (timm_without("blocks.1.norm1"), "2 of "),
        (timm_without("pos_embed"), "pos_embed"),
        (timm_pickled, "must hold model.safetensors"),
    ],
)
def test_a_wrong_folder_is_one_sentence(imported, make, error):
    make()
    code, _, said = imported()
    assert (code, said.count("\n")) == (2, 1), said
    assert said.startswith("error: ")
    assert error in said
    assert not Path("t").exists()


@pytest.mark.parametrize("name", ["vit_tiny_patch16_22", "vit_tiny_patch16_224.mine", "hf-hub:a/b", "../a", ""])
def test_a_name_that_timm_does_not_have(imported, name):
    code, _, said = imported(f"timm:{name}")
    assert (code, said.count("\n")) == (2, 1)
    assert "must be a model of timm" in said


def test_classes_of_an_encoder_are_refused(imported):
    saved(dinov2)
    code, _, said = imported(classes={"road": "road"})
    assert code == 2
    assert "is an encoder that knows no classes; leave classes out" in said


def test_a_network_of_the_user_that_knows_no_classes(imported, monkeypatch):
    Path("mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(".")
    from kdtrain.models import Network, build_network

    network = {"arch": "mine:build", "options": {"width": 5}}
    monkeypatch.setenv("KDSWEEP_TRUST", "mine")
    built = build_network(Network(**network), 0)
    save_file({name: value.contiguous() for name, value in built.net.state_dict().items()}, "w.safetensors")
    code, said, _ = imported("w.safetensors", network=network, network_classes=[])
    assert code == 0
    assert "knows no classes" in said
    card, loaded = load_model(Path("t"))
    assert card.classes == ()
    with torch.inference_mode():
        maps = loaded.tap(["last"])(images(32, 64))
    torch.testing.assert_close(maps["last"], built.eval().tap(["last"])(images(32, 64))["last"])


MINE = """
from torch import nn

def build(num_classes, width):
    assert num_classes == 0
    net = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.ReLU(), nn.Flatten())
    net.layers = {"last": "1"}
    return net
"""


def test_a_network_with_classes_is_no_encoder(imported):
    save_file({"a": torch.zeros(1)}, "w.safetensors")
    code, _, said = imported("w.safetensors", network={"arch": "FPN"}, network_classes=[])
    assert code == 2
    assert "arch: FPN is a network with classes, got none" in said


def spec_of(*studies, **more):
    return {
        "name": "taught",
        "data": DATA,
        "teacher": {"path": "t"},
        "student": {"options": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32}},
        "train": {"epochs": 1, "batch_size": 2},
        "studies": list(studies),
        "budget": {"trials": 1},
        "confirm": {"top": 0},
        **more,
    }


def of_layer(method, term, layer):
    return {"name": method, "method": method, "set": {f"terms.{term}.teacher_layer": layer}}


@pytest.mark.slow
@pytest.mark.parametrize("make", [dinov2, dinov2_with_registers, dinov3, vit, sam, "vit_small_patch14_dinov2"])
def test_an_encoder_teaches_a_student(imported, make):
    if callable(make):
        saved(make)
    else:
        of_timm(make, **TIMM)
    assert imported()[0] == 0
    studies = [of_layer("at", "attention_transfer", "block.2"), of_layer("fitnet", "fitnet", "features")]
    sweep = Sweep(SweepSpec.model_validate(spec_of(*studies)))
    sweep.run(inline=True)
    trials = sweep.tables["trials"]
    assert trials.state.tolist() == ["complete"] * 2


def test_a_method_that_needs_logits_is_refused_in_one_sentence(imported, monkeypatch, capsys):
    saved(dinov2)
    assert imported()[0] == 0
    Path("spec.yaml").write_text(yaml.safe_dump(spec_of("kd")))
    code, _, said = called(monkeypatch, capsys, "plan", "spec.yaml")
    assert code == 2
    assert (
        "studies.kd: terms.pixel_kd: needs 'logits' of the teacher transformers dinov2, which knows no classes" in said
    )
    assert "`kdsweep teacher probe`" in said


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "t", "photos", "--out", "o"),
        ("export", "onnx", "t", "--size", "28", "28", "--out", "o.onnx"),
        ("teacher", "ensemble", "t", "--flip", "--dir", "e"),
    ],
)
def test_an_encoder_predicts_nothing(imported, monkeypatch, capsys, words):
    saved(dinov2)
    assert imported()[0] == 0
    Path("photos").mkdir()
    Image.new("RGB", (28, 28)).save("photos/a.png")
    code, _, said = called(monkeypatch, capsys, *words)
    assert code == 2
    assert "is an encoder that knows no classes, and so predicts nothing" in said
