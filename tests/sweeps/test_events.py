"""Records of the ledger as typed events."""

import json
from dataclasses import fields, replace
from typing import get_args

import pytest

from analysis.tables import states
from kdtrain.errors import InputError
from kdtrain.loop.reports import EpochReport
from sweeps.ledger import ledger as ledger_module
from sweeps.ledger import sweep_events, trial_events
from sweeps.ledger.event_reader import parse_event
from sweeps.ledger.events import Event
from sweeps.ledger.ledger import Ledger, Record, read
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_state import Phase, TrialState
from sweeps.outcome.loaded import load_state

CONFIG = sweep_events.FrozenConfig("kd", "kd-1", "abc")
OUTCOME = trial_events.TrialOutcome(2, 2.0, 0.5, {"params": 1}, {"role": "select"})
FOREIGN = {"losses": {"my_loss:Cosine": {"needs_teacher": True}}}
EXAMPLES = [
    sweep_events.SweepBegun(
        "s-1",
        "0.1.0",
        {"units": "pull", "ranges": "wide"},
        {"name": "d", "classes": ["a"], "palette": ["#000000"]},
        FOREIGN,
    ),
    sweep_events.SessionBegun({"environment_id": "e"}, {"line": "kdsweep run s.yaml", "folder": "/", "sweep": "/D"}),
    sweep_events.CodeKnown("c0de", {"training": {"kdtrain.loop.trainer": "1"}}),
    sweep_events.Grown({"units": "pull", "ranges": "wide"}, ["budget.trials: 2 -> 5"], foreign=FOREIGN),
    sweep_events.TeacherKnown("f", "big", "FPN", None, 1, 2, "d", 0.5, "select", 3.0, "given", [0.5, None], None),
    sweep_events.PullsMeasured({"epochs": 2}, "abc", [1], [2.0], [{"options": {"loss": "csc"}, "lengths": [4.0]}]),
    sweep_events.StudentMeasured({"arch": "FPN"}, "FPN", {"params": 5}),
    trial_events.Proposed("kd-0", "kd", 0, Phase.FINAL, "kd-1", 7, {"lr": 0.1}, {"epochs": 2}, "abc", 2),
    trial_events.Infeasible("kd", {"lr": 0.1}, "stop must come after warmup", 2),
    trial_events.Started("kd-0", "c0de", 0.25),
    trial_events.Located("kd-0", "e", "here", {"environment_id": "e"}),
    trial_events.Reused("kd-0", "kd-1"),
    trial_events.EpochReported("kd-0", EpochReport(1, 2, {"miou": 0.5}, {"ce": {"raw": 1.0}}, 0.1, {"total": 1.0}, 8)),
    trial_events.Promoted("kd-0", 1, 1, 0.5, 3, 1),
    trial_events.Stopped("kd-0", 1, 1, 0.5, 3, 1, "its best value is low"),
    trial_events.Ended("kd-0", TrialState.COMPLETE, None, OUTCOME),
    trial_events.Ended("kd-0", TrialState.FAILED, "RuntimeError: x\nTraceback", failure="lost"),
    trial_events.Retried("kd-0", "MemoryError", "out_of_memory", 1.0),
    trial_events.AttemptInterrupted("kd-0"),
    sweep_events.DriverStopped("SIGTERM"),
    sweep_events.Exhausted("kd", "every config of its space was tried", 2),
    sweep_events.Aborted("all failed"),
    sweep_events.Note("text"),
    sweep_events.Frozen(CONFIG, None, (CONFIG,), "the best", (9, 10), "test", 12),
    trial_events.TestRead("kd-0", "d1", 4),
    sweep_events.Looked(5, 12, False, "kd is separated from the baseline none", [{"study": "kd", "word": "separated"}]),
    sweep_events.Finished(),
]


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_an_event_survives_its_record(event):
    content = json.loads(json.dumps(event.to_json()))
    assert list(content) == [each.name for each in fields(event)]
    assert parse_event(1, event.kind, content) == event


@pytest.mark.parametrize("event", [each for each in EXAMPLES if hasattr(each, "search")])
def test_a_record_of_a_first_search_is_what_it_was_before_studies_had_several(event):
    content = replace(event, search=1).to_json()
    assert "search" not in content
    assert parse_event(1, event.kind, content).search == 1


def test_there_is_an_example_of_every_event_and_no_kind_is_used_twice():
    kinds = [event.kind for event in get_args(Event)]
    assert {type(event) for event in EXAMPLES} == set(get_args(Event))
    assert len(set(kinds)) == len(kinds)


def ledger_of(folder, kind, data):
    """A ledger with one record, whoever wrote it."""
    path = folder / "ledger" / "000000001.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(Record(1, "2026-01-01T12:00:00+00:00", kind, data).line())
    return folder


