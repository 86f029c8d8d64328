import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from kdtrain.errors import InputError
from kdtrain.models import Network, build_network
from kdtrain.teacher import CARD, WEIGHTS, ModelCard, import_model, load_model, read_card, save_model

CLASSES = ("road", "car", "sky")
NETWORK = Network(arch="tiny_networks:tiny", options={"width": 4, "dropout": 0.0})
IMAGES = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


def save(folder, seed=0, network=NETWORK, classes=CLASSES, **facts) -> ModelCard:
    net = build_network(network, len(classes), seed).net
    return save_model(folder, net, {"network": network, "classes": classes, "trained_on": "streets"} | facts)


def logits(network):
    with torch.no_grad():
        return network.eval()(IMAGES)["logits"]


@pytest.mark.parametrize("network", [NETWORK, Network(), Network(arch="tiny_networks:tied")])
def test_a_loaded_teacher_computes_what_the_saved_one_did(tmp_path, network):
    built = build_network(network, 3, seed=1).to(memory_format=torch.channels_last)
    saved = save_model(tmp_path, built.net, {"network": network, "classes": CLASSES, "trained_on": "x", "miou": 0.5})
    card, loaded = load_model(tmp_path)
    assert card == saved == read_card(tmp_path)
    assert card.params == sum(parameter.numel() for parameter in built.parameters())
    assert torch.equal(logits(loaded.to(memory_format=torch.channels_last)), logits(built))
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert load_model(tmp_path, card.digest)[0] == card


def test_the_digest_follows_what_the_network_computes_and_not_where_it_lies(tmp_path):
    card = save(tmp_path / "a")
    assert save(tmp_path / "b").digest == card.digest
    same = {
        "score": save(tmp_path / "c", miou=0.7, role="select", iou=(0.7, None, 0.7), seconds=3.0),
        "data": save(tmp_path / "d", trained_on="elsewhere"),
        "start": save(tmp_path / "e", network=NETWORK.model_copy(update={"weights": str(tmp_path / "a" / WEIGHTS)})),
    }
    assert {name for name, other in same.items() if other.digest != card.digest} == set()
    shutil.move(tmp_path / "a", tmp_path / "moved")
    assert read_card(tmp_path / "moved").digest == card.digest
    mean = NETWORK.model_copy(update={"mean": (0.5, 0.5, 0.5)})
    others = [
        save(tmp_path / "f", seed=1),
        save(tmp_path / "g", classes=("road", "sky", "car")),
        save(tmp_path / "h", network=mean),
    ]
    assert len({card.digest, *(other.digest for other in others)}) == 4


def test_weights_of_somebody_else_become_the_same_teacher(tmp_path):
    net = build_network(NETWORK, 3, seed=4)
    save_file({name: value.contiguous() for name, value in net.net.state_dict().items()}, tmp_path / "w.safetensors")
    card = import_model(tmp_path / "w.safetensors", NETWORK, CLASSES, "elsewhere", tmp_path / "teacher")
    assert (card.source, card.trained_on, card.miou) == ("imported", "elsewhere", None)
    assert torch.equal(logits(load_model(tmp_path / "teacher")[1]), logits(net))


def test_weights_that_do_not_cover_the_network_are_not_imported(tmp_path):
    tensors = build_network(NETWORK, 3).net.state_dict()
    save_file({name: value for name, value in tensors.items() if name != "head.bias"}, tmp_path / "w.safetensors")
    with pytest.raises(
        InputError, match=r"w\.safetensors does not cover .*: 1 of \d+ tensors are missing, first head\.bias"
    ):
        import_model(tmp_path / "w.safetensors", NETWORK, CLASSES, "x", tmp_path / "teacher")
    save_file(dict(tensors), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"head\.\w+ is \(3,.*\) in the file and \(2,.*\) in the network"):
        import_model(tmp_path / "w.safetensors", NETWORK, CLASSES[:2], "x", tmp_path / "teacher")
    with pytest.raises(InputError, match="there is no file"):
        import_model(tmp_path / "v.safetensors", NETWORK, CLASSES, "x", tmp_path / "teacher")
    assert not (tmp_path / "teacher").exists()


def test_weights_that_do_not_cover_a_network_of_the_users_name_its_function_alone(tmp_path, monkeypatch):
    (tmp_path / "small_net.py").write_text(
        "import torch\ndef build(num_classes): return torch.nn.Conv2d(3, num_classes, 1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    save_file({"weight": torch.zeros(3, 3, 1, 1)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"does not cover small_net:build: 1 of 2 tensors are missing, first bias$"):
        import_model(tmp_path / "w.safetensors", Network(arch="small_net:build"), CLASSES, "x", tmp_path / "teacher")


def damage_weights(folder):
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-5] ^= 1
    (folder / WEIGHTS).write_bytes(content)


def other_weights(folder):
    save(folder.parent / "other", seed=2)
    shutil.copy(folder.parent / "other" / WEIGHTS, folder / WEIGHTS)


def change_card(**changes):
    def change(folder):
        content = json.loads((folder / CARD).read_text())
        del content["sha256"]  # as a card of an earlier version
        (folder / CARD).write_text(json.dumps(content | changes))

    return change


def edit_card(**changes):
    def edit(folder):
        content = json.loads((folder / CARD).read_text())
        (folder / CARD).write_text(json.dumps(content | changes, indent=4))

    return edit


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (shutil.rmtree, "is not a teacher folder, it must hold model.json and weights.safetensors; make one with"),
        (lambda folder: (folder / CARD).unlink(), "is not a teacher folder"),
        (lambda folder: (folder / WEIGHTS).unlink(), "is not a teacher folder"),
        (damage_weights, "weights.safetensors is damaged, its hash is not the one in model.json"),
        (other_weights, "weights.safetensors is damaged"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b""), "weights.safetensors is damaged"),
        (lambda folder: (folder / CARD).write_bytes(b"{"), "model.json is damaged"),
        (lambda folder: (folder / CARD).write_bytes(b"\xff\xfe"), "model.json is damaged"),
        (edit_card(miou=0.99), "model.json was edited or is damaged: its checksum does not match; put it back"),
        (edit_card(macs=1), "model.json was edited or is damaged"),
        (change_card(color="red"), "model.json is damaged, color: unknown key"),
        (change_card(params="many"), "model.json is damaged, params: input should be a valid integer"),
        (change_card(classes=["sky", "car", "road"]), "holds the teacher"),
        (change_card(network={"arch": "gone_module:tiny"}), "holds the teacher"),
    ],
)
def test_a_damaged_folder_is_refused_in_one_sentence(tmp_path, harm, message):
    digest = save(tmp_path / "teacher").digest
    harm(tmp_path / "teacher")
    with pytest.raises(InputError) as error:
        load_model(tmp_path / "teacher", digest)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_another_teacher_than_the_one_asked_for_is_refused(tmp_path):
    digest = save(tmp_path).digest
    with pytest.raises(InputError, match=f"holds the teacher {digest}, but the config asks for 0123"):
        load_model(tmp_path, "0123")


def test_a_card_that_only_looks_different_and_one_of_an_earlier_version_are_read(tmp_path):
    digest = save(tmp_path / "teacher").digest
    edit_card()(tmp_path / "teacher")
    assert load_model(tmp_path / "teacher", digest)[0].digest == digest
    change_card()(tmp_path / "teacher")
    assert load_model(tmp_path / "teacher", digest)[0].digest == digest
