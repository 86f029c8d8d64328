"""Several limits in one target: the best student below each of them is searched, confirmed and shown."""

import json
import math

import pytest
from called_command import called

from analysis.report.best_evidence import best_evidence
from analysis.report.verdict import paragraph, verdict_of
from analysis.search.front import finalists_below, front
from kdtrain.deploy.speed import Cost
from kdtrain.errors import InputError
from sweeps.driver.allocation import race
from sweeps.driver.limits import step_of, turn
from sweeps.launch.inline import run_inline
from sweeps.outcome.best_file import best_config, read_config
from sweeps.outcome.results import tables_now
from sweeps.spec.target import Target
from sweeps.store.store import Store
from sweeps.student_costs import measure_students

COSTS = {
    "tu-mobilenetv3_small_050": 1.0,
    "tu-mobilenetv3_small_075": 2.0,
    "tu-mobilenetv3_small_100": 3.0,
    "resnet18": 6.0,
    "resnet34": 9.0,
    "resnet50": 20.0,
}
QUALITY = {
    "tu-mobilenetv3_small_050": 0.40,
    "tu-mobilenetv3_small_075": 0.50,
    "tu-mobilenetv3_small_100": 0.45,
    "resnet18": 0.60,
    "resnet34": 0.70,
    "resnet50": 0.90,
}
LIMITS = [1.5, 4, 8, 12]
BEST = ["tu-mobilenetv3_small_050", "tu-mobilenetv3_small_075", "resnet18", "resnet34"]


def cost_of(student):
    return Cost(params=int(1000 * COSTS[student.encoder]), macs=10**6)


@pytest.fixture
def world(fake):
    """A sweep over encoders with four limits of parameters; spec, training and a function that runs it."""

    class World:
        def __init__(self):
            self.measured = []

        def spec(self, **changes):
            return fake.make_spec(
                **{
                    "studies": ["none"],
                    "space": {
                        "optimizer.lr": {"low": 0.001, "high": 0.1, "log": True},
                        "student.encoder": list(COSTS),
                    },
                    "student": {"encoder": "resnet18"},
                    "target": {"params": [int(1000 * limit) for limit in LIMITS]},
                    "budget": {"trials": 16},
                    "sampler": {"name": "random"},
                    "train": {"epochs": 3, "batch_size": 4},
                    "confirm": {"top": 1, "seeds": 3},
                    **changes,
                }
            )

        def cost_of(self, student):
            self.measured.append(student.encoder)
            return cost_of(student)

        def train(self):
            def quality(config):
                return QUALITY[config.student.encoder] + 0.01 * fake.draw(config.config_id, config.seed)

            return fake.FakeTrain(quality)

        def run(self, folder, **changes):
            with fake.open_driver(self.spec(**changes), folder, cost_of=self.cost_of) as driver:
                run_inline(driver, self.train())
                return driver.state, driver.spec

    return World()


def encoders(trials):
    return [trial.config["student"]["encoder"] for trial in trials]


def test_the_best_student_below_each_limit_is_confirmed_and_shown(world, fake, tmp_path):
    state, _ = world.run(tmp_path, studies=["none", "kd"])
    assert set(encoders(state.of_phase("confirm"))) == set(BEST)
    for study in ("none", "kd"):
        assert len(state.of_study(study, "search")) == 16
        assert len(state.of_study(study, "confirm")) == 4 * 3
    tables = tables_now(Store(tmp_path))
    rows = front(tables)
    assert rows["limit"].tolist() == [1500, 4000, 8000, 12000]
    assert [name.split()[1] for name in rows["student"]] == BEST
    assert rows["cost"].tolist() == [1000 * COSTS[name] for name in BEST]
    assert rows["p_front"].tolist()[0] == 1.0
    assert (rows["p_front"] > 0.95).all()
    assert ((rows["low"] < rows["mean"]) & (rows["mean"] < rows["high"])).all()
    text = paragraph(verdict_of(tables))
    for name in BEST:
        assert name in text
    assert "below 8 k parameters" in text
    assert [each["limit"] for each in best_evidence(tables)["evidence"]["front"]] == [1500, 4000, 8000, 12000]


