"""The commands import third-party code only after `--trust`."""

import json
import sys

import pytest
import yaml
from called_command import called

from kdtrain import InputError
from kdtrain.foreign import load_foreign, reading, trusted_modules
from sweeps.ledger.sweep_events import SweepBegun
from sweeps.spec.recorded import Recorded, facts_of
from sweeps.spec.spec import parse_spec

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
        return called(monkeypatch, capsys, *words)

    return run


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


READING = ("status sweep", "tables sweep", "report sweep", "best sweep --out best.yaml", "export optuna sweep")


def _foreign_sweep(command, tmp_path, **changes):
    """Run a sweep with code of a stranger's, and take the code away."""
    spec = {**SPEC, "space": {}, "confirm": {"top": 1, "seeds": 1}}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump({**spec, **changes}))
    code, _, err = command("run", "spec.yaml", "--dir", "sweep", "--inline", "--trust")
    assert code == 0, err
    (tmp_path / "stranger.py").unlink()
    (tmp_path / "stranger.py.ran").unlink()
    sys.modules.pop("stranger", None)
    return {path.name: path.read_bytes() for path in (tmp_path / "sweep" / "tables").iterdir()}


def test_commands_that_read_import_nothing_and_need_no_code(command, tmp_path):
    before = _foreign_sweep(command, tmp_path)
    for words in READING:
        code, _, err = command(*words.split())
        assert code == 0, (words, err)
    assert not (tmp_path / "stranger.py.ran").exists()
    assert {path.name: path.read_bytes() for path in (tmp_path / "sweep" / "tables").iterdir()} == before
    code, out, _ = command("query", "sweep", "select study, citation from studies where study = 'stranger_kd'")
    assert code == 0
    assert "Nobody 2020" in out


def test_a_ledger_that_does_not_describe_the_code_reads_too(command, tmp_path, monkeypatch):
    monkeypatch.setattr("sweeps.driver.session.facts_of", lambda spec: None)
    _foreign_sweep(command, tmp_path)
    for words in READING:
        code, _, err = command(*words.split())
        assert code == 0, (words, err)
    code, _, err = command("run", "spec.yaml", "--dir", "sweep", "--inline")
    assert code == 2, "a command that trains still asks for trust"
    assert "names stranger:network, stranger:KD, stranger:Loss" in err


def test_what_a_ledger_says_makes_the_same_spec(command, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    spec = parse_spec({**SPEC, "studies": ["none", "stranger:KD"]})
    recorded = Recorded()
    recorded.learn(json.loads(json.dumps(facts_of(spec))))
    with reading(recorded):
        read = parse_spec(spec.model_dump(mode="json"))
        assert read.model_dump(mode="json") == spec.model_dump(mode="json")
        for one, other in zip(read.studies, spec.studies, strict=True):
            assert read.space_of(one) == spec.space_of(other)
            assert read.config_for(one).model_dump(mode="json") == spec.config_for(other).model_dump(mode="json")
            assert read.config_for(one).config_id == spec.config_for(other).config_id
        with pytest.raises(InputError, match="is not imported, because this command only reads"):
            load_foreign("stranger:network")


def test_a_sweep_of_our_own_objects_records_nothing_of_them():
    spec = parse_spec({**SPEC, "student": {}, "teacher": None, "studies": ["none"]})
    assert facts_of(spec) is None
    begun = SweepBegun("a", "0", spec.model_dump(mode="json"), {})
    assert "foreign" not in begun.to_json()
    assert SweepBegun.from_json(begun.to_json()) == begun
