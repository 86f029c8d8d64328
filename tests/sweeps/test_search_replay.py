"""The replay of search policies, on a toy table: made up, with a known best config, and never published as a result."""

import importlib
import json
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from search.clock import Training, simulate
from search.confirmation import MEAN, ONE_SE, Race, choice
from search.confirmed import Confirmed, Job
from search.figures import budgets_for, markdown, regrets
from search.ours import Ours, space_of, sweep_spec
from search.plan import Plan, plan
from search.policies import OTHERS, OURS, TODAY, PolicyOfOurs
from search.replay import COLUMNS, Part, Study, read_results, run_part
from search.rows import Rows
from search.surrogate import Surrogate, parts
from search.tables import read_task

EPOCHS = 6
SPEC = {
    "name": "toy",
    "data": {"name": "streets"},
    "teacher": {"path": "none"},
    "train": {"epochs": EPOCHS, "optimizer": {"lr": 0.01}},
    "space": {"optimizer.lr": {"low": 0.001, "high": 0.1, "log": True}},
    "studies": ["none", "kd"],
}
DOMAINS = {
    "optimizer.lr": {"low": 0.001, "high": 0.1, "log": True},
    "terms.pixel_kd.pull": {"low": 0.1, "high": 50.0, "log": True},
    "terms.pixel_kd.temperature": {"choices": [1.0, 2.0, 4.0, 8.0]},
}


