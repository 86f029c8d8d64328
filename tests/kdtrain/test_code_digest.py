"""Only what a config executes counts: neither comments, nor what other configs execute."""

import sys

import pytest

from kdtrain import TrainConfig
from kdtrain import code_digest as digests
from kdtrain.code_digest import (
    code_of,
    digest_of,
    fingerprint,
    foreign_modules,
    modules_of,
    part_names,
    recorded,
    same_code,
)
from kdtrain.methods import METHODS

FILES = {
    "__init__.py": "",
    "trainer.py": (
        "import os\nfrom toy.losses import plain\nfrom toy.lists import ALL\n\ndef run():\n    from toy import late\n"
    ),
    "losses/__init__.py": "from toy.losses.plain import plain\nfrom toy.losses.unused import unused\n",
    "losses/plain.py": '"""Doc."""\n\nX = 1  # a comment\n\n\ndef plain(a):\n    """Doc."""\n    return a * X\n',
    "losses/unused.py": "def unused():\n    return 1\n",
    "late.py": "import typing\n\nif typing.TYPE_CHECKING:\n    import toy.never\n",
    "never.py": "",
    "lists.py": "from toy.losses.unused import unused\n\nALL = [unused]\n",
}


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A package that can be edited: `toy(**{"late.py": "x = 1"})` gives the digests of what its trainer executes."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(digests, "PACKAGE", "toy")
    monkeypatch.setattr(digests, "LOOKUPS", frozenset({"toy.lists"}))

    def edit(**files):
        for name, text in files.items():
            path = tmp_path / "toy" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for cached in (digests.modules_of, digests._path, digests._parse):
            cached.cache_clear()
        return modules_of("toy.trainer")

    edit(**FILES)
    yield edit
    edit()
    assert "toy" not in sys.modules, "digesting imports nothing"


def config(method):
    method = METHODS[method]
    content = {"terms": [term.model_dump() for term in method.terms]}
    return TrainConfig.parse(content | ({"teacher": "feed"} if method.needs_teacher else {}))


def test_all_that_is_imported_counts_and_names_count_where_they_are_defined(toy):
    assert set(toy()) == {"toy", "toy.trainer", "toy.losses.plain", "toy.late"} - {"toy"}


def test_comments_docstrings_and_layout_do_not_count(toy):
    before = toy()
    text = '"""Other doc."""\nX = 1\ndef plain(a):\n    """Other."""\n    # why\n    return (a\n            * X)\n'
    assert toy(**{"losses/plain.py": text}) == before


@pytest.mark.parametrize("text", ["X = 2\ndef plain(a):\n    return a * X", "X = 1\ndef plain(a):\n    return X * a"])
def test_code_counts(toy, text):
    before = toy()
    after = toy(**{"losses/plain.py": text})
    assert {name for name in before if before[name] != after[name]} == {"toy.losses.plain"}


def test_new_and_changed_files_that_are_not_executed_do_not_count(toy):
    before = toy()
    files = {"losses/new.py": "x = 1", "losses/unused.py": "x = 2", "never.py": "x = 3"}
    assert toy(**files, **{"lists.py": "from toy.losses import new\nALL = []\n"}) == before


def test_the_fingerprint_says_whether_files_are_the_same(toy, monkeypatch):
    before = fingerprint(toy())
    assert fingerprint(toy(**{"never.py": "x = 1"})) == before
    assert fingerprint(toy(**{"late.py": "x = 1"})) != before
    monkeypatch.setattr(digests, "PACKAGE", "kdtrain")
    assert foreign_modules({"training": toy(), "data streets": {"kdtrain.data.streets": "1"}}) == sorted(toy())


def test_a_config_executes_its_own_losses_and_data():
    kd, cskd = code_of(config("kd")), code_of(config("cskd"))
    assert list(kd) == ["training", "data streets", "loss cross_entropy", "loss pixel_kd"]
    modules = {module for part in kd.values() for module in part}
    assert {"kdtrain.loop.trainer", "kdtrain.losses.pixel", "kdtrain.data.scene", "kdtrain.config"} < modules
    assert not modules & {
        "kdtrain.methods",
        "kdtrain.data",
        "kdtrain.methods.cskd",
        "kdtrain.data.voc",
        "kdtrain.losses",
    }
    assert kd["training"] == cskd["training"]
    assert part_names(config("cskd").model_dump(mode="json")) == tuple(cskd)
    assert "kdtrain.methods.cskd" in cskd["loss cam_cka"]


