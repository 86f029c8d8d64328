"""The samplers by name, in simulated worlds and in whole lives of sweeps."""

import math
import sys

import optuna
import pytest
from optuna.distributions import FloatDistribution
from test_search import trial

from kdtrain.errors import InputError
from kdtrain.runtime.random_streams import derive
from kdtrain.space import Choice, Range
from sweeps.driver.proposals import Proposals
from sweeps.driver.sampler import OURS, exhausted, make_sampler, propose
from sweeps.driver.samplers import by_optuna
from sweeps.driver.samplers.by_optuna import TPESampler
from sweeps.driver.samplers.ranking import COMPLETE, GOOD, OTHERS, RUNNING, Ranked
from sweeps.ledger.trial_record import InvalidProposal
from sweeps.ledger.trial_state import TrialState
from sweeps.spec.settings import Sampler

UNIT = {"x": Range(low=0.0, high=1.0), "y": Range(low=0.01, high=1.0, log=True)}
ALL = list(OURS)


def quality(params):
    """Best at x = 0.7 and y = 0.1, the middle of its log range."""
    return 1 - (params["x"] - 0.7) ** 2 - (math.log10(params["y"] / 0.1)) ** 2


def searched(name, count, space=UNIT, worth=quality, seed=3, startup=6, **options):
    if name == "cmaes":
        pytest.importorskip("cmaes")
    sampler, told = make_sampler(Sampler(name=name, startup=startup, options=options)), []
    for number in range(count):
        params = propose("s", space, sampler, seed, told, None, "s", count)
        if params is None:
            break
        told.append(trial(number, params, worth(params)))
    return told


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes"])
def test_samplers_that_learn_come_nearer_than_random_ones(name):
    late = [one.score for one in searched(name, 40)[-10:]]
    random = [one.score for one in searched("random", 40)[-10:]]
    assert sum(late) / 10 > sum(random) / 10 + 0.2


@pytest.mark.parametrize("name", ["tpe", "cmaes"])
def test_samplers_that_learn_go_where_scores_are_higher(name):
    up, down = (
        [one.params["x"] for one in searched(name, 40, worth=lambda params, sign=sign: sign * params["x"])[-10:]]
        for sign in (1, -1)
    )
    assert sum(up) / 10 > sum(down) / 10 + 0.3


@pytest.mark.parametrize("name", ["cmaes", "gp"])
def test_samplers_learn_from_trials_that_were_stopped_or_diverged(name):
    if name == "cmaes":
        pytest.importorskip("cmaes")
    space = {"x": Range(low=0.0, high=1.0)}
    told = [trial(n, {"x": n / 30}, score=n / 30 if n < 20 else 0.0, state="complete") for n in range(21)]
    told += [trial(n, {"x": n / 30}, state="diverged") for n in range(21, 26)]
    told += [trial(n, {"x": n / 30}, 0.3, "pruned") for n in range(26, 30)]
    told.append(InvalidProposal({"x": 0.99}, "not valid"))
    sampler = make_sampler(Sampler(name=name))
    drawn = [propose("s", space, sampler, seed, told, None)["x"] for seed in range(8)]
    assert sum(drawn) / 8 < 0.75


def test_a_gaussian_process_stays_near_a_best_corner_that_was_tried():
    late = searched("gp", 13, worth=lambda params: params["x"] + math.log10(params["y"]))[-4:]
    assert len({tuple(one.params.values()) for one in late}) == 4
    assert sum(one.params["x"] for one in late) / 4 > 0.85
    assert sum(one.params["y"] for one in late) / 4 > 0.5


def test_a_gaussian_process_ends_when_every_config_was_tried():
    space = {"x": Choice(choices=("a", "b", None)), "n": Range(low=1, high=3, integer=True)}
    told = searched("gp", 20, space, lambda params: float(params["n"]), startup=2)
    assert len({(one.params["x"], one.params["n"]) for one in told}) == len(told) == 9


def test_a_sequence_fills_the_space_more_evenly_than_chance():
    told = searched("sobol", 64)
    cells = {(int(one.params["x"] * 8), int(8 * (2 + math.log10(one.params["y"])) / 2)) for one in told}
    assert len(cells) == 64
    assert searched("sobol", 5, seed=4)[0].params != told[0].params


def test_the_sequence_goes_on_whatever_the_results():
    told = searched("sobol", 9)
    assert [one.params for one in searched("sobol", 9, worth=lambda params: 0.0)] == [one.params for one in told]


def test_searches_of_a_study_have_sequences_and_orders_of_their_own():
    for name in ("sobol", "grid"):
        sampler = make_sampler(Sampler(name=name))
        first, second = (
            [propose("s", UNIT, sampler, 1, searched(name, n), None, search, 36) for n in range(4)]
            for search in ("s", "s/2")
        )
        assert first != second


