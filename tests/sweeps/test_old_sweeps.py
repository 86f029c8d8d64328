"""Sweeps that version 0.1.0 began, before records were typed and `report` was called `final` or `test`.

`old_sweeps/<name>/` holds the ledger as that version wrote it, `expected.json` what its tables said of it, and
`continued.json` the trials with which that version ended the sweep.
"""

import json
import shutil
from pathlib import Path

import pytest

from kdtrain.loop.evaluation import Evaluation
from sweeps.attempt import attempt
from sweeps.ledger.ledger import read
from sweeps.ledger.state import SweepState
from sweeps.outcome.loaded import load_state
from sweeps.outcome.tabulate import rows, write_tables

OLD = Path(__file__).parent / "old_sweeps"
NEW_NAMES = {"report": "final", "report_read": "test_read"}


@pytest.fixture
def begun(tmp_path):
    """A copy of an old sweep that can be run on."""

    def copied(name):
        return Path(shutil.copytree(OLD / name, tmp_path / name))

    return copied


@pytest.fixture(autouse=True)
def _no_student_is_evaluated(fake, monkeypatch):
    def measure(student, config, role, machine, between):
        selected = fake.evaluation(config)
        return Evaluation(role, "r1", selected.image_ids, selected.groups, selected.classes, selected.confusion)

    monkeypatch.setattr(attempt, "measure", measure)


def without(trial, *keys):
    return {key: value for key, value in trial.items() if key not in keys}


def without_attempts(trials):
    """Trials as the table has them, but for what an interruption changes."""
    return [without(trial, "attempts", "params") for trial in trials]


def in_new_names(trials):
    return [{**trial, "phase": NEW_NAMES.get(trial["phase"], trial["phase"])} for trial in trials]


@pytest.mark.parametrize("name", ["finished", "killed", "frozen"])
def test_the_tables_of_an_old_ledger_say_what_they_said(begun, name):
    expected = json.loads((OLD / name / "expected.json").read_text())
    spec, state = load_state(begun(name))
    tables = rows(state, spec)
    assert state.finished == expected["finished"]
    for row, trial in zip(tables["trials"], in_new_names(expected["trials"]), strict=True):
        assert {key: row[key] for key in trial if key != "params"} == without(trial, "params")
        assert state.trials[row["trial_id"]].params == trial["params"]
    decisions = [[row["kind"], row["trial_id"], row["detail"]] for row in tables["decisions"]]
    assert decisions == [
        [NEW_NAMES.get(kind, kind), trial, NEW_NAMES.get(detail, detail).replace("role report", "role test")]
        for kind, trial, detail in expected["decisions"]
    ]
    evaluations = [{key: row[key] for key in ("trial_id", "role", "miou")} for row in tables["evaluations"]]
    assert evaluations == [{**row, "role": row["role"].replace("report", "test")} for row in expected["evaluations"]]
    assert len(tables["metrics"]["value"]) == expected["metrics"]
    assert len(tables["confusion"]["n"]) == expected["confusion"]


@pytest.mark.parametrize("name", ["finished", "killed", "frozen"])
def test_an_old_ledger_is_not_written_anew(begun, fake, name):
    folder = begun(name)
    before = {path.name: path.read_bytes() for path in (folder / "ledger").glob("*.jsonl")}
    fake.run(load_state(folder)[0], folder)
    assert {name: (folder / "ledger" / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("name", ["killed", "frozen"])
def test_an_old_sweep_goes_on_and_ends_as_it_would_have(begun, fake, name):
    folder = begun(name)
    train = fake.FakeTrain()
    state = fake.run(load_state(folder)[0], folder, train)
    assert state.finished
    spec, state = load_state(folder)
    continued = json.loads((OLD / name / "continued.json").read_text())
    trials = [{key: row[key] for key in continued[0] if key != "params"} for row in rows(state, spec)["trials"]]
    assert without_attempts(trials) == without_attempts(in_new_names(continued))
    write_tables(folder)


def test_an_old_training_goes_on_in_the_middle(begun, fake):
    folder, train = begun("killed"), fake.FakeTrain()
    before = sum(trial.epochs_run for trial in load_state(folder)[1].trials.values())
    state = fake.run(load_state(folder)[0], folder, train)
    assert train.epochs_trained == sum(trial.epochs_run for trial in state.trials.values()) - before


def test_an_old_finished_sweep_runs_nothing_again(begun, fake):
    folder, train = begun("finished"), fake.FakeTrain()
    assert fake.run(load_state(folder)[0], folder, train).finished
    assert train.epochs_trained == 0


def test_an_old_selection_stays_frozen_in_new_names(begun):
    state = SweepState.of(read(begun("frozen")))
    assert (state.frozen.role, state.frozen.chosen.trial, state.frozen.seeds) == ("test", "none-0", (9, 10))
    assert [trial.id for trial in state.of_phase("final")] == ["none-2"]


def test_an_old_sweep_that_grows_knows_its_looks(begun, fake):
    folder = begun("finished")
    spec, _ = load_state(folder)
    found = []
    for seeds in (1, 3, 5):  # it had finished on one seed, which says nothing about a difference
        grown = spec.model_copy(update={"confirm": spec.confirm.model_copy(update={"seeds": seeds})})
        found.append(rows(fake.run(grown, folder), grown)["sweeps"][0]["looks"])
    assert found == [[], [], [3]]
