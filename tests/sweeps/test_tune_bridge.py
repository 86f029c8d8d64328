"""Between Tune and the driver, without a cluster."""

import json

import pytest

from kdtrain.config import Machine
from kdtrain.loop.reports import EpochReport
from sweeps.attempt.signals import StopRequest
from sweeps.launch.tune import TuneBridge, cause_of
from sweeps.ledger.ledger import read
from sweeps.outcome.freeze import freeze
from sweeps.outcome.words import read_words
from sweeps.store.store import Store


def test_after_an_out_of_memory_tune_is_asked_for_a_whole_gpu(fake, tmp_path):
    spec = fake.make_spec(studies=["none"], budget={"trials": 2}, resources={"cpu": 2, "gpu": 0.25})
    with fake.open_driver(spec, tmp_path) as driver:
        bridge = TuneBridge(driver, Machine(), lambda: None, StopRequest(), None)
        assert bridge.propose("first")["resources"] == {"CPU": 2, "GPU": 0.25}
        trial = bridge.trial_of["first"]
        driver.started(trial)
        bridge.lost("first", "Task was killed due to the node running low on memory.")
        assert bridge.propose("again")["resources"] == {"CPU": 2, "GPU": 1}
        assert bridge.trial_of["again"] == trial
        assert bridge.propose("other")["resources"] == {"CPU": 2, "GPU": 0.25}


def test_only_the_trials_of_a_frozen_selection_read_the_role_test(fake, tmp_path):
    def first_assignment():
        with fake.open_driver(spec, tmp_path) as driver:
            bridge = TuneBridge(driver, Machine(), lambda: None, StopRequest(), None)
            proposal = bridge.propose("first")
            return driver.state.trials[bridge.trial_of["first"]].phase, json.loads(proposal["assignment"])["held_out"]

    spec = fake.make_spec(studies=["none"], budget={"trials": 1})
    assert first_assignment() == ("search", False)
    fake.run(spec, tmp_path)
    freeze(Store(tmp_path))
    assert first_assignment() == ("final", True)


def test_a_trial_that_a_rung_stops_is_over_and_what_it_still_sends_changes_nothing(fake, tmp_path):
    def message(epoch, miou):
        report = EpochReport(epoch, 6, {"miou": miou}, {}, 0.1, {"total": 1.0}, 8)
        return {"report": json.loads(json.dumps(report.to_dict()))}

    halving = {"name": "halving", "factor": 2}
    spec = fake.make_spec(studies=["none"], budget={"trials": 2}, scheduler=halving, confirm={"top": 0})
    with fake.open_driver(spec, tmp_path) as driver:
        bridge = TuneBridge(driver, Machine(), lambda: None, StopRequest(), None)
        for name in ("good", "bad"):
            bridge.propose(name)
            driver.started(bridge.trial_of[name])
        bad = driver.state.trials[bridge.trial_of["bad"]]
        assert bridge.receive("good", message(1, 0.9)) is False
        assert bridge.receive("bad", message(1, 0.1)) is True
        assert bad.state == "pruned"
        last = driver.state.last
        assert bridge.receive("bad", message(2, 0.95)) is True
        bridge.lost("bad", "The actor died")
        assert driver.state.last is last
        assert bridge.failure is None


def test_a_stopped_trial_that_goes_on_is_handed_out_again_and_its_first_attempt_cannot_disturb_it(fake, tmp_path):
    def message(epoch, miou):
        report = EpochReport(epoch, 6, {"miou": miou}, {}, 0.1, {"total": 1.0}, 8)
        return {"report": json.loads(json.dumps(report.to_dict()))}

    pause = {"name": "halving", "factor": 2, "mode": "pause"}
    spec = fake.make_spec(studies=["none"], budget={"trials": 3}, scheduler=pause, confirm={"top": 0})
    with fake.open_driver(spec, tmp_path) as driver:
        bridge = TuneBridge(driver, Machine(), lambda: None, StopRequest(), None)
        for name in ("best", "second", "worst"):
            bridge.propose(name)
            driver.started(bridge.trial_of[name])
        second = driver.state.trials[bridge.trial_of["second"]]
        assert bridge.receive("best", message(1, 0.9)) is False
        assert bridge.receive("second", message(1, 0.8)) is True
        assert bridge.receive("worst", message(1, 0.1)) is True
        assert second.state == "pruned"
        proposal = bridge.propose("again")
        assert json.loads(proposal["assignment"])["trial"] == bridge.trial_of["again"] == second.id
        driver.started(second.id)
        assert bridge.receive("second", message(2, 0.0)) is True, "of the attempt that was stopped"
        bridge.lost("second", "The actor died")
        assert second.state == "running"
        assert bridge.receive("again", message(1, 0.8)) is False, "the report of before"
        assert bridge.receive("again", message(2, 0.95)) is False
        assert second.curve == {1: 0.8, 2: 0.95}
        assert bridge.failure is None


@pytest.mark.parametrize(
    ("message", "failure"),
    [
        ("Task was killed due to the node running low on memory.", "out_of_memory"),
        ("The actor died because its node has died.", "node_lost"),
        ("The actor is unavailable: The actor is temporarily unavailable", "node_lost"),
        ("The node was preempted", "node_lost"),
        ("The worker died unexpectedly with exit code 1", "lost"),
    ],
)
def test_a_lost_process_is_told_apart_from_a_lost_node(message, failure):
    assert cause_of(message) == failure


def life(fake, spec, folder, steps=None):
    """A life with three trials at once, of which the last that was started ends first; cut off after some ends."""

    def quality(config):
        return 0.5 + (0.2 if config.uses_teacher else 0.0) + 0.01 * fake.draw(config.config_id, config.seed)

    train, running, number, ends = fake.FakeTrain(quality), [], 0, 0
    with fake.open_driver(spec, folder, judge=read_words) as driver:
        bridge = TuneBridge(driver, Machine(), lambda: None, StopRequest(), None)
        while ends != steps:
            while len(running) < 3 and isinstance(bridge.propose(f"t{number}"), dict):
                driver.started(bridge.trial_of[f"t{number}"])
                running.append(f"t{number}")
                number += 1
            if not running:
                break
            name, ends = running.pop(), ends + 1
            trial = driver.state.trials[bridge.trial_of[name]]
            result = train(fake.TrainConfig.parse(trial.config), workdir=folder / "trials" / trial.id)
            bridge.receive(name, {"result": result.to_dict()})
        assert bridge.failure is None
        return driver.state


@pytest.mark.parametrize("cut", [None, 3, 9, 12, 18])
def test_trials_at_once_take_the_planned_looks_and_share_the_budget_of_repeats(fake, tmp_path, cut):
    spec = fake.make_spec(
        studies=["none", "kd"],
        train={"epochs": 2},
        repeats=2,
        budget={"trials": 4},
        confirm={"top": 1, "seeds": [3, 12], "until": "decided"},
    )
    if cut is not None:
        assert not life(fake, spec, tmp_path, cut).finished
    state = life(fake, spec, tmp_path)
    assert state.finished
    looks = [(record.data["seeds"], record.data["goes_on"]) for record in read(tmp_path) if record.kind == "look"]
    assert looks == [(3, True), (5, False)]
    for study in ("none", "kd"):
        for search in (1, 2):
            assert len(state.of_study(study, "search", search)) == 2
            seeds = [trial.seed for trial in state.of_study(study, "confirm", search)]
            assert sorted(seeds) == [8, 9, 10, 11, 12]
    assert {trial.state for trial in state.trials.values()} == {"complete"}
