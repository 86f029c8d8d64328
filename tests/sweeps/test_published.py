"""Networks that others have published teach, those of other classes, too."""

import json
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
import transformers
import yaml
from called_command import called
from safetensors.torch import save_file
from torch_releases import needs_torch
from torchvision.models import get_model

from kdtrain.data.streets import CLASSES
from kdtrain.errors import InputError
from kdtrain.models.torch_files import is_torch_file
from kdtrain.published import _normalization
from kdtrain.teacher import load_model

DATA = {"name": "streets", "size": [32, 64], "counts": {"train": 8, "select": 4, "test": 1}}
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]
NAMED = {"id2label": dict(enumerate(CLASSES)), "label2id": {name: index for index, name in enumerate(CLASSES)}}


def segformer(folder, **labels):
    needs_torch(2, 6)
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 3, 4],
        decoder_hidden_size=16,
        **(labels or NAMED),
    )
    return saved(transformers.SegformerForSemanticSegmentation(config), folder)


def beit(folder):
    needs_torch(2, 6)
    config = transformers.BeitConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=64,
        patch_size=8,
        out_indices=[1, 2, 3, 4],
        use_auxiliary_head=False,
        use_absolute_position_embeddings=False,
        use_relative_position_bias=False,
        pool_scales=[1, 2],
        **NAMED,
    )
    return saved(transformers.BeitForSemanticSegmentation(config), folder)


def swin():
    return transformers.SwinConfig(
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )


def maskformer(folder):
    needs_torch(2, 6)
    config = transformers.Mask2FormerConfig(
        backbone_config=swin(),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        dim_feedforward=16,
        num_queries=8,
        **NAMED,
    )
    return saved(transformers.Mask2FormerForUniversalSegmentation(config), folder)