def test_a_loss_of_weight_zero_is_no_part_of_the_code():
    plain = config("kd").model_dump(mode="json")
    plain["terms"][1]["weight"] = 0.0
    assert list(code_of(TrainConfig.parse(plain))) == ["training", "data streets", "loss cross_entropy"]
    assert part_names(plain) == ("training", "data streets", "loss cross_entropy")


def test_a_network_of_the_user_counts_with_what_it_imports(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_network.py").write_text("import torch\nimport my_blocks\n")
    (tmp_path / "my_blocks.py").write_text("from kdtrain.losses.maps import precise\n")
    student = config("none").student.model_copy(update={"arch": "my_network:build"})
    part = code_of(config("none").model_copy(update={"student": student}))["network my_network:build"]
    assert {"my_network", "my_blocks", "kdtrain.losses.maps"} <= set(part)
    assert not any(name.startswith("torch") for name in part)


def test_a_loss_of_a_package_counts_with_its_relative_imports_and_its_package(toy, monkeypatch):
    monkeypatch.setattr(digests, "PACKAGE", "kdtrain")
    files = {
        "trainer.py": "from .losses import plain\nfrom . import late\n",
        "losses/__init__.py": "from .plain import plain\nfrom ..never import x\n",
        "never.py": "x = 1\n",
    }
    before = toy(**files)
    assert set(before) == {"toy", "toy.trainer", "toy.losses", "toy.losses.plain", "toy.late", "toy.never"}
    after = toy(**{"never.py": "x = 2\n"})
    assert {name for name in before if before[name] != after[name]} == {"toy.never"}


@pytest.mark.parametrize(("one", "other"), [('""', "None"), ("1", "1.0"), ("1", "True"), ("b'a'", "\"b'a'\"")])
def test_constants_of_different_kinds_differ(toy, one, other):
    assert toy(**{"late.py": f"x = {one}\n"}) != toy(**{"late.py": f"x = {other}\n"})


def test_trainings_are_compared_by_the_parts_that_they_share(monkeypatch):
    monkeypatch.setattr(digests, "_same_results", lambda: {"parts": {"training": {"a": "b", "b": "c"}}, "packages": {}})
    assert same_code({"training": "a", "loss kd": "1"}, {"training": "c", "loss cwd": "2"})
    assert not same_code({"training": "a", "loss kd": "1"}, {"training": "c", "loss kd": "2"})
    assert not same_code({"training": "a"}, {"training": "d"})


def test_a_change_is_recorded_as_the_same_or_as_new():
    before = {"current": {"training": "a", "loss kd": "1"}, "parts": {}, "packages": {"old": {"training": "a"}}}
    now = {"training": "b", "loss kd": "1", "loss cwd": "2"}
    same = recorded(before, now, same=True)
    assert same == {"current": now, "parts": {"training": {"a": "b"}}, "packages": before["packages"]}
    assert recorded(before, now, same=False)["parts"] == {}
    back = recorded(same, {**now, "training": "a"}, same=True)
    assert back["parts"] == {"training": {"b": "a"}}


def test_a_change_of_training_code_says_whether_results_change():
    recorded_digests, now = digests._same_results()["current"], digests.parts_of_all()
    changed = [part for part in {**recorded_digests, **now} if now.get(part) != recorded_digests.get(part)]
    assert not changed, (
        f"the code of {', '.join(changed)} has changed: run `python -m kdtrain.code_digest same` if every result stays "
        "the same to the last bit on a CPU, else `python -m kdtrain.code_digest new`"
    )


def test_digests_differ_where_modules_differ():
    assert digest_of({"a": "1"}) != digest_of({"a": "2"}) != digest_of({"b": "2"})