def test_the_evidence_of_one_limit_is_about_the_configs_below_it(world, tmp_path):
    world.run(tmp_path)
    tables = tables_now(Store(tmp_path))
    chosen = best_evidence(tables, 8000)
    assert chosen["config"]["student"]["encoder"] == "resnet18"
    assert chosen["evidence"]["limit"] == 8000
    assert chosen["evidence"]["verdict"]["headline"].startswith("Below 8 k parameters: ")
    of_configs = {row["config_id"] for _, row in finalists_below(tables, 8000).iterrows()}
    assert {each["config_id"] for each in chosen["evidence"]["runners_up"]} <= of_configs
    assert best_evidence(tables, 12000) == best_evidence(tables)


def test_a_student_that_is_the_best_below_several_limits_is_trained_once_on_each_seed(world, fake, tmp_path):
    narrow = {
        "space": {"student.encoder": ["tu-mobilenetv3_small_050", "resnet34"]},
        "student": {"encoder": "resnet34"},
    }
    state, spec = world.run(tmp_path, **narrow)
    confirmed = state.of_study("none", "confirm")
    assert sorted(encoders(confirmed)) == ["resnet34"] * 3 + ["tu-mobilenetv3_small_050"] * 3
    of_steps = [race(spec, state, spec.study("none"), step=step) for step in range(4)]
    assert [encoders(rounds[0]) for rounds in of_steps] == [["tu-mobilenetv3_small_050"]] * 3 + [["resnet34"]]
    rows = front(tables_now(Store(tmp_path)))
    assert [same if not math.isnan(same) else None for same in rows["same_as"]] == [None, 1500, 1500, None]


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random", "sobol", "prior"])
def test_every_limit_has_its_share_of_the_proposals(world, tmp_path, sampler):
    state, spec = world.run(tmp_path, sampler={"name": sampler, "startup": 4}, studies=["none"], budget={"trials": 16})
    steps = [step_of(spec, trial) for trial in state.of_study("none", "search")]
    wanted = [turn(range(4), number) for number in range(len(steps))]
    assert wanted[:5] == [3, 2, 1, 0, 3]
    assert steps[1:] == wanted[1:], "the first trial has the published values"
    assert "none" not in state.searches.invalid


