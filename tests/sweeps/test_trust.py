"""The commands import third-party code only after `--trust`."""

import sys

import pytest
import yaml

from kdtrain.foreign import trusted_modules
from sweeps.cli import main

MODULE = """
from pathlib import Path
import torch
from kdtrain.methods import METHODS, Method, Term

Path(__file__ + ".ran").touch()


def network(num_classes):
    return torch.nn.Conv2d(3, num_classes, 1)


class Loss(Term):
    def value(self, taps):
        student, teacher = taps.pair()
        return (student - teacher.detach()).abs().mean()


KD = Method(name="stranger_kd", title="A loss", citation="Nobody 2020", terms=(*METHODS["none"].terms, Loss()))
"""
SPEC = {
    "name": "tiny",
    "data": {"name": "streets", "size": [32, 32], "counts": {"train": 4, "select": 2}},
    "student": {"arch": "stranger:network"},
    "teacher": {"fit": {"network": {"arch": "stranger:network"}, "epochs": 1}},
    "train": {"epochs": 1, "batch_size": 2},
    "studies": ["none", "stranger:KD", {"name": "own", "terms": [{"loss": "stranger:Loss"}]}],
    "space": {"optimizer.lr": [0.01, 0.02]},
    "budget": {"trials": 1},
    "confirm": {"top": 0},
}


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    (tmp_path / "stranger.py").write_text(MODULE)
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(SPEC))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("KDSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KDSWEEP_TRUST", raising=False)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["kdsweep", *words])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    yield run
    sys.modules.pop("stranger", None)


@pytest.mark.parametrize(
    "words",
    [
        "plan spec.yaml",
        "run spec.yaml --dir sweep --inline",
        "data check spec.yaml",
        "teacher fit spec.yaml --dir teacher",
        "ablate spec.yaml",
        "methods stranger:KD",
        "plan clean.yaml --set student.arch=stranger:network",
        "train config.yaml --dir student",
        "teacher import w.safetensors --spec config.yaml --dir teacher",
    ],
)
def test_no_command_runs_a_strangers_code(command, tmp_path, words):
    clean = {**SPEC, "student": {}, "studies": ["none"], "teacher": None}
    (tmp_path / "clean.yaml").write_text(yaml.safe_dump(clean))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"student": {"arch": "stranger:network"}}))
    code, _, err = command(*words.split())
    assert code == 2
    assert err.startswith("error: ")
    assert "stranger:" in err
    assert err.endswith("run the same command with --trust, or with KDSWEEP_TRUST=stranger in the environment\n")
    assert not (tmp_path / "stranger.py.ran").exists()


def test_the_hub_of_torch_is_refused_with_its_full_name(command, tmp_path):
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "hubconf.py").write_text("raise SystemExit('ran')\n")
    student = {"arch": "torch.hub:load", "options": {"repo_or_dir": "hub", "source": "local", "model": "net"}}
    spec = {**SPEC, "student": student, "studies": ["none"], "teacher": None}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    code, _, err = command("plan", "spec.yaml")
    assert code == 2
    assert "spec.yaml: the spec names torch.hub:load, which is code from outside of kdsweep" in err
    assert "KDSWEEP_TRUST=torch.hub in the environment" in err


@pytest.mark.parametrize("by_setting", [False, True])
def test_trusted_code_is_named_first_and_then_imported(command, tmp_path, monkeypatch, by_setting):
    if by_setting:
        monkeypatch.setenv("KDSWEEP_TRUST", "stranger")
    code, out, err = command("plan", "spec.yaml", *([] if by_setting else ["--trust"]))
    assert code == 0, err
    assert err == "importing third-party code: stranger:network, stranger:KD, stranger:Loss\n"
    assert "imports third-party code: " in out
    assert (tmp_path / "stranger.py.ran").exists()
    assert trusted_modules() is None, "the trust of a command ends with it"
