"""Which third-party code is imported because a file names it."""

import json

import pytest

from kdtrain import InputError, TrainConfig
from kdtrain.foreign import Trust, find_object, load_foreign, references, require_trust, trust_setting, trusting
from kdtrain.methods import find_term, get_method
from kdtrain.models import Network, build_network
from kdtrain.teacher import parse_card

NOTHING = Trust(frozenset())
CARD = {"classes": ["a", "b"], "trained_on": "x", "weights_sha256": "0", "params": 1}


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "stranger.py").write_text("from pathlib import Path\nPath(__file__ + '.ran').touch()\nVALUE = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "stranger.py.ran"


def test_a_program_that_calls_us_trusts_what_it_hands_in(module):
    assert load_foreign("stranger:VALUE") == 7


@pytest.mark.parametrize("reference", ["stranger:VALUE", "torch.hub:load", "os:system", "builtins:eval"])
def test_nothing_is_imported_without_trust_not_even_what_is_loaded_already(module, reference):
    with trusting(NOTHING), pytest.raises(InputError, match=rf"names {reference}, .*--trust, or with KDSWEEP_TRUST="):
        load_foreign(reference)
    assert not module.exists()


def test_a_trusted_module_covers_the_modules_below_it_and_no_others():
    trust = Trust(frozenset({"torch.nn", "my_loss"}))
    assert trust.covers("torch.nn")
    assert trust.covers("torch.nn.functional")
    assert not any(map(trust.covers, ("torch", "torch.nnx", "torch.hub", "my_loss_2")))


@pytest.mark.parametrize(
    "read",
    [
        lambda: find_term("stranger:VALUE"),
        lambda: get_method("stranger:VALUE"),
        lambda: find_object("stranger:VALUE", {}, "kdsweep.samplers", "sampler"),
        lambda: build_network(Network(arch="stranger:VALUE"), 2),
        lambda: TrainConfig.parse({"student": {"arch": "stranger:VALUE"}}),
        lambda: TrainConfig.parse({"data": {"name": "stranger:VALUE"}}),
        lambda: TrainConfig.parse({"terms": [{"loss": "cross_entropy"}, {"loss": "stranger:VALUE"}]}),
        lambda: parse_card(json.dumps({**CARD, "network": {"arch": "stranger:VALUE"}}).encode(), "model.json"),
        lambda: parse_card(
            json.dumps(
                {**CARD, "network": {"arch": "ensemble", "options": {"members": [{"arch": "stranger:VALUE"}]}}}
            ).encode(),
            "model.json",
        ),
    ],
    ids=["term", "method", "sampler", "network", "student", "data", "loss", "card", "ensemble"],
)
def test_every_place_that_names_code_asks_for_trust(module, read):
    with trusting(NOTHING), pytest.raises(InputError, match="names stranger:VALUE, which is code from outside"):
        read()
    assert not module.exists()


def test_all_references_of_a_spec_are_found():
    spec = {
        "name": "mine",
        "notes": ["see also: nothing", "a:b"],
        "data": {"name": "m:Data", "options": {"text": "a:b"}},
        "student": {"arch": "m:student"},
        "teacher": {"fit": {"network": {"arch": "ensemble", "options": {"members": [{"arch": "m:member"}]}}}},
        "studies": [
            "none",
            "m:METHOD",
            {"method": "m:OTHER", "set": {"student.arch": "m:wide", "terms.x.weight": 1}},
            {"name": "x", "terms": [{"loss": "m:Loss"}], "space": {"student.arch": ["FPN", "m:deep"]}},
            {"name": "y", "space": {"student.arch": {"choices": ["m:tall"]}, "terms.x.layer": ["a:b"]}},
        ],
        "sampler": {"name": "m:Sampler"},
        "watchers": ["live_page", "m:watch", {"name": "m:other_watch"}],
    }
    names = "Data student member METHOD OTHER wide Loss deep tall Sampler watch other_watch"
    assert references(spec) == tuple(f"m:{name}" for name in names.split())


def test_what_is_imported_is_announced_once_before_it_runs(module):
    said = []

    def say(text):
        said.append((text, module.exists()))

    with trusting(Trust(None, say)):
        require_trust(("stranger:VALUE", "torch.hub:load"), "the spec ")
        load_foreign("stranger:VALUE")
    assert said == [("importing third-party code: stranger:VALUE, torch.hub:load", False)]


@pytest.mark.parametrize(
    ("value", "modules"),
    [("", frozenset()), ("0", frozenset()), ("1", None), ("a, b.c", frozenset({"a", "b.c"}))],
)
def test_the_setting_names_modules(monkeypatch, value, modules):
    monkeypatch.setenv("KDSWEEP_TRUST", value)
    assert trust_setting() == modules


@pytest.mark.parametrize("value", ["a;b", "my_loss:Cosine", "./x.py", "a,,b"])
def test_a_wrong_setting_is_refused(monkeypatch, value):
    monkeypatch.setenv("KDSWEEP_TRUST", value)
    with pytest.raises(InputError, match="KDSWEEP_TRUST: must be 1 or modules with commas between them"):
        trust_setting()
