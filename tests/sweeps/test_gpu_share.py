"""`resources: {gpu: auto}`: the share of a GPU follows from what trials measure, without a GPU."""

import os

import pytest
import torch

from kdtrain.config import Machine
from kdtrain.errors import InputError
from kdtrain.loop.gpu_busy import GpuBusy
from kdtrain.loop.reports import EpochReport, TrainResult
from kdtrain.runtime import mps
from sweeps.attempt.signals import StopRequest
from sweeps.launch.sharing import sharing_gpus
from sweeps.launch.tune import TuneBridge
from sweeps.ledger.failure import Crash
from sweeps.ledger.gpu_use import MOST_STUDENTS, GpuUse, students_at
from sweeps.spec.settings import Resources

GIB = 2**30
CARD = 80 * GIB
ENVIRONMENT = {"environment_id": "card", "node": "node-a", "device": "cuda", "gpu_memory_bytes": CARD}


def measured(*epochs, use=None):
    """The use after epochs of (students, GiB, busy)."""
    use = use or GpuUse()
    for students, gib, busy in epochs:
        use = use.with_epoch(students, int(gib * GIB), CARD, busy)
    return use


@pytest.mark.parametrize(
    ("epochs", "students"),
    [
        ([], 1),  # the first trial has the GPU alone
        ([(1, 10, None)], 6),  # by memory alone where nothing says how busy the GPU is
        ([(1, 10, 0.3)], 3),
        ([(1, 10, 1.0)], 1),
        ([(1, 1, 0.01)], MOST_STUDENTS),
        ([(1, 10, 0.3), (3, 10, 0.6)], 4),  # raised, since three leave it idle
        ([(1, 10, 0.3), (3, 10, 1.0)], 2),  # lowered
        ([(1, 10, 0.1), (6, 30, 0.5)], 2),  # another method takes more memory
        ([(1, 10, 0.1), (6, 5, 0.5)], 6),  # one that takes less does not raise it
        ([(1, 90, 0.1)], 1),  # what ran once fits once
    ],
)
def test_students_follow_from_memory_and_from_how_busy_the_gpu_is(epochs, students):
    use = measured(*epochs)
    assert use.students == students
    assert students_at(use.share) == students


def test_out_of_memory_lowers_the_share_for_good():
    use = measured((1, 10, 0.1))
    assert use.students == 6
    use = measured((5, 10, 0.1), use=use.without_memory(6))
    assert use.students == 5
    assert use.without_memory(1).students == 1


@pytest.mark.parametrize("students", range(1, MOST_STUDENTS + 1))
def test_so_many_shares_and_not_one_more_fit_into_a_gpu(students):
    share = GpuUse(1, CARD, most=students).share
    assert share * students <= 1 < share * (students + 1)


def report(epoch, gib=10, busy=0.3):
    return EpochReport(
        epoch, 6, {"miou": 0.5}, {}, 0.1, {"total": 1.0}, 8, peak_memory_bytes=int(gib * GIB), gpu_busy=busy
    )


@pytest.fixture
def make_bridge(fake, tmp_path):
    def make(gpus=1.0, **spec):
        spec = fake.make_spec(studies=["none"], budget={"trials": 8}, resources={"cpu": 1, "gpu": "auto"}, **spec)
        driver = fake.open_driver(spec, tmp_path / "sweep")
        return TuneBridge(driver, Machine(), lambda: None, StopRequest(), None, gpus)

    return make


def begin(bridge, name):
    """The GPUs of a new trial that starts at once; none if it has to wait."""
    proposal = bridge.propose(name)
    if proposal is None:
        return None
    trial = bridge.trial_of[name]
    bridge.driver.started(trial, bridge.gpu_of[trial])
    bridge.driver.located(trial, ENVIRONMENT)
    return proposal["resources"]["GPU"]


def finish(bridge, name, *reports):
    trial = bridge.trial_of.pop(name)
    for each in reports:
        bridge.driver.report(trial, each)
    bridge.driver.ended(trial, TrainResult("diverged", 2, (), "it was not finite"))


def test_the_gpus_of_a_trial_that_has_ended_are_forgotten(make_bridge):
    bridge = make_bridge()
    with bridge.driver:
        begin(bridge, "a")
        assert list(bridge.gpu_of) == list(bridge.trial_of.values()) != []
        bridge.lost("a", "the node died")
        assert bridge.gpu_of == bridge.trial_of == {}


def test_the_first_trial_has_the_gpu_alone_and_the_next_ones_share_it(make_bridge, fake):
    bridge = make_bridge()
    with bridge.driver as driver:
        assert begin(bridge, "a") == 1.0
        assert begin(bridge, "b") is None  # it would wait for the GPU, and so is not even proposed
        driver.report(bridge.trial_of["a"], report(1, busy=0.9))  # it records, so the teacher computes
        assert driver.state.gpu_use.busy is None
        driver.report(bridge.trial_of["a"], report(2))
        assert begin(bridge, "b") is None
        finish(bridge, "a")
        assert [begin(bridge, name) for name in "bcde"] == [0.3333, 0.3333, 0.3333, None]