def test_a_grid_fits_the_trials_of_the_search_and_ends():
    space = {**UNIT, "layer": Choice(choices=("a", None))}
    told = searched("grid", 20, space, lambda params: 0.5)
    assert len(told) == 18  # 3 x 3 x 2
    assert {one.params["x"] for one in told} == {0.0, 0.5, 1.0}
    assert {round(one.params["y"], 12) for one in told} == {0.01, 0.1, 1.0}
    sampler = make_sampler(Sampler(name="grid"))
    assert (
        exhausted(Proposals(space, told), sampler)
        == "the sampler has nothing more to propose: every point of its grid was tried"
    )


def test_a_grid_with_given_points_tries_each_once_also_beside_the_published_config():
    space = {"x": Range(low=0.0, high=1.0), "n": Range(low=1, high=3, integer=True)}
    sampler = make_sampler(Sampler(name="grid", options={"points": {"x": 5}}))
    told = [trial(0, {"x": 0.25, "n": 2}, 0.5), trial(1, {"x": 0.33, "n": 2}, 0.5)]
    while (params := propose("s", space, sampler, 1, told, None, "s", 10)) is not None:
        told.append(trial(len(told), params, 0.5))
    points = {(one.params["x"], one.params["n"]) for one in told[2:]} | {(0.25, 2)}
    assert points == {(x, n) for x in (0.0, 0.25, 0.5, 0.75, 1.0) for n in (1, 3)} | {(0.25, 2)}
    assert len(told) == 12


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"name": "grid", "options": {"point": 3}}, r"sampler\.options\.point: grid .*its options are points; did you"),
        ({"name": "sobol", "options": {"scramble": False}}, r"sampler\.options\.scramble: sobol .*options are none"),
        ({"name": "tpe", "options": {"startup": 3}}, r"startup: tpe .*startup is a field of sampler, not an option"),
        ({"name": "grid", "options": {"points": 0}}, r"points: must be whole numbers from 1 to 1000, got 0"),
        ({"name": "grid", "options": {"points": {"x": True}}}, "points: must be whole numbers .*got True"),
        ({"name": "grid", "options": {"points": "3"}}, "points: must be whole numbers .*got '3'"),
        ({"name": "cmaes", "options": {"population": 1}}, "population: must be a whole number from 2, got 1"),
        ({"name": "cmaes", "options": {"sigma": 0}}, "sigma: must be above 0 and at most 1, got 0"),
    ],
)
def test_options_that_a_sampler_does_not_have_are_refused_in_one_sentence(settings, complaint):
    if settings["name"] == "cmaes":
        pytest.importorskip("cmaes")
    with pytest.raises(InputError, match=complaint) as refusal:
        make_sampler(Sampler(**settings))
    assert "\n" not in str(refusal.value)


def test_a_sampler_whose_package_is_missing_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(
        InputError, match=r"cmaes cannot be made here: it needs the package cmaes, .*: pip install 'kdsweep\[cmaes\]'$"
    ):
        make_sampler(Sampler(name="cmaes"))


