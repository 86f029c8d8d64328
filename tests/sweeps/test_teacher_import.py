"""The command `kdsweep teacher import`: what it says about weights, and about what the network makes of an image."""

import sys

import pytest
import torch
import yaml
from called_command import called
from safetensors.torch import save_file

from kdtrain import Machine
from kdtrain.models import Network, build_network
from kdtrain.teacher import CARD, read_card
from sweeps.attempt.made_teachers import import_teacher

MODULE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes, kind):
        super().__init__()
        self.head = nn.Conv2d(3, num_classes, 1)
        self.kind = kind

    def forward(self, images):
        logits = self.head(images)
        match self.kind:
            case "softmax":
                return logits.softmax(1)
            case "sigmoid":
                return logits.sigmoid()
            case "nan":
                return logits.log()
            case "masked":
                return torch.cat([torch.full_like(logits[:, :1], -torch.inf), logits[:, 1:]], 1)
        return logits


def build(num_classes, kind="plain"):
    return Net(num_classes, kind)
"""
CLASSES = 10


@pytest.fixture
def imported(tmp_path, monkeypatch, capsys):
    """Run the command for a network of some kind; gives exit code, output and errors."""
    (tmp_path / "net_of_mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("KDSWEEP_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    weights = {"head.weight": torch.randn(CLASSES, 3, 1, 1), "head.bias": torch.randn(CLASSES)}

    def run(kind, wrap=lambda tensors: tensors, file="w.safetensors", **more):
        spec = {
            "data": {"name": "streets", "size": [32, 48], "counts": {"train": 1, "select": 2}},
            "network": {"arch": "net_of_mine:build", "options": {"kind": kind}},
        }
        (tmp_path / "teacher.yaml").write_text(yaml.safe_dump(spec | more))
        (torch.save if file.endswith(".pth") else save_file)(wrap(weights), tmp_path / file)
        words = ["teacher", "import", file, "--spec", "teacher.yaml", "--dir", "teacher", "--trust"]
        return called(monkeypatch, capsys, *words)

    return run


def test_a_checkpoint_is_imported_and_every_step_is_said(imported, tmp_path):
    def wrap(tensors):
        return {"state_dict": {f"_orig_mod.module.{name}": value.half() for name, value in tensors.items()}, "epoch": 3}

    code, out, _ = imported("plain", wrap, "w.pth")
    assert code == 0
    for said in (
        "w.pth: took the tensors under 'state_dict'",
        "w.pth: removed '_orig_mod.' from the names",
        "w.pth: removed the prefix 'module.' from the names",
        "w.pth: 2 tensors in half precision become float32",
    ):
        assert said in out
    assert read_card(tmp_path / "teacher").miou is not None


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("softmax", "the network gives probabilities (softmax), and losses need logits: leave out its last activation"),
        ("sigmoid", "the network gives probabilities (sigmoid)"),
        ("nan", "its logits of the first image are not finite, though its weights are"),
    ],
)
def test_outputs_that_are_no_logits_are_refused(imported, tmp_path, kind, message):
    code, _, err = imported(kind)
    assert code == 2
    assert message in err
    assert not (tmp_path / "teacher" / CARD).exists()


def test_minus_infinity_is_said(imported):
    code, out, _ = imported("masked")
    assert code == 0
    assert "hold minus infinity, which losses take as a probability of 0" in out


def test_what_only_pickle_reads_is_refused_with_the_command_that_converts_it(imported):
    code, _, err = imported("plain", lambda tensors: torch.nn.Conv2d(1, 1, 1), "w.pth")
    assert code == 2
    assert "w.pth holds more than tensors, which only pickle reads" in err
    assert ": python -c 'import sys, torch; " in err
    assert err.rstrip().endswith("w.pth w.safetensors")


def test_a_normalization_that_the_library_states_otherwise_is_said(tmp_path):
    network = Network(arch="FPN", encoder="tu-tf_mobilenetv3_small_minimal_100")
    save_file(dict(build_network(network, CLASSES).net.state_dict()), tmp_path / "w.safetensors")
    data = {"name": "streets", "size": [32, 48], "counts": {"train": 1, "select": 1}}
    half = {"mean": [0.5] * 3, "std": [0.5] * 3}
    said = {}
    for name, given in (("default", {}), ("given", half)):
        content = {"network": {**network.model_dump(include={"arch", "encoder"}), **given}, "data": data}
        said[name] = []
        folder, machine = tmp_path / name, Machine(cache=tmp_path / "cache")
        import_teacher(tmp_path / "w.safetensors", content, folder, machine, said[name].append)
    assert any(
        text.startswith("warning: network: images are normalized with mean 0.485") and "states mean 0.5, 0.5" in text
        for text in said["default"]
    )
    assert not any("warning" in text and "normalized" in text for text in said["given"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"studies": ["kd"]},
            "is the spec of a sweep, but must hold data alone, and perhaps eval_scale, network, network_classes, "
            "classes",
        ),
        ({"eval_scale": 0}, "eval_scale: input should be greater than 0, got 0"),
        ({"netwrk": {}}, "netwrk: unknown key; did you mean network?"),
    ],
)
def test_a_file_that_says_other_things_is_named(imported, more, message):
    code, _, err = imported("plain", **more)
    assert code == 2
    assert err.endswith(f"error: teacher.yaml: {message}\n")