def oneformer(folder):
    needs_torch(2, 6)
    config = transformers.OneFormerConfig(
        backbone_config=swin(),
        conv_dim=32,
        mask_dim=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        encoder_layers=1,
        decoder_layers=3,
        num_attention_heads=2,
        dim_feedforward=16,
        num_queries=8,
        task_seq_len=24,
        is_training=True,  # as in some published configs: such a network also has a part that reads texts
        text_encoder_width=64,
        text_encoder_num_layers=1,
        text_encoder_vocab_size=60,
        **NAMED,
    )
    letters = [chr(ord("a") + place) for place in range(26)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = transformers.CLIPTokenizer(vocab={token: number for number, token in enumerate(tokens)}, merges=[])
    model = saved(transformers.OneFormerForUniversalSegmentation(config), folder)
    tokenizer.save_pretrained(folder)
    for module in model.modules():
        if hasattr(module, "is_training"):
            module.is_training = False
    return model, tokenizer


def oneformer_without_tokenizer(folder):
    oneformer(folder)
    (Path(folder) / "tokenizer.json").unlink()


def oneformer_with_damaged_tokenizer(folder):
    oneformer(folder)
    (Path(folder) / "tokenizer.json").write_text("{")


def saved(model, folder):
    torch.manual_seed(0)
    model.init_weights()
    model.eval().save_pretrained(folder)
    content = {"image_mean": MEAN, "image_std": STD, "do_normalize": True}
    (Path(folder) / "preprocessor_config.json").write_text(json.dumps(content))
    return model


def of_smp(folder):
    model = smp.Unet("tu-mobilenetv3_small_050", encoder_weights=None, classes=10, decoder_channels=(16, 8, 8, 8, 8))
    model.eval().save_pretrained(folder)
    return model


@pytest.fixture
def imported(tmp_path, monkeypatch, capsys):
    """A function that imports a network as a teacher; gives exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDSWEEP_CACHE", str(tmp_path / "cache"))

    def run(place, **more):
        Path("teacher.yaml").write_text(yaml.safe_dump({"data": DATA, **more}))
        words = ("teacher", "import", place, "--spec", "teacher.yaml", "--dir", "t", "--force")
        return called(monkeypatch, capsys, *words)

    return run


def images():
    return torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(1))


def normalized():
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (MEAN, STD))
    return (images() - mean) / std


@pytest.mark.parametrize("make", [segformer, beit])
def test_a_teacher_of_transformers_gives_the_logits_of_the_library_and_the_maps_of_its_encoder(imported, make):
    model = make("hf")
    code, said, errors = imported("hf")
    assert (code, errors) == (0, "")
    card, network = load_model(Path("t"))
    assert card.classes == CLASSES
    assert card.miou is not None
    network.tap(["encoder.1", "encoder.4", "decoder"] if make is segformer else ["encoder.1", "encoder.4"])
    with torch.inference_mode():
        maps = network(images())
        wanted = model(pixel_values=normalized(), output_hidden_states=True)
    torch.testing.assert_close(maps["logits"], wanted.logits, rtol=1e-4, atol=1e-5)
    if make is segformer:
        torch.testing.assert_close(maps["encoder.4"], wanted.hidden_states[-1], rtol=1e-4, atol=1e-5)
        assert maps["decoder"].shape[1] == 16
    else:  # tokens of the last block, without the class token, in rows of the image
        tokens = wanted.hidden_states[-1][:, 1:].reshape(2, 4, 8, 16).permute(0, 3, 1, 2)
        torch.testing.assert_close(maps["encoder.4"], tokens, rtol=1e-4, atol=1e-5)
    assert "normalized with mean 0.4, 0.5, 0.6" in said


def test_a_network_of_masks_gives_the_sum_over_masks(imported):
    model = maskformer("hf")
    assert imported("hf")[0] == 0
    _, network = load_model(Path("t"))
    with torch.inference_mode():
        logits = network.logits(images())
        output = model(pixel_values=normalized())
        classes = output.class_queries_logits.softmax(-1)[0, :, :-1]
        masks = output.masks_queries_logits[0].sigmoid()
        pixel = sum(classes[query] * masks[query, 3, 5] for query in range(8))
    torch.testing.assert_close(logits[0, :, 3, 5], pixel.log(), rtol=1e-4, atol=1e-4)


def test_oneformer_gives_the_semantic_scores_of_the_library(imported):
    model, tokenizer = oneformer("hf")
    assert imported("hf")[::2] == (0, "")
    card, network = load_model(Path("t"))
    assert card.classes == CLASSES
    images_of_library = transformers.OneFormerImageProcessor(class_info_file=None, num_text=None)
    processor = transformers.OneFormerProcessor(images_of_library, tokenizer, task_seq_length=24)

    def scores(task):
        tokens = processor._preprocess_text([f"the task is {task}"] * 2, max_length=24)
        output = model(pixel_values=normalized(), task_inputs=tokens)
        read = images_of_library.post_process_semantic_segmentation(output, return_segmentation_scores=True)
        return torch.stack([each.segmentation_scores for each in read])

    with torch.inference_mode():
        maps = network.tap(["encoder.1", "encoder.4"])(images())
        torch.testing.assert_close(maps["logits"].exp(), scores("semantic"), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(scores("panoptic"), scores("semantic"), rtol=1e-3)
    assert [maps[layer].shape[1] for layer in ("encoder.1", "encoder.4")] == [8, 64]


def test_a_folder_of_smp_is_read_with_its_options(imported):
    model = of_smp("hub")
    assert imported("hub")[::2] == (0, "")
    card, network = load_model(Path("t"))
    assert (card.network.arch, card.network.options["decoder_channels"]) == ("Unet", [16, 8, 8, 8, 8])
    with torch.inference_mode():
        mean, std = network.mean, network.std
        torch.testing.assert_close(network.logits(images()), model((images() - mean) / std), rtol=1e-4, atol=1e-5)


def test_a_checkpoint_of_torchvision(imported):
    model = get_model("deeplabv3_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=10).eval()
    save_file(model.state_dict(), "deeplab.safetensors")
    network = {"arch": "torchvision", "encoder": "deeplabv3_mobilenet_v3_large"}
    assert imported("deeplab.safetensors", network=network)[0] == 0
    _, loaded = load_model(Path("t"))
    with torch.inference_mode():
        logits = loaded.logits(images())
        wanted = model((images() - loaded.mean) / loaded.std)["out"]
    resized = torch.nn.functional.interpolate(logits, size=(32, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(resized, wanted, rtol=1e-4, atol=1e-5)


def test_a_resnet_of_torchvision_has_its_stages():
    from kdtrain.models import Network, build_network, layer_channels

    network = build_network(Network(arch="torchvision", encoder="fcn_resnet50", options={"aux_loss": True}), 4)
    shapes = layer_channels(network, ["encoder.2", "encoder.last", "decoder", "aux"], (32, 64))
    assert [shapes[layer][0] for layer in ("encoder.2", "encoder.last", "decoder", "aux")] == [256, 2048, 512, 4]


def test_other_classes_are_merged_as_their_probabilities(imported):
    names = {0: "road", 1: "pavement", 2: "kerb", 3: "sky", 4: "boat"}
    model = segformer("hf", id2label=names, label2id={name: index for index, name in names.items()})
    ours = ("road", "pavement", "sky")
    assert set(ours) <= set(CLASSES)
    code, said, errors = imported("hf", classes={"kerb": "pavement"})
    assert (code, errors) == (0, "")
    assert "classes that are left out: boat" in said
    assert "classes of the data that it does not know: " in said
    card, network = load_model(Path("t"))
    assert card.classes == CLASSES
    with torch.inference_mode():
        got = network.logits(images()).softmax(1)
        theirs = model(pixel_values=normalized()).logits[:, :4].softmax(1)  # as if there were no boats
    wanted = {"road": theirs[:, 0], "pavement": theirs[:, 1] + theirs[:, 2], "sky": theirs[:, 3]}
    for name, probability in wanted.items():
        torch.testing.assert_close(got[:, CLASSES.index(name)], probability, rtol=1e-3, atol=1e-5)
    others = [index for index, name in enumerate(CLASSES) if name not in wanted]
    assert float(got[:, others].max()) < 1e-9


def damaged(folder):
    segformer(folder)
    (Path(folder) / "model.safetensors").write_bytes(b"not weights")


def without_head(folder):
    segformer(folder)
    model = transformers.SegformerModel.from_pretrained(folder)
    model.save_pretrained(folder)


def hostile(folder):
    segformer(folder)
    config = json.loads((Path(folder) / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    (Path(folder) / "config.json").write_text(json.dumps(config))
    (Path(folder) / "code.py").write_text("raise SystemExit('executed')")


def config_of(**content):
    def make(folder):
        Path(folder).mkdir()
        (Path(folder) / "config.json").write_text(json.dumps(content))

    return make


def text(folder):
    Path(folder).mkdir()
    (Path(folder) / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("make", "more", "error"),
    [
        (damaged, {}, "transformers cannot load it"),
        (without_head, {}, "so it is not a trained network for semantic segmentation"),
        (hostile, {}, "code that comes with it (auto_map in config.json), which is never executed"),
        pytest.param(
            config_of(model_type="bert"),
            {},
            "is neither a network for semantic segmentation in transformers",
            marks=pytest.mark.newer_torch(2, 6),
        ),
        (
            oneformer_without_tokenizer,
            {},
            "put the files of its tokenizer there, tokenizer.json or vocab.json and merges",
        ),
        (oneformer_with_damaged_tokenizer, {}, "transformers cannot read its tokenizer"),
        (config_of(a=1), {}, "must be that of a network of transformers"),
        (config_of(_model_class="Unet", encoder_name="resnet18", in_channels=4), {}, "must take three channels"),
        (config_of(_model_class="Unet", encoder_name="resnet18"), {}, "must hold model.safetensors"),
        (text, {}, "is not JSON"),
        (lambda folder: Path(folder).mkdir(), {}, "config.json"),
        (segformer, {"network": {"arch": "FPN"}}, "leave network out"),
        (segformer, {"classes": {"raod": "road"}}, "classes: must be classes of the network"),
        (segformer, {"classes": {"road": "raod"}}, "classes: must be classes of the data"),
        (of_smp, {"classes": {"road": "road"}}, "give their names as network_classes"),
    ],
)
def test_a_wrong_folder_is_one_sentence(imported, make, more, error):
    make("place")
    code, _, said = imported("place", **more)
    assert code == 2
    assert error in said
    assert not Path("t").exists()


def test_one_number_normalizes_all_channels_and_other_content_is_one_sentence(tmp_path):
    (tmp_path / "processor_config.json").write_text('{"image_processor": 3}')
    with pytest.raises(InputError, match="image_processor must be a mapping, got 3"):
        _normalization(tmp_path, None)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": 0.5, "image_std": [0.1, 0.2, 0.3]}')
    assert _normalization(tmp_path, None) == ((0.5, 0.5, 0.5), (0.1, 0.2, 0.3))


def test_a_file_of_weights_needs_its_network(imported):
    save_file({"a": torch.zeros(1)}, "w.safetensors")
    code, _, said = imported("w.safetensors")
    assert code == 2
    assert "holds weights alone; give arch, encoder and options" in said


def test_safetensors_whose_header_begins_as_a_pickle_are_read(tmp_path):
    file = tmp_path / "w.safetensors"
    for length in range(256):
        save_file({"a": torch.zeros(1)}, file, {"note": "x" * length})
        if file.read_bytes()[:1] == b"\x80":
            break
    assert file.read_bytes()[:1] == b"\x80"
    assert not is_torch_file(file)


@pytest.mark.slow
@pytest.mark.parametrize("make", [segformer, beit, of_smp])
def test_a_published_network_teaches_a_student(imported, monkeypatch, capsys, make):
    make("place")
    assert imported("place")[0] == 0
    spec = {
        "name": "taught",
        "data": DATA,
        "teacher": {"path": "t"},
        "student": {"options": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32}},
        "train": {"epochs": 1, "batch_size": 4},
        "studies": [
            "none",
            "kd",
            {"name": "at", "method": "at", "set": {"terms.attention_transfer.teacher_layer": LAYER}},
        ],
        "space": {"optimizer.lr": {"low": 0.001, "high": 0.1, "log": True}},
        "budget": {"trials": 1},
        "confirm": {"top": 0},
    }
    Path("spec.yaml").write_text(yaml.safe_dump(spec))
    code, said, errors = called(monkeypatch, capsys, "run", "spec.yaml", "--dir", "d", "--inline")
    assert (code, errors) == (0, "")
    assert "finished | 3 complete" in said


LAYER = "encoder.4"
