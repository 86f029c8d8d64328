"""Trackers hold the same as the ledger, whatever happens to the driver, the trainings and the tracker."""

import threading
import time

import pytest

from kdtrain.errors import InputError
from kdtrain.foreign import references
from sweeps.check import foreign_notice
from sweeps.driver.growth import growth
from sweeps.launch.inline import run_inline
from sweeps.ledger.read_state import read_state
from sweeps.spec.overrides import overridden
from sweeps.spec.spec import parse_spec
from sweeps.store.store import Store
from sweeps.testing import example_events
from sweeps.trackers.feed import Feed
from sweeps.trackers.find import find_trackers, make_feeds, trackers_of
from sweeps.trackers.tracked_run import Held, TrackedRun, keys_after, lacking, tracked_run

SMALL = {"studies": ["none", "kd"], "budget": {"trials": 3}, "confirm": {"top": 1, "seeds": 2}}


class Memory:
    """A tracker in memory, which outlives the drivers of a test and refuses what a real one would store twice."""

    def __init__(self):
        self.runs, self.calls, self.closed, self.away = {}, [], 0, False

    def held(self):
        self._answer("held")
        return {
            key: Held(max(run["epochs"], default=0), run["state"], run["summary"]) for key, run in self.runs.items()
        }

    def start(self, run):
        self._answer("start", run)
        kept = self.runs.setdefault(run.id, {"epochs": {}, "summary": {}, "starts": 0, "reason": ""})
        kept |= {"run": run, "state": "running", "starts": kept["starts"] + 1}

    def log(self, run, epochs):
        self._answer("log", run)
        for epoch in epochs:
            assert epoch.number not in self.runs[run.id]["epochs"], "an epoch comes twice"
            self.runs[run.id]["epochs"][epoch.number] = epoch

    def summarize(self, run):
        self._answer("summarize", run)
        self.runs[run.id]["summary"] = run.summary

    def end(self, run):
        self._answer("end", run)
        self.runs[run.id] |= {"state": run.state, "reason": run.reason}

    def close(self):
        self.closed += 1

    def _answer(self, name, run=None):
        self.calls.append((name, None if run is None else run.name))
        if self.away:
            raise ConnectionError("no route to user:secret@host, token=abcdefgh")


def feed_to(memory, spec, notices=None, **options):
    told = [] if notices is None else notices
    return Feed("memory", lambda sweep: memory, spec, None, told.append, **{"retry_s": 0.02, **options})


def assert_same(memory, folder):
    """The runs of a tracker are the trials of the ledger, each epoch once."""
    trials = read_state(folder).state.trials
    runs = {run["run"].name: run for run in memory.runs.values()}
    assert {name: run["state"] for name, run in runs.items()} == {
        trial.id: str(trial.state) for trial in trials.values()
    }
    for trial in trials.values():
        assert list(runs[trial.id]["epochs"]) == list(trial.reports)
        assert runs[trial.id]["run"].params == trial.params
        values = {number: epoch.values["miou"] for number, epoch in runs[trial.id]["epochs"].items()}
        assert values == {number: report.metrics["miou"] for number, report in trial.reports.items()}


def sweep_once(fake, spec, folder, memory, train=None, notices=None, ends=True):
    feed = feed_to(memory, spec, notices)
    try:
        with fake.open_driver(spec, folder, watchers=[feed]) as driver:
            run_inline(driver, train or fake.FakeTrain())
    finally:
        if ends:
            feed.close()
    return feed


def test_every_trial_is_a_run_with_each_epoch_once(fake, tmp_path):
    memory, spec = Memory(), fake.make_spec(**SMALL)
    sweep_once(fake, spec, tmp_path, memory)
    assert_same(memory, tmp_path)
    assert memory.closed == 1
    assert {run["starts"] for run in memory.runs.values()} == {1}
    assert {run["run"].study for run in memory.runs.values()} == {"none", "kd"}


def test_a_finished_sweep_that_is_opened_again_sends_nothing(fake, tmp_path):
    memory, spec = Memory(), fake.make_spec(**SMALL)
    sweep_once(fake, spec, tmp_path, memory)
    memory.calls.clear()
    sweep_once(fake, spec, tmp_path, memory)
    assert memory.calls == [("held", None)]


