"""A target: students above a limit are not trained, the others are searched and compared as ever."""

import json

import pytest

from kdtrain.deploy.speed import Cost, Speed
from kdtrain.errors import InputError
from sweeps.driver.driver import Driver
from sweeps.driver.growth import check_begun
from sweeps.launch.inline import run_inline
from sweeps.outcome.tabulate import frames
from sweeps.spec.target import Target
from sweeps.store.store import Store
from sweeps.student_costs import measure_students

LATENCY = {"resnet18": 9.0, "resnet34": 14.0, "tu-mobilenetv3_small_050": 2.0, "tu-mobilenetv3_small_075": 4.0}
ENCODERS = {"student.encoder": list(LATENCY)}


def speed(milliseconds, **changes):
    figures = {"median_ms": milliseconds, "low_ms": milliseconds, "high_ms": milliseconds, "images_per_s": 1.0}
    where = {"runtime": "onnxruntime", "version": "1", "device": "a CPU", "threads": 1, "batch": 1}
    return Speed(student="s", height=8, width=8, calls=9, peak_mib=None, **where, **figures, **changes)


class Costs:
    """What measures students: a made-up latency, and which students were measured."""

    def __init__(self):
        self.measured = []

    def __call__(self, student):
        self.measured.append(student.encoder)
        return Cost(params=1000, macs=10**6, speed=speed(LATENCY[student.encoder]))


@pytest.fixture
def world(fake, tmp_path):
    """A sweep over encoders with a limit; a function that opens its driver."""

    def spec(**changes):
        return fake.make_spec(
            **{
                "studies": ["none", "kd"],
                "space": {"optimizer.lr": {"low": 0.001, "high": 0.1, "log": True}, **ENCODERS},
                "student": {"encoder": "resnet18"},
                "target": {"latency_ms": 5},
                "budget": {"trials": 6},
                **changes,
            }
        )

    def opened(costs, **changes) -> Driver:
        return fake.open_driver(spec(**changes), tmp_path, cost_of=costs)

    opened.spec = spec
    return opened


def test_students_above_the_limit_are_never_trained_and_cost_no_trial(world, fake):
    costs = Costs()
    with world(costs) as driver:
        run_inline(driver, fake.FakeTrain())
        state = driver.state
    assert state.finished
    for study in ("none", "kd"):
        assert len(state.of_study(study, "search")) == 6
    trained = {trial.config["student"]["encoder"] for trial in state.trials.values()}
    assert trained == {"tu-mobilenetv3_small_050", "tu-mobilenetv3_small_075"}
    refused = [invalid.reason for study in state.searches.invalid.values() for invalid in study]
    assert any("9 is above target.latency_ms 5" in reason for reason in refused)
    assert sorted(costs.measured) == sorted(set(costs.measured)), "each student is measured once"


def test_what_was_measured_is_kept_and_tabulated(world, fake, tmp_path):
    with world(Costs()) as driver:
        measure_students(driver)
    again = Costs()
    with world(again) as driver:
        measure_students(driver)
        run_inline(driver, fake.FakeTrain())
        table = frames(driver.state, driver.spec, None, ["costs"])["costs"]
    assert again.measured == []
    encoders = [json.loads(text)["encoder"] for text in table["network_json"]]
    assert dict(zip(encoders, table["latency_ms"], strict=True)) == LATENCY
    assert dict(zip(encoders, table["within"], strict=True)) == {name: each <= 5 for name, each in LATENCY.items()}
    assert set(table["device"]) == {"a CPU"}


def test_an_interrupted_search_proposes_what_an_uninterrupted_one_does(world, fake, tmp_path):
    with world(Costs()) as driver:
        run_inline(driver, fake.FakeTrain())
        whole = [trial.params for trial in driver.state.trials.values()]
    for _ in range(3):
        with fake.open_driver(world.spec(), tmp_path / "pieces", cost_of=Costs()) as driver:
            for _trial in range(4):
                fake.finish(driver, driver.next())
    with fake.open_driver(world.spec(), tmp_path / "pieces", cost_of=Costs()) as driver:
        run_inline(driver, fake.FakeTrain())
        assert [trial.params for trial in driver.state.trials.values()] == whole


def test_a_study_without_any_student_within_the_limits_ends_before_the_first_trial(world):
    with world(Costs(), target={"latency_ms": 1.5}) as driver, pytest.raises(InputError) as error:
        measure_students(driver)
    assert "no student of study none is within the limits; the cheapest of 4" in str(error.value)
    assert "2 is above target.latency_ms 1.5" in str(error.value)


def test_a_student_that_nobody_searches_is_checked_too(world):
    fixed = {"space": {"optimizer.lr": {"low": 0.001, "high": 0.1, "log": True}}}
    costs = Costs()
    with world(costs, **fixed) as driver, pytest.raises(InputError, match="the cheapest of 1"):
        measure_students(driver)
    assert costs.measured == ["resnet18"]


@pytest.mark.parametrize(
    ("limits", "excess"),
    [
        ({"latency_ms": 3}, None),
        ({"latency_ms": 2.9}, "3 is above target.latency_ms 2.9"),
        ({"params": 999}, "1,000 is above target.params 999"),
        ({"macs": 10**6}, None),
        ({"params": 999, "macs": 10}, "1,000 is above target.params 999, 1,000,000 is above target.macs 10"),
    ],
)
def test_limits(limits, excess):
    cost = Cost(params=1000, macs=10**6, speed=speed(3.0))
    assert Target(**limits).excess(cost) == excess


def test_latency_is_measured_only_where_it_has_a_limit():
    assert Target(params=5).setting((8, 9)) is None
    setting = Target(latency_ms=5, threads=2, runtime="torch").setting((8, 9))
    assert (setting.runtime, setting.threads, setting.height, setting.width) == ("torch", 2, 8, 9)
    assert Target(latency_ms=5, size=(16, 20)).setting((8, 9)).width == 20


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ({}, "target: give latency_ms, params or macs"),
        ({"latency": 5}, "target.latency"),
        ({"latency_ms": 0}, "target.latency_ms"),
        ({"latency_ms": 5, "runtime": "tflite"}, "target.runtime"),
        ({"params": 0.5}, "target.params"),
    ],
)
def test_a_wrong_target_names_its_field(fake, target, error):
    with pytest.raises(InputError, match=error.replace(".", r"\.")):
        fake.make_spec(target=target)


def test_the_target_of_a_begun_sweep_stays(world, tmp_path):
    with world(Costs()):
        pass
    with pytest.raises(InputError, match="target"):
        check_begun(world.spec(target={"latency_ms": 6}), Store(tmp_path))
