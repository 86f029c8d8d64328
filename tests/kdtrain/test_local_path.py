"""Paths as a user writes them become absolute paths in one place."""

from pathlib import Path

import pytest

from kdtrain import InputError, Machine
from kdtrain.config import Replay
from kdtrain.foreign import Trust, trusting
from kdtrain.local_path import given_path, local_path
from kdtrain.models import Network, build_network


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in ("KDSWEEP_DATA", "KDSWEEP_CACHE", "KDSWEEP_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("~", "home"),
        ("~/x", "home/x"),
        ("x", "here/x"),
        ("./x", "here/x"),
        ("a~b", "here/a~b"),
        ("./~", "here/~"),
        ("$HOME/x", "here/$HOME/x"),
        ("a [b] #c %20\n", "here/a [b] #c %20\n"),
        (Path("~/x"), "home/x"),
    ],
)
def test_a_path_starts_at_the_home_folder_or_the_current_folder(text, path, home):
    assert local_path(text) == home / path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("file:///a/b", "/a/b"),
        ("file:/a/b", "/a/b"),
        ("file://localhost/a", "/a"),
        ("file:///a%20b%23c", "/a b#c"),
        ("file:///a#b?c", "/a#b?c"),
        ("/a//b/", "/a/b"),
    ],
)
def test_a_uri_of_a_file_is_its_path(text, path):
    assert local_path(text) == Path(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must not be empty"),
        ("~nobody-of-this-name/x", "the home folder is not known"),
        ("s3://bucket/x", "must be a path of this machine, got the URI s3://bucket/x"),
        ("file://host/x", "three slashes"),
        ("file://", "three slashes"),
        ("https:/x", "must be a path of this machine"),
    ],
)
def test_what_is_no_path_of_this_machine_is_refused(text, words):
    with pytest.raises(InputError, match=words):
        given_path(text)


def test_every_folder_of_a_machine_is_absolute(home, monkeypatch):
    assert Machine().data_root == home / "here" / "data"
    assert Machine().cache == home / "home" / ".cache" / "kdsweep"
    assert Machine().weights is None
    monkeypatch.setenv("KDSWEEP_DATA", "~/d")
    monkeypatch.setenv("KDSWEEP_CACHE", "c")
    monkeypatch.setenv("KDSWEEP_WEIGHTS", "file:///w")
    machine = Machine(teacher="t", replay=Replay(folder="~/r"))
    assert machine.data_root == home / "home" / "d"
    assert machine.cache == home / "here" / "c"
    assert machine.weights == Path("/w")
    assert machine.teacher == home / "here" / "t"
    assert machine.replay.folder == home / "home" / "r"
    assert Machine.model_validate(machine.model_dump(mode="json")) == machine
    assert Machine.model_validate_json(machine.model_dump_json()) == machine


def test_a_variable_that_is_empty_counts_as_not_set(home, monkeypatch):
    for name in ("KDSWEEP_DATA", "KDSWEEP_CACHE", "KDSWEEP_WEIGHTS"):
        monkeypatch.setenv(name, "")
    assert Machine().data_root == home / "here" / "data"
    assert Machine().cache == home / "home" / ".cache" / "kdsweep"


def test_starting_weights_are_looked_for_in_the_home_folder(home):
    network = Network(arch="tiny_networks:tiny", weights="~/w.safetensors")
    with trusting(Trust(None)), pytest.raises(InputError, match=f"there is no file {home}/home/w.safetensors"):
        build_network(network, 3)
