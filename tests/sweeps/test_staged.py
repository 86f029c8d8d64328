"""The copy of a teacher on a node is the teacher, also after a disk has changed it."""

import pytest
from torch import nn

from kdtrain.models import Network
from kdtrain.teacher import CARD, WEIGHTS, is_whole, save_model
from sweeps.attempt.attempt import staged
from sweeps.store.store import Store


@pytest.fixture
def teacher(tmp_path):
    facts = {"network": Network(), "classes": ("a", "b"), "trained_on": "streets"}
    card = save_model(tmp_path / "teacher", nn.Linear(3, 2), facts)
    return Store(tmp_path / "teacher"), card.digest


@pytest.mark.parametrize("name", [CARD, WEIGHTS])
@pytest.mark.parametrize("damage", ["a byte", "cut", "gone"])
def test_a_damaged_copy_is_made_anew(teacher, tmp_path, name, damage):
    store, digest = teacher
    folder = staged(store, digest, tmp_path / "cache")
    assert is_whole(folder, digest)
    copy = (folder / name).read_bytes()
    if damage == "gone":
        (folder / name).unlink()
    elif damage == "cut":
        (folder / name).write_bytes(copy[:-10])
    else:
        middle = copy.index(b'"a"') + 1 if name == CARD else len(copy) - 2
        (folder / name).write_bytes(copy[:middle] + bytes([copy[middle] ^ 1]) + copy[middle + 1 :])
    assert not is_whole(folder, digest)
    assert staged(store, digest, tmp_path / "cache") == folder
    assert is_whole(folder, digest)


def test_a_whole_copy_is_kept_and_leftovers_of_killed_processes_are_removed(teacher, tmp_path, monkeypatch):
    store, digest = teacher
    (tmp_path / "cache" / "teachers" / f".{digest}-killed").mkdir(parents=True)
    folder = staged(store, digest, tmp_path / "cache")
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [digest]
    monkeypatch.setattr(Store, "read", None)
    assert staged(store, digest, tmp_path / "cache") == folder
