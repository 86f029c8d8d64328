"""Between Tune and the driver, without a cluster."""

import json

import pytest

from kdtrain.config import Machine
from kdtrain.loop.reports import EpochReport
from sweeps.attempt.signals import StopRequest
from sweeps.launch.tune import TuneBridge, cause_of
from sweeps.outcome.freeze import freeze
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
