import numpy as np
import pandas as pd
import pytest

from analysis.errors import AnalysisError
from analysis.figures import importance as plots_importance
from analysis.search import importance as module
from analysis.search.history import responses
from analysis.search.importance import cautions, importance, isolation, lifted, searched
from analysis.tables.domains import Range

SPACE = {
    "optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True, "integer": False},
    "terms.cwd.weight": {"low": 0.1, "high": 30.0, "log": True, "integer": False},
    "terms.cwd.temperature": {"choices": [1.0, 2.0, 4.0, 8.0]},
    "nothing": {"low": 0.0, "high": 1.0, "log": False, "integer": False},
}


@pytest.fixture
def search(empty_sweep):
    """Tables of a random search: the learning rate decides, the weight matters little, the rest not at all."""

    def build(trials=60, seed=0, collapsed=0, sampler="random", partly=False, twice=False):
        rng = np.random.default_rng(seed)
        sweep = empty_sweep(sampler=sampler)
        gamma = {"terms.cwd.gamma": {"low": 0.0, "high": 1.0, "log": False, "integer": False}} if partly else {}
        sweep.study("cwd", space=SPACE | gamma)
        lost = set(rng.choice(trials, collapsed, replace=False))
        for number in range(trials):
            lr, weight = 10 ** rng.uniform(-4, -1), 10 ** rng.uniform(-1, np.log10(30))
            params = {"optimizer.lr": lr, "terms.cwd.weight": weight}
            params |= {"terms.cwd.temperature": float(rng.choice([1, 2, 4, 8])), "nothing": rng.random()}
            if partly and number % 2:
                params["terms.cwd.gamma"] = rng.random()
            score = 0.5 - 0.04 * (np.log10(lr) + 2.2) ** 2 - 0.01 * np.log10(weight / 3) ** 2 + 0.006 * rng.normal()
            for repeat in range(1 + twice):
                score = 0.05 if number in lost else score
                sweep.trial("cwd", score, params=params, seed=7 + repeat, config_id=f"config-{number}")
        return sweep.tables()

    return build


def first(frame, method):
    return frame.loc[frame["method"] == method, "name"].iloc[0]


def test_the_parameter_that_decides_is_named_first(search):
    frames = [importance(search(seed=seed), "cwd", draws=1, replicates=0) for seed in range(10)]
    for method in ("fanova", "ped-anova"):
        assert sum(first(frame, method) == "optimizer.lr" for frame in frames) >= 9


def test_what_does_nothing_is_not_above_the_noise(search):
    frame = importance(search(), "cwd", draws=3, replicates=10)
    above = frame[frame["above_noise"]]
    assert set(above["name"]) >= {"optimizer.lr"}
    assert not {"nothing", "terms.cwd.temperature"} & set(above["name"])
    assert (frame["low"] <= frame["value"]).all()
    assert (frame["value"] <= frame["high"]).all()
    plots_importance.importance(frame).draw()


@pytest.mark.slow
def test_over_many_searches_noise_is_rarely_taken_for_more(search):
    frames = [importance(search(seed=seed), "cwd", draws=3, replicates=12) for seed in range(20)]
    idle = [frame[frame["name"].isin(["nothing", "terms.cwd.temperature"])]["above_noise"].mean() for frame in frames]
    assert np.mean(idle) < 0.1
    assert np.mean([frame.set_index("name").loc["optimizer.lr", "above_noise"].mean() for frame in frames]) > 0.95


def test_the_floor_is_the_largest_of_a_probe_for_each_parameter(search, monkeypatch):
    """With several parameters, one of them is often lucky: so must one of the probes be."""
    values = {"a": 0.2, "b": 0.1}
    shares = iter(({**values, "probe.a": 0.05, "probe.b": 0.3}, {**values, "probe.a": 0.1, "probe.b": 0.0}))
    space = dict.fromkeys(("a", "b"), Range(low=0.0, high=1.0))
    configs = pd.DataFrame({"score": np.arange(40.0), "a": 0.0, "b": 0.0})
    monkeypatch.setattr(module, "searched", lambda tables, study: (configs, space))
    monkeypatch.setattr(module, "_shares", lambda *_: dict.fromkeys(module.METHODS, next(shares)))
    frame = importance({}, "cwd", draws=2, replicates=0)
    assert (frame["noise"] == 0.3).all()
    assert not frame["above_noise"].any()