def test_the_winner_shows_mean_and_deviation_of_its_fresh_seeds(fake, tmp_path):
    memory, spec = Memory(), fake.make_spec(**SMALL)
    sweep_once(fake, spec, tmp_path, memory)
    state = read_state(tmp_path).state
    winners = [run for run in memory.runs.values() if run["summary"].get("winner")]
    assert len(winners) == 1
    (winner,) = winners
    fresh = [trial.score for trial in state.trials.values() if trial.candidate_of == winner["run"].name]
    mean = sum(fresh) / 2
    assert len(fresh) == 2
    assert winner["summary"]["fresh/mean"] == pytest.approx(mean)
    assert winner["summary"]["fresh/sd"] == pytest.approx(abs(fresh[0] - fresh[1]) / 2**0.5)
    assert winner["summary"]["fresh/seeds"] == 2
    others = [run["summary"] for run in memory.runs.values() if run is not winner and "fresh/mean" in run["summary"]]
    assert [summary["winner"] for summary in others] == [0.0]


@pytest.mark.parametrize("epoch", [1, 4])
def test_a_killed_driver_loses_no_epoch_and_sends_none_twice(fake, tmp_path, epoch):
    memory, spec, left = Memory(), fake.make_spec(**SMALL), [5]

    def kill(config, number):
        left[0] -= number == epoch
        if not left[0]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep_once(fake, spec, tmp_path, memory, fake.FakeTrain(before=kill), ends=False)
    sweep_once(fake, spec, tmp_path, memory)
    assert_same(memory, tmp_path)


def test_epochs_that_only_the_ledger_has_are_sent_by_the_next_driver(fake, tmp_path):
    spec = fake.make_spec(**SMALL)
    with fake.open_driver(spec, tmp_path) as driver:
        run_inline(driver, fake.FakeTrain())
    memory = Memory()
    sweep_once(fake, spec, tmp_path, memory)
    assert_same(memory, tmp_path)


def test_a_retry_goes_on_in_the_same_run_and_a_failure_has_a_state(fake, tmp_path):
    memory, spec, crashes = Memory(), fake.make_spec(**SMALL, retries=1), []

    def crash(config, number):
        if number == 3 and len(crashes) < 3:
            crashes.append(number)
            raise RuntimeError("password=hunter2 does not fit")

    sweep_once(fake, spec, tmp_path, memory, fake.FakeTrain(before=crash))
    assert_same(memory, tmp_path)
    failed = [run for run in memory.runs.values() if run["state"] == "failed"]
    assert failed
    assert all("hunter2" not in run["reason"] and run["reason"] for run in failed)


def test_an_interrupted_run_is_ended_and_opened_again(fake, tmp_path):
    memory, spec = Memory(), fake.make_spec(**SMALL)
    feed = feed_to(memory, spec)
    with fake.open_driver(spec, tmp_path, watchers=[feed]) as driver:
        trial = driver.next()
        driver.started(trial.id)
        feed.close()
    assert [run["state"] for run in memory.runs.values()] == ["interrupted"]
    sweep_once(fake, spec, tmp_path, memory)
    assert_same(memory, tmp_path)
    assert memory.runs[next(iter(memory.runs))]["starts"] == 2


def test_every_kind_of_event_passes(monkeypatch):
    monkeypatch.setattr("sweeps.trackers.feed.winner_of", lambda spec, state: "none-0")
    from sweeps.ledger.record import Record
    from sweeps.ledger.state import SweepState

    memory, notices, state = Memory(), [], SweepState()
    spec = parse_spec(next(example_events()).spec)
    feed = feed_to(memory, spec, notices)
    for number, event in enumerate(example_events(), start=1):
        state.apply(Record(number, "2026-01-01T12:00:00+00:00", event.kind, event.to_json()))
        feed(event, state)
    feed.close()
    assert notices == []
    states = {run["run"].name: run["state"] for run in memory.runs.values()}
    assert states["none-infeasible-0"] == "infeasible"
    assert states["none-4"] == "complete", "a copied trial"
    assert {states[f"none-{number}"] for number in (1, 2)} == {"complete", "diverged"}


