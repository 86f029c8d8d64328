"""`kdsweep teacher probe` makes a teacher with logits of one that knows no classes."""

from pathlib import Path

import pytest
import torch
import yaml
from called_command import called
from safetensors.torch import load_file
from small_encoders import dinov2, saved

from kdtrain import Machine
from kdtrain.data import open_role
from kdtrain.data.streets import CLASSES, Streets
from kdtrain.models import Network, build_network
from kdtrain.teacher import load_model
from sweeps import Sweep, SweepSpec
from sweeps.attempt.probes import fit_probe, probe_config
from sweeps.attempt.signals import Interrupted
from sweeps.attempt.teachers import fit_here
from sweeps.store.store import Store

DATA = {"name": "streets", "size": [32, 64], "counts": {"train": 4, "select": 2, "test": 1}}
TRAIN = {"epochs": 2, "batch_size": 2}


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """A function that calls a command in a folder with an imported encoder in `t` and `data.yaml`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDSWEEP_CACHE", str(tmp_path / "cache"))
    saved(dinov2)
    Path("data.yaml").write_text(yaml.safe_dump({"data": DATA}))
    Path("probe.yaml").write_text(yaml.safe_dump({"data": DATA, "train": TRAIN}))

    def run(*words):
        return called(monkeypatch, capsys, *words)

    assert run("teacher", "import", "encoder", "--spec", "data.yaml", "--dir", "t")[0] == 0
    return run


def probe(command, *words, spec="probe.yaml", folder="p"):
    return command("teacher", "probe", "t", "--spec", spec, "--dir", folder, *words)


def images():
    return torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(1))


def test_a_probe_is_a_teacher_with_logits_and_with_the_layers_of_its_encoder(command):
    code, said, errors = probe(command, "--layer", "block.2")
    assert (code, errors) == (0, "")
    assert "mIoU" in said
    encoder_card, encoder = load_model(Path("t"))
    card, network = load_model(Path("p"))
    assert (card.source, card.members, card.role) == ("probe", (encoder_card.digest,), "select")
    assert (card.classes, card.network.title) == (CLASSES, "probe of transformers dinov2")
    assert card.miou is not None
    assert card.network.options["layer"] == "block.2"
    assert card.data_digest == open_role(Streets(**DATA), "train", None, Machine().cache).digest
    with torch.inference_mode():
        maps = network.tap(["logits", "features", "encoder.1"])(images())
        wanted = encoder.tap(["block.2", "features", "encoder.1"])(images())
        head = network.net.head
        flat = (wanted["block.2"] - head[0].running_mean.view(1, -1, 1, 1)) / (
            head[0].running_var.view(1, -1, 1, 1) + head[0].eps
        ).sqrt()
        logits = torch.einsum("oi,nihw->nohw", head[1].weight[:, :, 0, 0], flat) + head[1].bias.view(1, -1, 1, 1)
    assert set(maps) == {"logits", "features", "encoder.1"}
    torch.testing.assert_close(maps["logits"], logits, rtol=1e-4, atol=1e-5)
    for layer in ("features", "encoder.1"):
        assert torch.equal(maps[layer], wanted[layer])


def test_the_encoder_stays_as_it_is_and_the_head_is_trained(command):
    assert probe(command, "--head", "light")[0] == 0
    before = load_file("t/weights.safetensors")
    after = load_file("p/weights.safetensors")
    assert all(torch.equal(after[f"frozen.net.{name}"], value) for name, value in before.items())
    card, network = load_model(Path("p"))
    first = build_network(card.network, len(CLASSES), bare=True).net.head.state_dict()
    trained = network.net.head.state_dict()
    assert not any(torch.equal(first[name], trained[name]) for name in first if name.endswith("weight"))


def test_interrupted_equals_uninterrupted(command):
    config = probe_config(Path("t"), {"data": DATA, "train": TRAIN}, "features", "linear")
    machine = Machine()
    epochs = []
    fit_probe(config, Path("t"), machine, Store(Path("whole")), fit_here(epochs.append, lambda: False))
    assert len(epochs) == 2
    seen = []
    with pytest.raises(Interrupted):
        fit_probe(config, Path("t"), machine, Store(Path("cut")), fit_here(seen.append, lambda: len(seen) > 0))
    assert len(seen) == 1
    fit_probe(config, Path("t"), machine, Store(Path("cut")), fit_here(seen.append, lambda: False))
    assert Path("cut/weights.safetensors").read_bytes() == Path("whole/weights.safetensors").read_bytes()


def test_the_command_again_changes_nothing_and_another_layer_is_refused(command):
    assert probe(command)[0] == 0
    before = Path("p/model.json").read_bytes()
    assert probe(command)[0] == 0
    assert Path("p/model.json").read_bytes() == before
    code, _, said = probe(command, "--layer", "block.1")
    assert (code, said.count("\n")) == (2, 1)


def test_a_layer_of_a_network_with_classes():
    options = {"network": {"arch": "FPN"}, "classes": 3, "layer": "decoder", "head": "light", "width": 8}
    network = build_network(Network(arch="probed", encoder="", options=options), 4).train()
    maps = network.tap(["encoder.3"])(torch.rand(2, 3, 32, 64))
    assert maps["logits"].shape == (2, 4, 8, 16)
    assert not maps["encoder.3"].requires_grad
    assert {name.partition(".")[0] for name, value in network.net.named_parameters() if value.requires_grad} == {"head"}
    assert not any(module.training for module in network.net.frozen.modules())


@pytest.mark.parametrize(
    ("words", "content", "error"),
    [
        (("--layer", "block.4"), {}, "layer 'block.4' does not exist in TransformersEncoder: allowed are block.1 to"),
        (("--layer", "logits"), {}, "knows no classes, and so has no such layer"),
        ((), {"train": {"student": {"arch": "FPN"}}}, "train.student: is set by the probe itself; leave it out"),
        ((), {"train": {"epoch": 2}}, "epoch: unknown key; did you mean epochs?"),
        ((), {"layers": 1}, "layers: unknown key"),
        ((), {"studies": ["none"]}, "is the spec of a sweep, but must hold data alone, and perhaps train"),
    ],
)
def test_a_wrong_probe_is_one_sentence(command, words, content, error):
    Path("wrong.yaml").write_text(yaml.safe_dump({"data": DATA, **content}))
    code, _, said = probe(command, *words, spec="wrong.yaml")
    assert (code, said.count("\n")) == (2, 1)
    assert error in said
    assert not Path("p").exists()


def test_a_damaged_teacher_and_the_folder_of_the_teacher_are_refused(command):
    code, _, said = probe(command, "--force", folder="t")
    assert code == 2
    assert "is the teacher itself; give the probe a folder of its own" in said
    with Path("t/weights.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"abcd")
    code, _, said = probe(command)
    assert code == 2
    assert "is damaged" in said


@pytest.mark.slow
def test_a_probe_teaches_by_its_logits_and_by_its_layers(command):
    assert probe(command)[0] == 0
    spec = {
        "name": "taught",
        "data": DATA,
        "teacher": {"path": "p"},
        "student": {"options": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32}},
        "train": {"epochs": 1, "batch_size": 2},
        "studies": [
            "kd",
            {"name": "at", "method": "at", "set": {"terms.attention_transfer.teacher_layer": "block.2"}},
        ],
        "budget": {"trials": 1},
        "confirm": {"top": 0},
    }
    sweep = Sweep(SweepSpec.model_validate(spec))
    sweep.run(inline=True)
    assert sweep.tables["trials"].state.tolist() == ["complete"] * 2