def toy_score(params, epoch, seed):
    """Best at a rate of 0.02, a pull of 2 and a temperature of 4; a seed shifts all configs alike."""
    far = np.log10(params["optimizer.lr"] / 0.02) ** 2
    far += 0.5 * np.log10(params.get("terms.pixel_kd.pull", 2.0) / 2.0) ** 2
    far += 0.1 * np.log2(params.get("terms.pixel_kd.temperature", 4.0) / 4.0) ** 2
    return (40 - 12 * far) * (1 - 0.6**epoch) + (seed - 0.5) * 0.4


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A folder with the table of one task, of the schema of kdbench."""
    folder, rng, rows = tmp_path_factory.mktemp("tables"), np.random.default_rng(0), []
    for study in SPEC["studies"]:
        domains = {path: domain for path, domain in DOMAINS.items() if study == "kd" or path == "optimizer.lr"}
        for config in range(24):
            params = {"optimizer.lr": float(10 ** rng.uniform(-3, -1))}
            if study == "kd":
                params["terms.pixel_kd.pull"] = float(10 ** rng.uniform(-1, 1))
                params["terms.pixel_kd.temperature"] = float(rng.choice([1.0, 2.0, 4.0, 8.0]))
            if config == 0:
                published = {"optimizer.lr": 0.01, "terms.pixel_kd.pull": 0.5, "terms.pixel_kd.temperature": 1.0}
                params = {path: published[path] for path in params}
            for seed in range(5 if config < 4 else 2):
                noise = rng.normal(0, 0.3)
                for epoch in range(1, EPOCHS + 1):
                    row = {"task": "toy", "study": study, "config": config, "config_id": f"c{config}", "seed": seed}
                    score = toy_score(params, epoch, seed) + noise * epoch / EPOCHS
                    row |= {"epoch": epoch, "epochs": EPOCHS, "score": score / 100, "published_default": config == 0}
                    row["set.terms.pixel_kd.weight"] = params.get("terms.pixel_kd.pull", np.nan) / 0.5
                    rows.append(row | {f"set.{path}": params.get(path) for path in DOMAINS if path in domains})
        json_path = folder / "toy.json"
        spaces = json.loads(json_path.read_text()) if json_path.exists() else {}
        json_path.write_text(json.dumps({**spaces, study: domains}))
    pd.DataFrame(rows).to_parquet(folder / "toy.parquet")
    return {table.study: table for table in read_task(folder, "toy")}


@pytest.fixture(scope="module")
def kd(toy):
    return Study(toy["kd"], Surrogate.parse(Surrogate.of(toy["kd"]).to_json()), SPEC)


def test_a_table_is_read_with_its_spaces_curves_and_published_configs(toy):
    assert toy["none"].curves.shape == toy["kd"].curves.shape == (24, 5, EPOCHS)
    assert list(toy["none"].space) == ["optimizer.lr"]
    assert toy["kd"].default == toy["kd"].configs[0]
    assert toy["kd"].pulls == {"pixel_kd": pytest.approx(0.5)}
    assert toy["none"].pulls == {}
    assert 10 < np.nanmax(toy["kd"].curves) < 100
    assert np.isnan(toy["kd"].curves[10, 2]).all()
    assert not np.isnan(toy["kd"].curves[:, :2]).any()


def test_curves_are_split_into_configs_seeds_and_rests_of_the_right_size():
    rng = np.random.default_rng(1)
    configs, seeds = rng.normal(30, 3, (200, 1, 1)), rng.normal(0, 1, (1, 2, 1))
    split = parts(configs + seeds + rng.normal(0, 0.5, (200, 2, 1)))
    assert np.corrcoef(split.means[:, 0], configs[:, 0, 0])[0, 1] > 0.98
    assert split.seeds[0, 0] - split.seeds[1, 0] == pytest.approx(seeds[0, 0, 0] - seeds[0, 1, 0], abs=0.15)
    assert split.rests.std() == pytest.approx(0.5, rel=0.15)


def test_the_surrogate_knows_left_out_configs_and_where_the_best_is(kd):
    assert kd.surrogate.fit_of_left_out(kd.table)["rank_correlation"] > 0.8
    worth, best = kd.surrogate.best
    assert best["optimizer.lr"] == pytest.approx(0.02, rel=0.5)
    assert worth > kd.surrogate.means(np.full((1, 3), 0.1))[0, -1] + 5


def test_noise_has_the_size_of_the_table_and_a_seed_is_shared_by_all_configs(kd):
    low, high = kd.table.configs[1], kd.table.configs[2]
    drawn = np.array(
        [[trainings.curve(params, 0)[-1] - trainings.worth(params) for params in (low, high)]
         for trainings in map(kd.surrogate.begin, range(300))]
    )  # fmt: skip
    of_seeds = np.sqrt((kd.surrogate.parts.seeds[:, -1] ** 2).sum() / 4)
    assert drawn[:, 0].std() == pytest.approx(np.hypot(of_seeds, 0.3), rel=0.25)
    assert (drawn[:, 0] - drawn[:, 1]).std() == pytest.approx(0.3 * np.sqrt(2), rel=0.35)
    one = kd.surrogate.begin(3)
    assert (one.curve(low, 1) == kd.surrogate.begin(3).curve(low, 1)).all()
    assert (one.curve(low, 1) != one.curve(low, 2)).any()


def test_the_table_alone_gives_each_proposal_a_row_of_its_own(toy):
    trainings, config = Rows(toy["kd"], 0), toy["kd"].configs[5]
    assert (trainings.curve(config, 0) == toy["kd"].curves[5, 0]).all()
    assert (trainings.curve(config, 1) == toy["kd"].curves[5, 1]).all()
    near = {**config, "optimizer.lr": config["optimizer.lr"] * 1.0001}
    assert (trainings.curve(near, 0) != toy["kd"].curves[5, 0]).any()
    assert (trainings.curve(config, 0) == toy["kd"].curves[5, 0]).all()
    assert trainings.worth(config) == np.nanmean(toy["kd"].curves[5, :, -1])


class Scripted:
    """A policy that trains what it was told to."""

    def __init__(self, trainings):
        self.left, self.reports, self.done = list(trainings), [], []

    def next(self):
        return self.left.pop(0) if self.left else None

    def report(self, key, epoch, score):
        self.reports.append((key, epoch))
        return (key, epoch) != ("a", 2)

    def ended(self, key):
        self.done.append(key)

    def chosen(self, study):
        return {"x": 1}


class Flat:
    epochs, best = 4, 10.0

    def curve(self, params, seed):
        return np.arange(4.0)

    def worth(self, params):
        return 7.5


def test_workers_train_side_by_side_and_reports_come_in_order_of_time():
    policy = Scripted(
        [Training("s", "a", {}, 0, 0, 4), Training("s", "b", {}, 0, 2, 4), Training("s", "c", {}, 0, 0, 1)]
    )
    outcome = simulate(policy, {"s": Flat()}, 2)["s"]
    assert policy.reports == [("a", 1), ("b", 3), ("a", 2), ("b", 4), ("c", 1)]
    assert policy.done == ["a", "b", "c"]
    assert (outcome.epochs, outcome.time, outcome.regret) == (5, 3, 2.5)
    both = [Training("s", "a", {}, 0, 0, 4), Training("t", "b", {}, 0, 2, 4)]
    outcomes = simulate(Scripted(both), {"s": Flat(), "t": Flat()}, 1)
    assert [(each.epochs, each.time) for each in outcomes.values()] == [(2, 4), (2, 4)]


def test_a_budget_is_divided_as_recommended():
    assert [plan(budget) for budget in (3, 6, 12, 24)] == [Plan(3, 0, 1), Plan(4, 2, 1), Plan(8, 2, 2), Plan(16, 4, 2)]


def test_a_race_halves_its_configs_on_shared_seeds():
    race, trained = Race([{"x": number} for number in range(4)], 2), []
    while (fresh := race.next()) is not None:
        number, params, seed = fresh
        trained.append((params["x"], seed))
        race.ended(number, seed, float(number))
    assert trained[:4] == [(0, 1), (1, 1), (2, 1), (3, 1)]
    assert {number for number, _ in trained[4:]} == {2, 3}
    assert len(trained) == 8
    assert [params["x"] for params, _ in race.finalists()] == [2, 3]


def test_of_configs_within_one_standard_error_the_closest_to_the_published_one_is_chosen(toy):
    space = toy["none"].space
    near, far = {"optimizer.lr": 0.01}, {"optimizer.lr": 0.1}
    finalists = [(far, {1: 30.2, 2: 29.9}), (near, {1: 29.9, 2: 30.1})]
    assert choice(finalists, space, near, MEAN) == far
    assert choice(finalists, space, near, ONE_SE) == near
    assert choice([(far, {1: 32.0, 2: 31.9}), (near, {1: 29.9, 2: 30.1})], space, near, ONE_SE) == far


class Rising:
    """A search that wants every training at 2 epochs first, then the best of two to the end, from its checkpoint."""

    def __init__(self):
        self.scores, self.number, self.running = {}, 0, set()

    def ask(self):
        pair = [key for key in self.scores if self.scores[key][0] == 2 and key not in self.running]
        if len(pair) >= 2:
            key = max(pair, key=lambda each: self.scores[each][1])
            self.running.add(key)
            return Job(key, {"optimizer.lr": float(key)}, EPOCHS)
        self.number += 1
        return Job(f"{0.01 * self.number:.2f}", {"optimizer.lr": 0.01 * self.number}, 2)

    def tell(self, key, epoch, score):
        self.scores[key] = (epoch, score)
        return True

    def ended(self, key):
        pass


def test_a_search_of_others_keeps_to_the_budget_and_pays_a_resumed_training_once(toy):
    surrogate = Surrogate.of(toy["none"])
    for budget in (6, 12):
        policy = Confirmed("none", Rising(), plan(budget), toy["none"].space, EPOCHS, None)
        outcome = simulate(policy, {"none": surrogate.begin(0)}, 1)["none"]
        assert abs(outcome.epochs - budget * EPOCHS) <= EPOCHS / 2
        assert max(len(trial.scores) for trial in policy._trials.values()) == EPOCHS
        assert outcome.chosen["optimizer.lr"] <= 0.1


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(("budget", "name"), [(3, TODAY), (24, TODAY), (24, "tpe + halving, pause")])
def test_our_policy_is_the_whole_procedure_within_its_budget(kd, workers, budget, name):
    trainings = kd.surrogate.begin(0)
    spec = sweep_spec(SPEC, ["kd"], plan(budget), OURS[name].fields, 0)
    assert space_of(spec, "kd") == kd.table.space
    policy = Ours(spec, {"kd": trainings.default}, {"kd": kd.table.pulls})
    outcome = simulate(policy, {"kd": trainings}, workers)["kd"]
    state = policy._driver.state
    assert state.trials["kd-0"].params == pytest.approx(kd.table.default)
    assert state.finished
    assert abs(outcome.epochs - budget * EPOCHS) <= EPOCHS
    assert outcome.epochs == sum(trial.epochs_run for trial in state.trials.values())
    assert outcome.time >= outcome.epochs / workers
    fresh = [trial for trial in state.trials.values() if trial.phase == "confirm"]
    assert len({trial.config_id for trial in fresh}) == (4 if budget == 24 else 0)
    if budget == 24:
        assert any(trial.state == "pruned" for trial in state.trials.values())
        assert outcome.regret < 6


def test_an_audit_goes_on_from_where_its_trial_was_stopped(kd):
    trainings, fields = kd.surrogate.begin(0), OURS[TODAY].fields
    fields = {**fields, "scheduler": {**fields["scheduler"], "audit": 1.0}}
    spec = sweep_spec(SPEC, ["kd"], plan(6), fields, 0)
    policy = Ours(spec, {"kd": trainings.default}, {"kd": kd.table.pulls})
    outcome = simulate(policy, {"kd": trainings}, 1)["kd"]
    state = policy._driver.state
    stopped = [trial for trial in state.trials.values() if trial.state == "pruned"]
    audits = [trial for trial in state.trials.values() if trial.phase == "audit"]
    assert len(audits) == len(stopped) > 0
    assert {(trial.state, trial.epochs_run) for trial in audits} == {("complete", EPOCHS)}
    paid_before = sum(trial.epochs_run for trial in stopped)
    assert outcome.epochs == sum(trial.epochs_run for trial in state.trials.values()) - paid_before


def test_studies_that_share_are_searched_by_one_sweep_with_a_budget_each(toy, kd, tmp_path):
    studies = {"kd": kd, "none": Study(toy["none"], Surrogate.of(toy["none"]), SPEC)}
    sampler = {"name": "gp", "startup": 3, "options": {"share": True}}
    policy = PolicyOfOurs({"sampler": sampler, "scheduler": OURS[TODAY].fields["scheduler"]}, together=True)
    part = Part("shared", policy, "toy", ("none", "kd"), "surrogate", 1)
    frame = run_part(part, studies, {6: 2}, tmp_path)
    assert list(frame["study"]) == ["none", "kd"] * 2
    assert ((frame["epochs"] - 6 * EPOCHS).abs() <= EPOCHS).all()
    assert run_part(part, studies, {6: 2}, tmp_path).equals(pd.read_parquet(tmp_path / f"{part.name}.parquet"))


def test_proposals_that_are_remembered_are_those_that_are_computed(kd):
    def tried(budget, memory):
        spec = sweep_spec(SPEC, ["kd"], plan(budget), OURS[TODAY].fields, 5)
        policy = Ours(spec, {"kd": None}, {}, memory=memory)
        simulate(policy, {"kd": kd.surrogate.begin(0)}, 4)
        return [trial.params for trial in policy._driver.state.trials.values()]

    memory = {}
    assert tried(24, memory) == tried(24, None)
    known = len(memory)
    assert tried(12, memory) == tried(12, None)
    assert known > 10
    assert len(memory) < known + 4


def test_a_replay_goes_on_where_it_was_and_its_results_are_shown(kd, tmp_path, monkeypatch):
    policies = {TODAY: OURS[TODAY], "random": OURS["random"]}
    for name, policy in policies.items():
        part = Part(name, policy, "toy", ("kd",), "surrogate", 1)
        first = run_part(part, {"kd": kd}, {3: 2, 6: 1}, tmp_path)
        assert list(first.columns) == COLUMNS
        grown = run_part(part, {"kd": kd}, {3: 2, 6: 2, 12: 2}, tmp_path)
        monkeypatch.setattr("search.replay._rows", None)
        assert run_part(part, {"kd": kd}, {3: 2, 6: 2, 12: 2}, tmp_path).equals(
            pd.read_parquet(tmp_path / f"{part.name}.parquet")
        )
        monkeypatch.undo()
        assert sorted(zip(grown["budget"], grown["repetition"], strict=True)) == [
            (budget, repetition) for budget in (3, 6, 12) for repetition in (0, 1)
        ]
    results = read_results(tmp_path)
    assert (results["regret"] >= 0).all()
    assert len(regrets(results)) == 6
    assert "| random |" in markdown(results)


def test_the_budget_that_equals_the_reference_is_interpolated_over_its_logarithm():
    curves = {TODAY: {6: 4.0, 24: 2.0}, "better": {6: 3.0, 24: 1.0}, "bad": {6: 5.0, 24: 4.0}, "half": {6: 0.0}}
    rows = [
        {"policy": policy, "task": "a", "study": study, "workers": 1, "budget": budget, "repetition": number}
        | {"regret": regret + 0.001 * number, "full_trainings": budget, "time": budget}
        for policy, curve in curves.items()
        for study in (("kd",) if policy == "half" else ("kd", "none"))
        for budget, regret in curve.items()
        for number in range(4)
    ]
    found = budgets_for(pd.DataFrame(rows)).set_index("policy")
    assert found.loc[TODAY, "budget"] == pytest.approx(24)
    assert found.loc["better", "budget"] == pytest.approx(12)
    assert np.isinf(found.loc["bad", "budget"])
    assert "half" not in found.index  # it has not run on all studies
    assert set(regrets(pd.DataFrame(rows))["policy"]) == {TODAY, "better", "bad"}


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("name", ["optuna random + hyperband", "optuna tpe + halving", "ray ASHA"])
def test_a_policy_of_others_stops_trials_and_keeps_to_its_budget(kd, name, workers):
    policy = OTHERS[name]
    trainings = kd.surrogate.begin(1)
    make = importlib.import_module(f"search.others.{policy.module}").make
    search = make(trainings, 1, **policy.options)
    confirmed = Confirmed("kd", search, plan(24), trainings.space, EPOCHS, trainings.default)
    outcome = simulate(confirmed, {"kd": trainings}, workers)["kd"]
    assert abs(outcome.epochs - 24 * EPOCHS) <= EPOCHS
    lengths = [len(trial.scores) for trial in confirmed._trials.values()]
    assert min(lengths) < EPOCHS
    assert lengths.count(EPOCHS) >= 4
    assert next(iter(confirmed._trials.values())).params == trainings.default


@pytest.mark.parametrize("name", ["gp + halving", "prior", "optuna tpe + halving"])
def test_a_policy_can_begin_with_the_worst_config(kd, tmp_path, name):
    worth, worst = kd.surrogate.worst
    assert worth < kd.surrogate.best[0] - 10
    part = Part(name, {**OURS, **OTHERS}[name], "toy", ("kd",), "surrogate", 1, "worst")
    trained = []
    begin = Study.begin

    def seen(study, *given):
        trainings = begin(study, *given)
        curve = trainings.curve
        trainings.curve = lambda params, seed: trained.append(params) or curve(params, seed)
        return trainings

    with patch.object(Study, "begin", seen):
        frame = run_part(part, {"kd": kd}, {6: 1}, tmp_path)
    for path in ("optimizer.lr", "terms.pixel_kd.pull"):
        assert trained[0][path] == pytest.approx(worst[path]), path
    assert list(frame["start"]) == ["worst"]
