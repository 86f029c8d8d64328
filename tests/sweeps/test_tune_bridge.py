"""Between Tune and the driver, without a cluster."""

from kdtrain.config import Machine
from sweeps.attempt.signals import StopRequest
from sweeps.launch.tune import TuneBridge


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