def test_a_model_sees_the_best_and_the_newest_of_many_trials():
    told = [trial(n, {"x": n}, derive(n, "score") % 1000 / 1000) for n in range(600)]
    told[3] = trial(3, {"x": 3}, 0.99, "pruned")
    told[550] = trial(550, {"x": 550}, None, "running")
    shown = Ranked(told).bounded()
    assert len(shown) == GOOD + OTHERS + 1
    assert [one.number for one in shown] == sorted(one.number for one in shown)
    complete = sorted((one for one in told if one.state == "complete"), key=lambda one: one.score, reverse=True)
    assert {one.number for one in complete[:GOOD]} <= {one.number for one in shown}
    assert {one.number for one in told[-OTHERS // 2 :]} <= {one.number for one in shown}
    assert 3 not in {one.number for one in shown}
    few = told[: GOOD + OTHERS]
    assert list(Ranked(few).bounded()) == few


def test_a_model_sees_a_bounded_number_of_running_trials():
    told = [trial(n, {"x": n}, n / 600) for n in range(30)]
    told += [trial(n, {"x": n}, None, "running") for n in range(30, 600)]
    shown = Ranked(told).bounded()
    assert [one.number for one in shown] == [*range(30), *range(600 - RUNNING, 600)]
    assert not follows_scores(make_sampler(Sampler(name="tpe", startup=31)), told)
    assert follows_scores(make_sampler(Sampler(name="tpe", startup=30)), told)


def follows_scores(sampler, told):
    """Whether proposals lie where there are scores: in the first twentieth of the range."""
    drawn = [propose("s", {"x": Range(low=0.0, high=600.0)}, sampler, seed, told, None)["x"] for seed in range(20)]
    return sum(x < 60 for x in drawn) > 15


def lives(count):
    """Trials of every kind, and what Optuna is to know of them: state, value, curve, whether it is not possible."""
    states = ("complete", "pruned", "diverged", "failed", "running")
    for number in range(count):
        draw = derive(number, "life") / 2**63
        params, state = {"x": draw, "y": 0.01 + 0.9 * derive(number, "y") / 2**63}, states[derive(number) % 5]
        score = None if number % 7 == 0 else round(draw, 1) - 0.5
        one = trial(number, params, score, state)
        if number % 31 == 0:
            yield InvalidProposal(params, "not valid"), ("COMPLETE", 0.0, {}, True)
        elif state == "diverged":
            yield one, ("COMPLETE", 0.0, {}, True)
        elif state == "pruned":
            yield one, ("PRUNED", None, one.curve, False)
        elif state == "complete" and score is not None:
            yield one, ("COMPLETE", score, {}, False)
        else:
            yield one, ("RUNNING" if state == "running" else "FAIL", None, {}, False)


@pytest.mark.parametrize("count", [0, 5, 12, 100, 240])
def test_tpe_proposes_what_optuna_does_that_is_told_of_every_trial(count):
    told = list(lives(count))
    shown = sorted(told, key=lambda pair: not pair[0].is_valid)
    distributions = {"x": FloatDistribution(0.0, 1.0), "y": FloatDistribution(0.01, 1.0, log=True)}
    sampler, ours = TPESampler(startup=4), Ranked([one for one, _ in told])
    invalid = sum(not one.is_valid for one, _ in told)
    for seed in (3, 4):
        theirs = optuna.samplers.TPESampler(n_startup_trials=4 + invalid, seed=seed)
        study = optuna.create_study(direction="maximize", sampler=theirs)
        for one, (state, value, curve, is_not_possible) in shown:
            state = optuna.trial.TrialState[state]
            known = {"params": dict(one.params), "distributions": distributions, "intermediate_values": dict(curve)}
            frozen = optuna.trial.create_trial(state=state, value=value, **known)
            if is_not_possible:
                pytest.importorskip("optuna", "5.0", reason="Optuna 4 has no constraints of a trial to compare with")
                frozen.set_constraint("not possible", 1.0)
            study.add_trial(frozen)
        assert sampler.propose("s", UNIT, ours, seed) == study.ask(distributions).params


def test_tpe_looks_again_at_a_trial_to_which_something_has_happened(monkeypatch):
    told = [trial(n, {"x": n / 30, "y": 0.5}, n / 30) for n in range(30)]
    late, ours, looks = trial(30, {"x": 0.1, "y": 0.02}, None, "running"), Ranked(told), []
    ours.update(late)
    sampler, translated = TPESampler(), by_optuna._as_optuna
    monkeypatch.setattr(by_optuna, "_as_optuna", lambda *args: looks.append(args[1]) or translated(*args))
    sampler.propose("s", UNIT, ours, 1)
    assert len(looks) == 31
    sampler.propose("s", UNIT, ours, 2)
    assert len(looks) == 31
    late.state, late.reports = TrialState.COMPLETE, trial(30, {}, 5.0).reports
    ours.update(late)
    proposal = sampler.propose("s", UNIT, ours, 3)
    assert looks[31:] == [(COMPLETE, 0.0, 5.0)]
    assert proposal == TPESampler().propose("s", UNIT, Ranked([*told, late]), 3)


@pytest.mark.parametrize("name", ALL)
def test_a_sweep_that_was_killed_proposes_as_one_left_alone(fake, tmp_path, name):
    if name == "cmaes":
        pytest.importorskip("cmaes")
    spec = fake.make_spec(
        studies=["none", "kd"], budget={"trials": 7}, sampler={"name": name}, confirm={"top": 0}, repeats=1
    )
    whole = fake.run(spec, tmp_path / "whole")
    for cut in (12, 31):
        state = fake.resumed(tmp_path / f"cut{cut}", cut, lambda folder: fake.run(spec, folder))
        assert [(one.id, one.params) for one in state.trials.values()] == [
            (one.id, one.params) for one in whole.trials.values()
        ]


def test_the_end_of_a_grid_is_said_in_words(fake, tmp_path):
    spec = fake.make_spec(studies=["none"], sampler={"name": "grid", "options": {"points": 2}}, confirm={"top": 0})
    state = fake.run(spec, tmp_path)
    assert state.searches.exhausted["none"].endswith("every point of its grid was tried")
    assert len(state.trials) == 3  # the published value lies between the points