def test_without_a_winner_all_else_is_shown(fake, tmp_path, monkeypatch):
    def fails(spec, state):
        raise KeyError("terms")

    monkeypatch.setattr("sweeps.trackers.feed.winner_of", fails)
    memory, notices, spec = Memory(), [], fake.make_spec(**SMALL)
    sweep_once(fake, spec, tmp_path, memory, notices=notices)
    assert_same(memory, tmp_path)
    assert len(notices) == 1


def test_a_tracker_that_is_away_stops_nothing_and_gets_all_when_it_is_back(fake, tmp_path):
    memory, notices, spec = Memory(), [], fake.make_spec(**SMALL)
    memory.away = True
    feed = feed_to(memory, spec, notices)
    with fake.open_driver(spec, tmp_path, watchers=[feed]) as driver:
        run_inline(driver, fake.FakeTrain())
        assert driver.state.finished
    time.sleep(0.1)
    memory.away = False
    deadline = time.monotonic() + 60
    while not memory.runs and time.monotonic() < deadline:
        time.sleep(0.01)
    feed.close()
    assert_same(memory, tmp_path)
    (notice,) = notices
    assert "the tracker memory failed (ConnectionError" in notice
    assert "abcdefgh" not in notice


def test_a_tracker_that_hangs_costs_a_bounded_wait(fake, tmp_path):
    memory, notices, spec = Memory(), [], fake.make_spec(**SMALL)
    hanging = threading.Event()
    memory.log = lambda run, epochs: hanging.wait(60)
    feed = feed_to(memory, spec, notices, close_s=0.2)
    with fake.open_driver(spec, tmp_path, watchers=[feed]) as driver:
        run_inline(driver, fake.FakeTrain())
    begun = time.monotonic()
    feed.close()
    assert time.monotonic() - begun < 5
    assert "the tracker memory has not taken all runs" in notices[0]
    hanging.set()


def test_one_run_that_a_tracker_refuses_holds_no_other_up(fake, tmp_path):
    memory, notices, spec = Memory(), [], fake.make_spec(**SMALL)
    start = memory.start

    def choosy(run):
        if run.name == "none-0":
            raise ValueError("not this one")
        start(run)

    memory.start = choosy
    sweep_once(fake, spec, tmp_path, memory, notices=notices)
    names = {run["run"].name for run in memory.runs.values()}
    assert names == set(read_state(tmp_path).state.trials) - {"none-0"}
    assert len(notices) == 2


@pytest.mark.parametrize(
    ("held", "starts", "epochs", "ends"),
    [
        (None, True, [1, 2, 3], True),
        (Held(2), False, [3], True),
        (Held(3, "failed"), True, [], True),
        (Held(2, "interrupted"), True, [3], True),
        (Held(3, "complete"), False, [], False),
    ],
)
def test_what_is_lacking(fake, held, starts, epochs, ends):
    from datetime import UTC, datetime

    from sweeps.testing import _report

    reports = {number: _report(number, 0.1 * number) for number in (1, 2, 3)}
    run = TrackedRun("a-1", "a", "s", "search", {}, {}, datetime(2026, 1, 1, tzinfo=UTC), "complete", reports)
    todo = lacking(run, held)
    assert (todo.starts, [epoch.number for epoch in todo.epochs], todo.ends) == (starts, epochs, ends)


def test_no_secret_reaches_a_tracker():
    from sweeps.ledger import sweep_events, trial_events
    from sweeps.ledger.record import Record
    from sweeps.ledger.state import SweepState

    begun = next(example_events())
    params = {"student.options.api_key": "0123456789", "student.options.url": "https://user:hunter2@host/x"}
    event = trial_events.Infeasible("none", params, "no answer of https://user:hunter2@host\nTraceback")
    events = (begun, sweep_events.SessionBegun({"environment_id": "e1"}), event)
    at = "2026-01-01T12:00:00+00:00"
    state = SweepState.of(Record(n, at, each.kind, each.to_json()) for n, each in enumerate(events, start=1))
    (key,) = keys_after(event, state)
    run = tracked_run(parse_spec(begun.spec), state, key)
    assert run.params == {"student.options.api_key": "***", "student.options.url": "https://***@host/x"}
    assert run.reason == "no answer of https://***@host"


def test_code_that_a_tracker_names_needs_trust():
    assert references({"trackers": [{"their_tracker:Theirs": {"loud": True}}, "m:make"]}) == (
        "their_tracker:Theirs",
        "m:make",
    )


