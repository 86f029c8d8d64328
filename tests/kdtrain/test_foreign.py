"""Third-party code, by reference and by entry point."""

import sys

import pytest

from kdtrain import foreign
from kdtrain.errors import InputError
from kdtrain.foreign import available_names, find_object, ignored_offers, imported_modules, installed, load_foreign

OURS = {"kd": 1, "cwd": 2}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write modules into a folder on the path, and offer entry points of the group `kdsweep.losses`."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def write(offers="", distribution="other_people", **modules):
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)
        if offers:
            info = tmp_path / f"{distribution}-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
            (info / "entry_points.txt").write_text(f"[kdsweep.losses]\n{offers}\n")
        foreign._offers.cache_clear()

    yield write
    foreign._offers.cache_clear()


def test_a_reference_is_imported_and_its_module_is_noted(package):
    package(their_module="VALUE = 7\n")
    assert load_foreign("their_module:VALUE") == 7
    assert "their_module" in imported_modules()


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("gone_module:X", "'gone_module:X' cannot be imported (No module named 'gone_module'); a module must be"),
        ("their.gone:X", "'their.gone:X' cannot be imported (No module named 'their'); a module must be installed"),
        ("broken_module:X", "the module broken_module fails with ModuleNotFoundError: No module named 'nothing_here'"),
        ("failing_module:X", "the module failing_module fails with RuntimeError: no GPU"),
        ("their_module:VALEU", "(module 'their_module' has no attribute 'VALEU'); did you mean VALUE?"),
        ("their_module:", "'their_module:' cannot be imported: a reference has the form package.module:name"),
        (":X", "a reference has the form package.module:name"),
    ],
)
def test_a_wrong_reference_is_refused_in_one_sentence(package, reference, message):
    package(
        their_module="VALUE = 7\n",
        broken_module="import nothing_here\n",
        failing_module="raise RuntimeError('no GPU\\nfor you')\n",
    )
    with pytest.raises(InputError) as error:
        load_foreign(reference)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_offer_is_imported_when_its_name_is_asked_for_and_not_before(package):
    package("good = good_module:VALUE\nbad = bad_module:VALUE", good_module="VALUE = 3\n", bad_module="1 / 0\n")
    assert {"good", "bad"} <= set(installed("kdsweep.losses"))
    assert available_names(OURS, "kdsweep.losses")[:2] == ("kd", "cwd")
    assert "good_module" not in sys.modules
    assert find_object("good", OURS, "kdsweep.losses", "loss") == 3
    assert find_object("kd", OURS, "kdsweep.losses", "loss") == 1
    with pytest.raises(InputError, match=r"the loss 'bad' of the package other_people: .*fails with ZeroDivisionError"):
        find_object("bad", OURS, "kdsweep.losses", "loss")


def test_an_unknown_name_lists_ours_and_theirs(package):
    package("their_loss = good_module:VALUE")
    with pytest.raises(InputError, match=r"unknown loss 'thier_loss': known are kd, cwd, .*their_loss.*did you mean"):
        find_object("thier_loss", OURS, "kdsweep.losses", "loss")


def test_an_offer_under_a_name_of_ours_is_ignored(package):
    package("kd = good_module:VALUE", good_module="VALUE = 3\n")
    assert find_object("kd", OURS, "kdsweep.losses", "loss") == 1
    assert available_names(OURS, "kdsweep.losses").count("kd") == 1
    (sentence,) = ignored_offers(OURS, "kdsweep.losses")
    assert sentence.startswith("kd, which other_people offers in kdsweep.losses, is ignored")
    assert sentence.endswith("refer to it as good_module:VALUE")


def test_a_name_that_two_packages_offer_is_refused(package):
    package("x = first:VALUE", "package_one")
    package("x = second:VALUE", "package_two")
    with pytest.raises(InputError, match=r"the loss 'x' is offered by package_\w+ \(as \w+:VALUE\) and package_"):
        find_object("x", OURS, "kdsweep.losses", "loss")


def test_a_network_that_cannot_be_built_names_its_line_and_the_command_that_tries_it(tmp_path, monkeypatch):
    import shlex
    import subprocess
    import sys

    from kdtrain.models import Network, build_network

    (tmp_path / "own_network.py").write_text("def build(num_classes, width):\n    raise KeyError(f'no {width} here')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        InputError, match=r"KeyError: .*no it's here.* at own_network\.py:2; to try it alone: "
    ) as error:
        build_network(Network(arch="own_network:build", options={"width": "it's"}), 3)
    command = shlex.split(str(error.value).partition("to try it alone: ")[2])
    assert command[:2] == ["python", "-c"]
    done = subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert 'KeyError: "no it\'s here"' in done.stderr
