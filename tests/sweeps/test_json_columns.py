"""What `analysis` reads from the columns that hold JSON is what `sweeps` writes into them."""

import json
from pathlib import Path

import pytest

import analysis
from analysis import read_tables
from analysis.conditions.hardware import software
from analysis.tables.domains import Choices, Range
from analysis.tables.json_columns import (
    ConfigId,
    SpecField,
    read_config,
    read_defaults,
    read_frozen_selection,
    read_levels,
    read_parts,
    read_spaces,
    read_spec,
    read_value,
)
from analysis.tables.states import Phase, Role, State
from kdtrain import Machine
from kdtrain.data import ROLES
from sweeps.ledger.environment import describe_environment
from sweeps.ledger.trial_state import Phase as TrialPhase
from sweeps.ledger.trial_state import TrialState
from sweeps.outcome.freeze import freeze
from sweeps.outcome.loaded import load_state
from sweeps.outcome.tabulate import write_tables
from sweeps.store.store import Store

SHARED = {
    "optimizer.lr": {"low": 0.001, "high": 0.1, "log": True},
    "optimizer.momentum": {"low": 0.5, "high": 0.95},
    "schedule.name": ["poly", "cosine"],
    "clip_norm": [None, 1.0],
    "terms.cross_entropy.align_corners": [True, False],
}
BATCH_SIZE = {"low": 2, "high": 8, "log": True, "integer": True}
TERMS = [{"loss": "cross_entropy"}, {"loss": "pixel_kd", "temperature": 2.0}]
STUDIES = [
    "none",
    {"name": "kd", "method": "kd", "set": {"terms.pixel_kd.weight": 2.0}},
    {
        "name": "written_out",
        "terms": [{"loss": "cross_entropy"}, {"loss": "pixel_kd", "temperature": 2.0}],
        "space": {},
    },
    {
        "name": "own_space",
        "method": "cwd",
        "space": {"batch_size": {"low": 2, "high": 8, "log": True, "integer": True}},
    },
]
CELLS = [
    {"study": "kd", "role": "reference", "levels": {"kd": "on"}},
    {"study": "none", "factor": "kd", "level": "off", "levels": {"kd": "off"}},
]


@pytest.fixture
def sweep(fake, tmp_path):
    """A sweep whose spec has every kind of domain and every form of a study, frozen: tables, spec, state, record."""
    changes = {"smallest_effect": 0.5, "cells": CELLS, "budget": {"trials": 2}, "confirm": {"top": 1, "seeds": 1}}
    fake.run(fake.make_spec(studies=STUDIES, space=SHARED, **changes), tmp_path)
    record = freeze(Store(tmp_path))
    write_tables(tmp_path)
    spec, state = load_state(Store(tmp_path))
    return read_tables(tmp_path), spec, state, record


def test_spaces_are_read_as_they_are_searched(sweep):
    tables, spec, *_ = sweep
    spaces = read_spaces(tables)
    shared = {
        "optimizer.lr": Range(0.001, 0.1, log=True),
        "optimizer.momentum": Range(0.5, 0.95),
        "schedule.name": Choices(("poly", "cosine")),
        "clip_norm": Choices((None, 1.0)),
        "terms.cross_entropy.align_corners": Choices((True, False)),
    }
    assert spaces["none"] == spaces["written_out"] == shared
    assert spaces["own_space"] == {**shared, "batch_size": Range(2, 8, log=True, integer=True)}
    assert spaces["kd"].keys() == spec.space_of(spec.study("kd")).keys() > shared.keys()
    assert read_spec(tables["sweeps"]["spec_json"].iloc[0]).shared_space == shared


def test_published_values_are_read_as_they_are_published(sweep):
    tables, spec, *_ = sweep
    for study in spec.studies:
        assert read_defaults(tables, study.name) == spec.defaults(study)
    assert read_defaults(tables, "none")["schedule.name"] == "poly"


def test_a_spec_is_read_as_it_was_written(sweep):
    tables, spec, *_ = sweep
    view, written = read_spec(tables["sweeps"]["spec_json"].iloc[0]), spec.model_dump(mode="json")
    assert view.smallest_effect == 0.005
    assert set(SpecField) <= written.keys()
    assert {field: view.fields[field] for field in SpecField if field != "confirm"} == {
        field: written[field] for field in SpecField if field != "confirm"
    }
    assert (view.fields[SpecField.CONFIRM]["seeds"], view.fields[SpecField.CONFIRM]["final_seeds"]) == (1, 8)


def test_the_words_of_a_ledger_are_those_of_the_tables():
    assert [state.value for state in State] == [state.value for state in TrialState]
    assert [phase.value for phase in Phase] == [phase.value for phase in TrialPhase]
    assert tuple(Role) == ROLES


def test_an_earlier_name_in_a_frozen_selection_is_read_as_that_of_today(sweep):
    tables, *_ = sweep
    frozen = read_frozen_selection(tables)
    earlier = json.loads(tables["sweeps"]["frozen_json"].iloc[0]) | {"role": "report"}
    tables["sweeps"]["frozen_json"] = json.dumps(earlier)
    assert read_frozen_selection(tables) == frozen


def test_an_earlier_name_in_a_spec_is_no_difference():
    earlier, later = (
        read_spec(json.dumps({"confirm": {"top": 1, name: 4}})) for name in ("report_seeds", "final_seeds")
    )
    assert earlier == later


def test_the_frozen_selection_is_read_as_it_was_recorded(sweep):
    tables, _, state, record = sweep
    frozen = read_frozen_selection(tables)
    for of in ("chosen", "baseline"):
        assert getattr(frozen, of) == ConfigId(getattr(record, of).study, getattr(record, of).config_id)
    assert (frozen.why, list(frozen.seeds), frozen.role) == (record.why, list(record.seeds), "test")
    assert frozen.at == state.frozen_by.at


def test_configs_and_values_are_read_as_they_were_trained(sweep):
    tables, spec, state, _ = sweep
    for trial_id, text in zip(tables["trials"]["trial_id"], tables["trials"]["config_json"], strict=True):
        config = read_config(text)
        assert config.content == state.trials[trial_id].config
        assert config.uses_teacher == (state.trials[trial_id].study != "none")
    params = tables["params"]
    assert all(
        read_value(text) == (state.trials[trial_id].params if role == "nuisance" else spec.study(study).set)[name]
        for trial_id, name, text, role, study in zip(
            params["trial_id"],
            params["name"],
            params["value_json"],
            params["role"],
            params["trial_id"].map(tables["trials"].set_index("trial_id")["study"]),
            strict=True,
        )
    )


def test_seconds_levels_and_versions_are_read_as_they_were_recorded(sweep):
    tables, spec, *_ = sweep
    assert read_parts(tables["trials"])["total"].tolist() == tables["trials"]["epochs_run"].tolist()
    assert list(map(read_levels, tables["cells"]["levels_json"])) == [cell.levels for cell in spec.cells]
    recorded = software(describe_environment(Machine()))
    assert recorded.keys() >= {"python", "torch", "numpy", "timm", "segmentation-models-pytorch", "torchvision"}


def test_no_other_file_of_analysis_reads_the_json_of_tables():
    root = Path(analysis.__file__).parent
    readers = {path.relative_to(root).as_posix() for path in root.rglob("*.py") if "json.loads" in path.read_text()}
    assert readers == {"tables/json_columns.py", "report/sections/predictions.py"}