def test_short_forms_and_paths_of_a_spec(fake):
    spec = fake.make_spec(trackers=["tensorboard", {"mlflow": {"uri": "http://127.0.0.1:5000"}}])
    assert [tracker.name for tracker in spec.trackers] == ["tensorboard", "mlflow"]
    assert spec.trackers[1].options == {"uri": "http://127.0.0.1:5000"}
    assert fake.make_spec(trackers="wandb").trackers == fake.make_spec(trackers=[{"wandb": None}]).trackers
    changed = overridden(fake.content(trackers=["wandb"]), {"trackers.wandb.options.mode": "offline"})
    assert parse_spec(changed).trackers[0].options == {"mode": "offline"}
    changed = overridden(fake.content(trackers=[{"mlflow": {"uri": "a"}}]), {"trackers.mlflow.options.uri": "b"})
    assert parse_spec(changed).trackers[0].options == {"uri": "b"}


def test_trackers_may_change_in_a_sweep_that_was_begun(fake):
    before = fake.make_spec(**SMALL).model_dump(mode="json")
    after = fake.make_spec(**SMALL, trackers=["tensorboard"])
    assert [change.partition(":")[0] for change in growth(before, after, "D")] == ["trackers"]
    del before["trackers"]  # a ledger of a version without trackers
    assert growth(before, fake.make_spec(**SMALL), "D") == []


@pytest.mark.parametrize("options", [{"uri": "https://user:hunter2@host/"}, {"api_key": "0123456789"}])
def test_a_secret_in_a_spec_is_refused_and_not_shown(fake, options):
    with pytest.raises(InputError, match=r"trackers\.mlflow\.\w+: must hold no key, token or password") as caught:
        fake.make_spec(trackers=[{"mlflow": options}])
    assert "hunter2" not in str(caught.value)
    assert "0123456789" not in str(caught.value)


def test_the_environment_adds_trackers(fake, monkeypatch):
    spec = fake.make_spec(trackers=["optuna"])
    monkeypatch.setenv("KDSWEEP_TRACKERS", "optuna, tensorboard")
    assert [tracker.name for tracker in trackers_of(spec)] == ["optuna", "tensorboard"]
    monkeypatch.setenv("KDSWEEP_TRACKERS", "[{mlflow: {uri: 'https://user:secret@host/'}}]")
    assert trackers_of(spec)[1].options == {"uri": "https://user:secret@host/"}
    monkeypatch.setenv("KDSWEEP_TRACKERS", "[3]")
    with pytest.raises(InputError, match="KDSWEEP_TRACKERS: must be a list as in a spec"):
        trackers_of(spec)


@pytest.mark.parametrize(
    ("tracker", "message"),
    [
        ("tensorbord", "unknown tracker 'tensorbord'.*tensorboard"),
        ({"tensorboard": {"foldr": "x"}}, r"tensorboard does not take these options \(.*'foldr'"),
        ("no_such_module:make", "a module must be installed"),
        ("sweeps.trackers.find:FOLDER", "must be a class or function"),
    ],
)
def test_a_wrong_tracker_is_one_sentence(fake, tracker, message):
    with pytest.raises(InputError, match=message) as caught:
        find_trackers(fake.make_spec(trackers=[tracker]))
    assert "\n" not in str(caught.value)


def test_a_library_that_is_not_installed_is_named(fake, monkeypatch):
    monkeypatch.setattr("analysis.extras.find_spec", lambda name: None)
    with pytest.raises(
        InputError,
        match=r"the packages tensorboard, tensorboardX, .*pip install 'kdsweep\[tensorboard\]'",
    ):
        find_trackers(fake.make_spec(trackers=["tensorboard"]))


THEIRS = """
class Theirs:
    def __init__(self, sweep, loud=False):
        self.sweep = sweep
"""


@pytest.mark.parametrize("form", ["their_tracker:Theirs", {"their_tracker:Theirs": {"loud": True}}])
def test_a_tracker_of_other_people_is_named_before_anything_runs(fake, tmp_path, monkeypatch, form):
    (tmp_path / "their_tracker.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path)
    spec = fake.make_spec(**SMALL, trackers=[form])
    find_trackers(spec)
    assert "their_tracker" in foreign_notice()
    assert len(make_feeds(spec, Store(tmp_path), print)) == 1