ENDED = {"trial": "a", "state": "complete", "reason": None, "result": {}}


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("paused", {}, r"record 1 has the kind 'paused', which a later version of kdsweep wrote; install that version"),
        ("started", {"trial": "a", "why": 1}, r"record 1 of kind started has the field 'why', which a later version"),
        ("reused", {"trial": "a"}, r"record 1 of kind reused has no field 'source'; put back the ledger from a copy"),
        (
            "ended",
            {**ENDED, "state": "asleep"},
            r"'asleep' is not a valid TrialState",
        ),
        (
            "ended",
            {**ENDED, "result": {"joules": 1}},
            "joules.*later version",
        ),
        ("report", {"trial": "a", "report": {"epoch": 1, "joules": 1}}, r"kind report does not read .*later version"),
    ],
)
def test_a_record_of_a_later_version_is_refused_in_one_sentence(tmp_path, kind, data, message):
    folder = ledger_of(tmp_path, kind, data)
    with pytest.raises(InputError, match=message) as refusal:
        load_state(folder)
    assert "\n" not in str(refusal.value)
    assert len(read(folder)) == 1, "the ledger itself is whole, so that nothing is cut off or repaired"


def test_records_of_old_versions_get_the_defaults_of_their_age():
    retried = parse_event(1, "retried", {"trial": "a", "reason": "RuntimeError: x"})
    assert (retried.failure, retried.gpu) == ("error", None)
    plain = {"epoch": 1, "epochs": 2, "metrics": {}, "losses": {}, "lr": 0.1, "seconds": {}, "images": 8}
    assert parse_event(1, "report", {"trial": "a", "report": plain}).report.peak_memory_bytes is None
    read_test = parse_event(1, "report_read", {"trial": "a", "digest": "d", "images": 4})
    assert read_test == trial_events.TestRead("a", "d", 4)


@pytest.mark.parametrize("kind", ["sweep", "grown"])
def test_a_spec_of_an_old_version_has_the_names_of_today(kind):
    example = next(event for event in EXAMPLES if event.kind == kind)
    spec = {"name": "old", "confirm": {"top": 1, "report_seeds": 5}}
    event = parse_event(1, kind, {**example.to_json(), "spec": spec})
    assert event.spec == {"name": "old", "confirm": {"top": 1, "final_seeds": 5}, "units": "weight", "ranges": "narrow"}


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_only_what_a_trial_reports_again_waits_for_the_disk(event, tmp_path, monkeypatch):
    """A crash may lose what waits: never a proposal, a decision to stop, a failure or a result."""
    monkeypatch.setattr(ledger_module, "_WAIT_S", 3600.0)
    ledger = Ledger(tmp_path)
    ledger.append(sweep_events.Note("just now"))
    ledger.append(event)
    is_written = len(read(tmp_path)) == 2
    ledger.close()
    reported_again = (trial_events.EpochReported, trial_events.Started, trial_events.Promoted, trial_events.Located)
    assert is_written != isinstance(event, reported_again)
    assert len(read(tmp_path)) == 2


def test_the_state_of_a_running_driver_is_that_of_its_files(fake, tmp_path):
    """Numbers that are not finite are written as null, so the driver must see them so, too."""
    with fake.open_driver(fake.make_spec(studies=["none"]), tmp_path) as driver:
        trial = driver.next()
        driver.started(trial.id)
        driver.report(trial.id, EpochReport(1, 6, {"miou": float("nan")}, {}, 0.1, {"total": 1.0}, 8))
        assert trial.curve == {}
        driver.close()
        assert SweepState.of(read(tmp_path)) == driver.state


def test_the_tables_have_the_states_and_phases_of_the_ledger():
    assert [state.value for state in TrialState] == [state.value for state in states.State]
    assert [phase.value for phase in Phase] == [phase.value for phase in states.Phase]
    assert {state.value for state in TrialState if state.is_over} == set(states.ENDED)
    assert all(state.is_over != state.is_unfinished for state in TrialState)


def test_a_record_is_appended_as_its_event(tmp_path):
    ledger = Ledger(tmp_path)
    record = ledger.append(trial_events.Started("kd-0"))
    ledger.close()
    assert (record.kind, record.data) == ("started", {"trial": "kd-0", "code": None})
    assert record.event == trial_events.Started("kd-0")
    assert read(tmp_path) == [record]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (["started"], {"trial": "kd-0"}),
        ("started", None),
        ("started", ["kd-0"]),
        ("started", {"trial": "nobody"}),
        ("started", {"trial": ["kd-0"]}),
        ("session", {"environment": None}),
        ("located", {"trial": "nobody", "environment_id": [1], "node": None, "environment": "x"}),
        ("report", {"trial": "nobody", "report": {"epoch": "x"}}),
        ("proposed", dict.fromkeys(("id", "study", "number", "candidate_of", "seed", "params", "config"), 1)),
    ],
)
def test_a_record_with_values_of_wrong_types_is_one_sentence(kind, data):
    with pytest.raises(InputError, match=r"^ledger: record 1 .*put back the ledger from a copy$") as caught:
        SweepState.of([Record(1, "2026-01-01T00:00:00+00:00", kind, data)])
    assert "\n" not in str(caught.value)
