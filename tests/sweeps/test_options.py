"""Options, variables and words of commands that are wrong: one sentence and exit code 2."""

import sys
from pathlib import Path

import pytest

import sweeps
from kdtrain import foreign
from kdtrain.config import Machine
from kdtrain.errors import InputError
from kdtrain.loop.device import check_device
from sweeps.cli import main

DEMO = str(Path(sweeps.__file__).parent / "specs" / "demo.yaml")
RUN = ("run", DEMO, "--dir", "D", "--inline")


@pytest.fixture
def refused(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["kdsweep", *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert foreign.trusted_modules() is None, "what a command trusts ends with it"
        out, err = capsys.readouterr()
        assert end.value.code == 2
        assert [line for line in out.splitlines() if not line.endswith((DEMO, "loading torch"))] == []
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert list(tmp_path.iterdir()) == []
        return err

    return run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*RUN, "--threads", "0"), "--threads: must be a number from 1 to 1024, got 0"),
        ((*RUN, "--threads", "-3"), "--threads: must be a number from 1 to 1024, got -3"),
        ((*RUN, "--threads", "99999999999999999999"), "--threads: must be a number from 1 to 1024, got 9999"),
        ((*RUN, "--workers", "-1"), "--workers: must be a number from 0 to 1024, got -1"),
        ((*RUN, "--workers", "two"), "--workers"),
        (("train", "c.yaml", "--dir", "D", "--threads", "0"), "--threads: must be a number"),
        (
            ("train", "c.yaml", "--dir", "D", "--seed", "-1"),
            "--seed: must be a number from 0 to 9007199254740992, got -1",
        ),
        (("teacher", "fit", "s.yaml", "--dir", "D", "--workers", "-1"), "--workers: must be a number"),
        (("teacher", "ensemble", "a", "b", "--dir", "D", "--temperature", "0"), "--temperature: must be a number"),
        (("teacher", "ensemble", "a", "b", "--dir", "D", "--temperature", "nan"), "--temperature: must be a number"),
        (("status", "D", "--every", "0"), "--every: must be a number of at least 0.1, got 0.0"),
        (("status", "D", "--every", "inf"), "--every: must be a number of at least 0.1, got inf"),
        (("ablate", "D", "--seeds", "0"), "--seeds: must be a number from 1 to 1000, got 0"),
        (("ablate", "D", "--time-ratio", "nan"), "--time-ratio: must be a number"),
        (("ablate", "D", "--resolution", "3"), "--resolution: must be a number from 4 to 5, got 3"),
        (("rnu",), "no such command 'rnu'"),
        (("run",), "missing argument"),
        (("status", "D", "--wach"), "--wach"),
    ],
)
def test_wrong_words_are_one_sentence(refused, words, said):
    assert said in refused(*words)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cuda", "device: 'cuda' is not available, because torch sees no GPU here; use auto or cpu"),
        ("cuda:7", "device: 'cuda:7' is not available"),
        ("nonsense", "device: must be auto, cpu, cuda, or cuda:1 for the second GPU, got 'nonsense'"),
        ("", "device: must be auto"),
        ("meta", "device: must be auto"),
        ("cuda:x", "device: must be auto"),
    ],
)
def test_a_device_that_is_not_there(monkeypatch, name, said):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(InputError, match="device: ") as error:
        check_device(name)
    assert said in str(error.value)


def test_devices_that_are_there(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for name in ("auto", "cpu", "cuda", "cuda:1"):
        check_device(name)
    with pytest.raises(InputError, match="the last GPU here is cuda:1"):
        check_device("cuda:2")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    check_device("cuda", is_here=False)


def test_a_device_of_another_name_is_refused_by_the_command(refused):
    assert "device: must be auto, cpu, cuda" in refused(*RUN, "--device", "nonsense")


@pytest.mark.parametrize("given", ["option", "variable"])
def test_a_folder_of_weights_that_is_not_there(refused, monkeypatch, given):
    if given == "variable":
        monkeypatch.setenv("KDSWEEP_WEIGHTS", "/no/such/folder")
    words = ("--weights", "/no/such/folder") if given == "option" else ()
    source = "--weights" if given == "option" else "KDSWEEP_WEIGHTS"
    said = f"error: {source}: must be a folder of <encoder>.safetensors files, got /no/such/folder\n"
    assert refused(*RUN, *words) == said


def test_empty_variables_count_as_not_set(monkeypatch):
    for name in ("KDSWEEP_DATA", "KDSWEEP_CACHE", "KDSWEEP_WEIGHTS"):
        monkeypatch.setenv(name, "")
    machine = Machine()
    assert (machine.data_root.name, machine.weights) == ("data", None)
    assert machine.cache.name == "kdsweep"


def test_a_user_without_a_home_folder_is_told_so(refused, monkeypatch):
    def unknown(user):
        raise KeyError(user)

    monkeypatch.delenv("HOME")
    monkeypatch.delenv("KDSWEEP_CACHE", raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert "set KDSWEEP_CACHE or HOME to a folder that this user can write" in refused(*RUN)
