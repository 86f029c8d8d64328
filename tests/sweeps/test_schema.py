"""The JSON schema and the reference of a spec are current, take every shipped spec, and refuse what no spec has."""

import json
from pathlib import Path

import pytest
from called_command import called
from jsonschema import Draft202012Validator

from sweeps.spec.reference import files
from sweeps.spec.schema import spec_schema
from sweeps.spec.spec import load_spec
from sweeps.spec.strict_yaml import parse_yaml, read_mapping

ROOT = Path(__file__).parents[2]
SPECS = sorted((ROOT / "sweeps/specs").rglob("*.yaml"))
MINE = """
name: mine
data: {name: streets}
teacher: {fit: {network: {arch: FPN}, epochs: 4}}
train: {epochs: 2, optimizer: {lr: 0.1}}
space: {optimizer.lr: [0.1, 0.2]}
studies:
  - none
  - {method: cwd, set: {terms.channel_wise.temperature: 4}}
  - {name: own, terms: [{loss: cross_entropy}, {loss: pixel_kd, weight: 2}]}
scheduler: {name: median}
watchers: live_page
budget: {trials: 2}
"""


@pytest.fixture(scope="module")
def validator():
    schema = spec_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def as_json(content):
    return json.loads(json.dumps(content))


def test_the_files_in_docs_are_current():
    for name, text in files().items():
        assert (ROOT / "docs" / name).read_text() == text, "run: python -m sweeps.spec.reference docs"


@pytest.mark.parametrize("file", SPECS, ids=lambda file: file.stem)
def test_every_shipped_spec_is_valid_as_written_and_as_a_sweep_keeps_it(file, validator):
    assert not list(validator.iter_errors(as_json(read_mapping(file))))
    kept = load_spec(file).model_dump(mode="json")
    assert not [error.json_path for error in validator.iter_errors(kept)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"studies": ["none", "my_kd:KD", {"method": "kd", "space": "default"}]},
        {"data": {"name": "my_data:Mine", "anything": 3}},
        {"warm_start": ["runs/a"], "notes": "a remark", "scheduler": {"grace": 2}},
        {"confirm": {"top": 1, "seeds": [3, 8], "until": "decided", "report_seeds": 4}},
        {
            "studies": [
                {
                    "name": "a",
                    "terms": [{"loss": "my:Loss", "power": 2}, {"loss": "pairwise", "student_layer": ["aux"]}],
                }
            ]
        },
    ],
)
def test_what_a_spec_may_say(changes, validator):
    assert not list(validator.iter_errors({**as_json(parse_yaml(MINE, "spec")), **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"nme": "mine"},
        {"data": {"name": "streets", "sizes": [1, 2]}},
        {
            "data": {
                "name": "folder",
                "classes": ["a", "b"],
                "folders": {"train": {"images": "a", "labels": "b", "suffix": ""}},
            }
        },
        {"student": {"encodr": "resnet18"}},
        {"teacher": {"fit": {"epochs": 3}}},
        {"teacher": {"fit": {"network": {}, "epoch": 3}}},
        {"train": {"epochs": 0}},
        {"train": {"optimizer": {"rate": 1}}},
        {"train": {"seed": 1}},
        {"space": {"optimizer.lr": {"low": 1}}},
        {"studies": [{"name": "a"}]},
        {"studies": [{"method": "kd", "sets": {}}]},
        {"studies": [{"name": "a", "terms": [{"loss": "pixel_kd", "temprature": 2}]}]},
        {"scheduler": {"name": "halving", "rivals": 3}},
        {"budget": {"trials": "many"}},
    ],
)
def test_what_no_spec_may_say(changes, validator):
    assert list(validator.iter_errors({**as_json(parse_yaml(MINE, "spec")), **changes}))


def test_the_reference_has_every_field_with_a_sentence_for_those_that_have_one(validator):
    page = files()["spec-reference.md"]
    for model in (validator.schema, *validator.schema["$defs"].values()):
        for name, field in model.get("properties", {}).items():
            assert f"| `{name}` |" in page or set(model["properties"]) <= {"name", "loss"}
            assert field.get("description", "").replace("|", "\\|") in page


def test_the_command_writes_it(tmp_path, monkeypatch, capsys):
    code, out, _ = called(monkeypatch, capsys, "schema", "--out", tmp_path / "spec.json")
    assert code == 0
    assert f"$schema={tmp_path / 'spec.json'}" in out
    assert json.loads((tmp_path / "spec.json").read_text()) == spec_schema()