def test_a_resumed_sweep_takes_the_same_share(make_bridge, fake):
    bridge = make_bridge()
    with bridge.driver as driver:
        begin(bridge, "a")
        finish(bridge, "a", report(1), report(2))
        begin(bridge, "b")
        driver.report(bridge.trial_of["b"], report(1))
        driver.report(bridge.trial_of["b"], report(2, busy=0.5))
        before = driver.state.gpu_use
    again = make_bridge()
    with again.driver as driver:
        assert driver.state.gpu_use == before
        assert begin(again, "b") == before.share == 0.2


def test_a_trial_without_memory_is_tried_again_alone_and_lowers_the_share(make_bridge, fake):
    bridge = make_bridge()
    with bridge.driver as driver:
        begin(bridge, "a")
        finish(bridge, "a", report(1), report(2, busy=0.1))
        assert begin(bridge, "b") == pytest.approx(1 / 6, abs=1e-4)
        trial = bridge.trial_of.pop("b")
        driver.ended(trial, Crash("CUDA out of memory", "", "out_of_memory"))
        assert driver.state.trials[trial].state == "planned"
        assert begin(bridge, "b") == 1.0
        assert bridge.trial_of["b"] == trial
        assert driver.state.gpu_use.students == 5


def test_several_gpus_measure_at_once_and_a_fixed_share_is_never_held_back(make_bridge, fake, tmp_path):
    bridge = make_bridge(gpus=2.0)
    with bridge.driver:
        assert [begin(bridge, name) for name in "abc"] == [1.0, 1.0, None]
    spec = fake.make_spec(studies=["none"], budget={"trials": 8}, resources={"cpu": 1, "gpu": 0.5})
    with fake.open_driver(spec, tmp_path / "fixed") as driver:
        fixed = TuneBridge(driver, Machine(), lambda: None, StopRequest(), None)
        assert [begin(fixed, name) for name in "abc"] == [0.5, 0.5, 0.5]
        assert driver.state.trials["none-0"].share is None


@pytest.mark.parametrize("value", [-1, 1.5, True, "all", "0.5", float("nan"), float("inf"), None, [1]])
def test_other_shares_are_refused_with_what_is_allowed(value, fake):
    with pytest.raises(InputError, match=r"^resources.gpu: must be a fraction below 1 or a whole number, or auto, got"):
        fake.make_spec(resources={"gpu": value})


def test_a_share_that_is_measured_asks_for_one_gpu_at_first():
    resources = Resources(gpu="auto")
    assert (resources.gpus_alone, resources.processes, resources.is_measured) == (1.0, 1, True)
    assert (Resources(gpu=2).gpus_alone, Resources(gpu=2).is_measured) == (2, False)


def test_only_a_sweep_that_measures_its_share_here_starts_a_daemon(monkeypatch):
    started, said = [], []
    monkeypatch.setattr("sweeps.launch.sharing.mps_daemon", lambda notice: _Yielding({mps.PIPES: "/ours"}, started))
    for gpu, is_here in ((0.5, True), (1, True), ("auto", False)):
        with sharing_gpus(Resources(gpu=gpu), is_here, said.append):
            assert mps.PIPES not in os.environ
    assert started == []
    assert "take turns on a GPU of a cluster" in said[0]
    with sharing_gpus(Resources(gpu="auto"), True, said.append):
        assert os.environ[mps.PIPES] == "/ours"
    assert started == ["begin", "end"]
    assert mps.PIPES not in os.environ


class _Yielding:
    def __init__(self, variables, log):
        self.variables, self.log = variables, log

    def __enter__(self):
        self.log.append("begin")
        return self.variables

    def __exit__(self, *error):
        self.log.append("end")


def test_how_busy_a_gpu_is_is_asked_once_a_second_and_not_at_all_where_nvml_is_missing(monkeypatch):
    answers, now = iter([40, 60, 99]), iter([10.0, 10.0, 10.5, 11.0, 11.0])
    monkeypatch.setattr("kdtrain.loop.gpu_busy.time.monotonic", lambda: next(now))
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: next(answers))
    busy = GpuBusy(torch.device("cuda"))
    for _ in range(3):
        busy.sample()
    assert busy.take() == pytest.approx(0.5)
    assert busy.take() is None

    def missing(device):
        raise ModuleNotFoundError("pynvml")

    monkeypatch.setattr("kdtrain.loop.gpu_busy.time.monotonic", lambda: 100.0)
    monkeypatch.setattr(torch.cuda, "utilization", missing)
    busy.sample()
    assert busy.take() is None
    on_cpu = GpuBusy(torch.device("cpu"))
    on_cpu.sample()
    assert on_cpu.take() is None