@pytest.mark.parametrize(("mode", "ahead"), [("stop", True), ("pause", False)])
def test_interrupted_equals_uninterrupted(world, fake, tmp_path, monkeypatch, mode, ahead):
    scheduler = {"name": "halving", "grace": 1, "factor": 2, "mode": mode}
    if not ahead:
        monkeypatch.setattr("sweeps.driver.limits._MOST_AHEAD", 0)
    changes = {
        "scheduler": scheduler,
        "train": {"epochs": 6, "batch_size": 4},
        "sampler": {"name": "gp", "startup": 2},
        "budget": {"trials": 8},
    }
    whole, _ = world.run(tmp_path / "whole", **changes)
    count = whole.last.n

    def live(folder):
        return world.run(folder, **changes)[0]

    for cut in range(3, count, count // 5):
        again = fake.resumed(tmp_path / f"cut-{cut}", cut, live)
        assert [(t.id, dict(t.params), t.seed, t.state) for t in again.trials.values()] == [
            (t.id, dict(t.params), t.seed, t.state) for t in whole.trials.values()
        ]


def test_the_command_best_takes_one_of_the_limits(world, tmp_path, monkeypatch, capsys):
    world.run(tmp_path / "s")
    monkeypatch.chdir(tmp_path)
    code, said, errors = called(monkeypatch, capsys, "best", "s", "--limit", "8000", "--out", "best.yaml")
    assert (code, errors) == (0, "")
    assert "Below 8 k parameters: " in said
    config, _ = read_config(tmp_path / "best.yaml")
    assert config.student.encoder == "resnet18"
    assert best_config("s", 8000) == config
    with pytest.raises(InputError, match="limit: must be one of"):
        best_config("s", 8001)
    code, _, errors = called(monkeypatch, capsys, "best", "s", "--limit", "8001")
    assert code
    assert "--limit: must be one of the limits of target.params, 1500, 4000, 8000, 12000, got 8001" in errors
    code, _, errors = called(monkeypatch, capsys, "best", "s", "--limit", "8000", "--freeze")
    assert code
    assert "leave --limit out" in errors
    code, said, errors = called(monkeypatch, capsys, "report", "s", "--text")
    assert "on the front with a chance of" in said


def test_a_small_student_is_stopped_beside_small_ones_alone(world, tmp_path):
    scheduler = {"name": "halving", "grace": 1, "factor": 2}
    state, spec = world.run(tmp_path, scheduler=scheduler, studies=["none"], budget={"trials": 24})
    trials = state.of_study("none", "search")
    complete = {step_of(spec, trial) for trial in trials if trial.state == "complete"}
    assert complete == {0, 1, 2, 3}
    for trial in trials:
        if trial.stopped is not None:
            beside = [each for each in trials if step_of(spec, each) == step_of(spec, trial)]
            assert trial.stopped.entered <= len(beside)


def test_a_student_is_measured_when_it_is_proposed_and_proposed_anew_above_the_limit(world, tmp_path, monkeypatch):
    monkeypatch.setattr("sweeps.driver.limits._MOST_AHEAD", 0)
    state, spec = world.run(tmp_path, studies=["none"], sampler={"name": "random"})
    assert sorted(world.measured) == sorted(set(world.measured))
    steps = [step_of(spec, trial) for trial in state.of_study("none", "search")]
    assert steps[1:] == [turn(range(4), number) for number in range(1, len(steps))]


def test_a_limit_without_any_student_is_said_and_takes_no_proposals(world, fake, tmp_path):
    said, target = [], {"params": [500, 4000, 12000]}
    with fake.open_driver(world.spec(target=target), tmp_path, cost_of=world.cost_of, notice=said.append) as driver:
        measure_students(driver)
        run_inline(driver, world.train())
        steps = [step_of(driver.spec, trial) for trial in driver.state.of_study("none", "search")]
    assert "target: no student is within params 500; the least is 1,000" in said
    assert steps[1:5] == [1, 2, 1, 2]
    rows = front(tables_now(Store(tmp_path)))
    assert rows["limit"].tolist() == [500, 4000, 12000]
    assert rows["student"].isna().tolist() == [True, False, False]
    assert "below 500 parameters no trial is complete" in paragraph(verdict_of(tables_now(Store(tmp_path))))


def test_a_sweep_without_fresh_seeds_shows_the_best_of_the_search(world, tmp_path):
    world.run(tmp_path, confirm={"top": 0, "seeds": 0})
    tables = tables_now(Store(tmp_path))
    rows = front(tables)
    assert [name.split()[1] for name in rows["student"]] == BEST
    assert not rows["confirmed"].any()
    assert rows[["low", "high", "p_front"]].isna().all().all()
    assert "in the search, on no fresh seed" in paragraph(verdict_of(tables))


def test_one_limit_has_no_front(world, tmp_path):
    world.run(tmp_path, target={"params": 8000})
    tables = tables_now(Store(tmp_path))
    assert front(tables).empty
    assert "front" not in best_evidence(tables)["evidence"]
    assert tables["trials"]["target_cost"].max() == 6000


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ({"latency_ms": []}, "target.latency_ms: must be a number above 0 or a list of such numbers, got []"),
        ({"latency_ms": [2, 2]}, "target.latency_ms: the limits must differ, got [2, 2]"),
        ({"latency_ms": [0, 2]}, "target.latency_ms: must be a number above 0"),
        ({"latency_ms": 10**400}, "target.latency_ms: must be a number above 0"),
        ({"params": [2, 10**400]}, "target.params: must be a number above 0"),
        ({"params": float("nan")}, "target.params: must be a number above 0"),
        ({"params": [1.5, 2]}, "target.params: must be a whole number above 0"),
        ({"macs": ["few", 2]}, "target.macs: must be a number above 0"),
        ({"latency_ms": [1, 2], "macs": [3, 4]}, "only one of its limits may be a list, got latency_ms and macs"),
    ],
)
def test_wrong_limits_are_refused(fake, target, error):
    with pytest.raises(InputError) as raised:
        fake.make_spec(target=target)
    assert error in str(raised.value)


def test_limits_ascend_and_a_list_of_one_is_one_limit():
    assert Target(latency_ms=[8, 2.5, 4]).limits == (2.5, 4, 8)
    assert Target(latency_ms=[8]) == Target(latency_ms=8)
    cost = Cost(params=5000, macs=1)
    assert [Target(params=[4000, 5000, 6000]).step(cost), Target(params=[1, 2]).step(cost)] == [1, 1]
    assert Target(params=[1, 2]).excess(cost) == "5,000 is above the largest limit of target.params 2"
    assert "at most 2, 4 or 8 ms in onnxruntime" in Target(latency_ms=[2, 4, 8]).in_words
    assert json.loads(Target(latency_ms=[2, 4]).model_dump_json())["latency_ms"] == [2.0, 4.0]