def test_probes_are_the_shuffled_values_of_each_parameter():
    values = pd.Series([1.0, np.nan, 2.0, 4.0, np.nan, 8.0])
    shuffled = module._shuffled(values, np.random.default_rng(0))
    assert sorted(shuffled.dropna()) == [1.0, 2.0, 4.0, 8.0]
    assert shuffled.isna().tolist() == values.isna().tolist()


def test_collapsed_trials_do_not_turn_the_order_upside_down(search):
    frames = [importance(search(seed=seed, collapsed=3), "cwd", draws=1, replicates=0) for seed in range(6)]
    for method in ("fanova", "ped-anova"):
        assert sum(first(frame, method) == "optimizer.lr" for frame in frames) >= 5


def test_the_same_seed_gives_the_same_numbers(search):
    tables = search()
    one, other = (importance(tables, "cwd", draws=1, replicates=2, seed=3) for _ in range(2))
    assert one.equals(other)


def test_below_forty_configs_there_is_a_sentence_and_no_number(search):
    tables = search(trials=39)
    assert importance(tables, "cwd").empty
    (sentence,) = cautions(tables, "cwd")
    assert "39 complete configs; below 40" in sentence
    assert "scatter plots" in sentence


def test_repeats_of_a_config_count_once(search):
    tables = search(trials=25, twice=True)
    configs, _ = searched(tables, "cwd")
    assert len(configs) == 25
    assert importance(tables, "cwd").empty


def test_a_parameter_of_some_configs_is_left_to_the_method_that_can(search):
    tables = search(trials=80, partly=True)
    frame = importance(tables, "cwd", draws=1, replicates=0).set_index(["method", "name"])
    assert np.isnan(frame.loc[("fanova", "terms.cwd.gamma"), "value"])
    assert np.isfinite(frame.loc[("ped-anova", "terms.cwd.gamma"), "value"])
    assert any("only some configs have terms.cwd.gamma" in sentence for sentence in cautions(tables, "cwd"))


def test_a_search_that_follows_its_luck_is_warned_of(search):
    for sampler in ("tpe", "gp", "prior", "my_sampler:Mine"):
        assert any(f"sampler {sampler} went where" in text for text in cautions(search(sampler=sampler), "cwd"))
    for sampler in ("random", "sobol", "grid"):
        assert not any("went where" in text for text in cautions(search(sampler=sampler), "cwd"))
    assert cautions(search(), "cwd") == []


def test_collapsed_scores_are_lifted_and_others_left_alone(search):
    configs, _ = searched(search(collapsed=2), "cwd")
    scores = lifted(configs["score"])
    assert scores.min() > 0.3
    assert (scores[configs["score"] > 0.4] == configs.loc[configs["score"] > 0.4, "score"]).all()


def test_isolation_shows_how_good_it_gets_where(search):
    tables = search()
    frame = isolation(tables, "cwd", "optimizer.lr")
    assert frame["n"].sum() == 60
    assert (frame["upper"] <= frame["best"]).all()
    assert (frame["high"] / frame["low"]).to_numpy() == pytest.approx(1000 ** (1 / 7))  # equal widths of a log scale
    best = frame.loc[frame["upper"].idxmax()]
    assert best["low"] / 3 < 10**-2.2 < best["high"] * 3
    choices = isolation(tables, "cwd", "terms.cwd.temperature")
    assert choices["label"].tolist() == ["1", "2", "4", "8"]
    dots = responses(tables)
    for name, buckets in (("optimizer.lr", frame), ("terms.cwd.temperature", choices)):
        plots_importance.isolation(buckets, dots[dots["name"] == name], log=name == "optimizer.lr").draw()


def test_whoever_asks_for_what_is_not_there_is_told_what_is(search):
    tables = search(trials=5)
    with pytest.raises(AnalysisError, match="must be one of cwd, got csc"):
        importance(tables, "csc")
    with pytest.raises(AnalysisError, match=r"optimizer\.lr.*got lr"):
        isolation(tables, "cwd", "lr")
