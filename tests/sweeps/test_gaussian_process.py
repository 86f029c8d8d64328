"""The sampler `gp`: its regression against the textbook's formulas, what it learns from, and whole lives of sweeps."""

import math

import numpy as np
import pytest
from scipy.optimize import check_grad
from test_search import trial

from kdtrain.loop.reports import EpochReport
from kdtrain.space import Choice, Range
from sweeps.driver.proposals import Proposals
from sweeps.driver.sampler import make_sampler, propose
from sweeps.driver.samplers import gp
from sweeps.driver.samplers.cube import Cube
from sweeps.driver.samplers.gaussian_process import Covariance, GaussianProcess, Kernel, Observations, fitted
from sweeps.driver.samplers.ranking import Ranked
from sweeps.driver.searched import Search
from sweeps.ledger.trial_record import InvalidProposal
from sweeps.spec.paths import drawn
from sweeps.spec.settings import Sampler

LINE = {"x": Range(low=0.0, high=1.0)}
RECIPE = {"optimizer.lr": Range(low=0.0, high=1.0), "terms.x.weight": Range(low=0.0, high=1.0)}


def observations(kernels=2):
    rng = np.random.default_rng(0)
    points, groups = rng.random((14, 3)), np.array([0] * 9 + [1] * 5)
    own, everyone = groups == 0, np.ones(14, bool)
    parts = [Kernel([0], everyone), Kernel([0, 1, 2], own, 0.3, elsewhere=True)][2 - kernels :]
    values = np.sin(4 * points[:, 0]) + np.where(own, points[:, 1], 0) + 0.1 * rng.standard_normal(14)
    return Observations(points, values, np.where(np.arange(14) % 3, 0.0, 0.2), groups, parts)


def matern(a, b, lengths):
    r = math.sqrt(5) * math.dist(a / lengths, b / lengths)
    return (1 + r + r * r / 3) * math.exp(-r)


def test_the_regression_is_that_of_the_textbook():
    """Rasmussen & Williams 2006, equations 2.25 and 2.26, written out point by point with the fitted parameters."""
    given, running = observations(), np.array([[0.2, 0.9, 0.5]])
    theta = fitted(given)
    process = GaussianProcess(given, running, theta)
    theta = np.exp(theta)  # variance and length of the recipe, variance and lengths of all, noise

    def covariance(a, b, group_a, group_b):
        total = 0.25 * (group_a == group_b) + theta[0] * matern(a[:1], b[:1], theta[1:2])
        return total + (theta[2] * matern(a, b, theta[3:6]) if group_a == group_b == 0 else 0.0)

    points = np.vstack([given.points, running])
    places = list(zip(points, [*given.groups, 0], strict=True))
    matrix = np.array([[covariance(a, b, g, h) for b, h in places] for a, g in places])
    noise = theta[6] + 1e-6 + np.array([*given.variances, 0.0]) + np.where([*given.groups, 0], theta[2], 0.0)
    matrix += np.diag(noise)
    where = np.random.default_rng(1).random((4, 3))
    expected, deviation = process(where)
    for number, point in enumerate(where):
        across = np.array([covariance(point, b, 0, h) for b, h in places])
        mean = across[:-1] @ np.linalg.solve(matrix[:-1, :-1], given.values)
        variance = covariance(point, point, 0, 0) - across @ np.linalg.solve(matrix, across)
        assert expected[number] == pytest.approx(mean, abs=1e-9)
        assert deviation[number] == pytest.approx(math.sqrt(variance), abs=1e-9)


@pytest.mark.parametrize("kernels", [1, 2])
def test_the_derivatives_of_the_covariance_are_those_of_small_steps(kernels):
    covariance = Covariance(observations(kernels))
    weights = np.random.default_rng(2).random((14, 14))
    theta = fitted(observations(kernels)) + 0.1

    def value(theta):
        return float((weights * covariance(theta)[0]).sum())

    def slope(theta):
        return np.array([(weights * each).sum() for each in covariance(theta)[1]])

    assert check_grad(value, slope, theta) < 1e-4 * abs(value(theta))


def test_the_cube_keeps_what_a_space_says_of_its_values():
    space = {
        "rate": Range(low=0.01, high=1.0, log=True),
        "number": Choice(choices=(1, 2, 4)),
        "layer": Choice(choices=("a", None)),
        "grid": Range(low=1, high=3, integer=True),
    }
    cube = Cube(space)
    assert cube.width == 5
    config = {"rate": 0.1, "number": 2, "layer": None, "grid": 1}
    assert cube.points_of([config])[0] == pytest.approx([0.5, 0.5, 0.0, math.sqrt(0.5), 1 / 6])
    shares = np.random.default_rng(0).random((20, 4))
    assert cube.points(shares) == pytest.approx(cube.points_of([drawn(space, each) for each in shares.tolist()]))


def proposals(told, space=LINE, others=(), count=8, **options):
    """Proposals of the sampler for seeds of their own."""
    tried = Proposals(space, told)
    tried.others = {str(number): Ranked(trials) for number, trials in enumerate(others)}
    sampler = make_sampler(Sampler(name="gp", startup=3, options=options))
    return [propose("s", space, sampler, seed, tried, None) for seed in range(count)]


def curved(number, params, final, epochs=4, of=4, gain=0.1, state=None):
    """A trial whose score grows by `gain` with every epoch up to `final` at the last one."""
    record = trial(number, params, state=state or ("complete" if epochs == of else "pruned"))
    record.config = {"epochs": of}
    scores = {epoch: final - gain * (of - epoch) for epoch in range(1, epochs + 1)}
    record.reports = {epoch: EpochReport(epoch, of, {"miou": each}, {}, 0.1, {}, 8) for epoch, each in scores.items()}
    return record


@pytest.mark.parametrize("state", ["pruned", "running"])
def test_a_trial_without_an_end_counts_as_what_complete_ones_would_have_gained(state):
    """By its last score a trial at 0.8 would look as bad as the complete ones; it is the best by 0.2."""
    complete = [curved(n, {"x": x}, 0.5) for n, x in enumerate((0.1, 0.3, 0.5))]
    early = [curved(n, {"x": x}, 0.7, epochs=2, state=state) for n, x in enumerate((0.8, 0.9), start=3)]
    drawn = [params["x"] for params in proposals([*complete, *early])]
    assert sum(drawn) / len(drawn) > 0.7
    late = [curved(n, {"x": x}, 0.3, epochs=2, state=state) for n, x in enumerate((0.8, 0.9), start=3)]
    drawn = [params["x"] for params in proposals([*complete, *late])]
    assert sum(drawn) / len(drawn) < 0.6


def test_a_cliff_does_not_hide_what_lies_before_it():
    rates = [n / 12 for n in range(13)]
    told = [curved(n, {"x": x}, 0.5 - 0.1 * (x - 0.6) ** 2 if x < 0.8 else 0.01) for n, x in enumerate(rates)]
    drawn = [params["x"] for params in proposals(told)]
    assert sum(0.35 < x < 0.79 for x in drawn) >= 7


def test_a_good_config_is_not_proposed_again_with_a_tiny_change():
    told = [curved(n, {"x": x}, 0.5 - (x - 0.5) ** 2) for n, x in enumerate((0.1, 0.3, 0.5, 0.7, 0.9))]
    assert all(abs(params["x"] - one.params["x"]) > 0.04 for params in proposals(told) for one in told)


def test_running_trials_keep_others_away():
    told = [curved(n, {"x": n / 10}, 0.5 - (n / 10 - 0.55) ** 2) for n in (1, 3, 8, 10)]
    first = proposals(told, count=1)[0]["x"]
    running = [trial(5 + n, {"x": first + step}, state="running") for n, step in enumerate((-0.03, 0, 0.03))]
    assert all(abs(params["x"] - first) > 0.1 for params in proposals([*told, *running]))


def of_recipe(count, best, level=0.5):
    """Trials of another study whose score depends on the rate alone."""
    rates = [(n + 0.5) / count for n in range(count)]
    return [
        curved(n, {"optimizer.lr": rate, "terms.y.weight": 0.5}, level - 0.3 * (rate - best) ** 2)
        for n, rate in enumerate(rates)
    ]


def test_what_other_studies_have_learnt_about_the_recipe_counts_where_it_is_asked_for():
    told = [curved(0, {"optimizer.lr": 0.3, "terms.x.weight": 0.5}, 0.4)]
    others = [of_recipe(6, 0.8), of_recipe(6, 0.8, level=0.2)]
    alone = [params["optimizer.lr"] for params in proposals(told, RECIPE, others, share=False)]
    assert alone == [params["optimizer.lr"] for params in proposals(told, RECIPE)]
    shared = proposals(told, RECIPE, others, share=True)
    assert all(abs(params["optimizer.lr"] - 0.8) < 0.25 for params in shared)
    assert np.ptp([params["terms.x.weight"] for params in shared]) > 0.2


def test_the_level_of_other_studies_does_not_matter():
    told = [curved(n, {"optimizer.lr": x, "terms.x.weight": 0.5}, 0.4) for n, x in enumerate((0.1, 0.9))]
    near, far = (proposals(told, RECIPE, [of_recipe(6, 0.8, level)], share=True, count=3) for level in (0.5, 0.9))
    assert [list(params.values()) for params in near] == [pytest.approx(list(params.values())) for params in far]


def test_a_study_whose_own_trials_disagree_with_the_others_believes_its_own():
    rates = [0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95]
    told = [
        curved(n, {"optimizer.lr": rate, "terms.x.weight": 0.5}, 0.5 - (rate - 0.1) ** 2)
        for n, rate in enumerate(rates)
    ]
    shared = proposals(told, RECIPE, [of_recipe(6, 0.9)], share=True)
    assert sum(params["optimizer.lr"] < 0.4 for params in shared) >= 7


def test_a_study_that_sets_the_recipe_otherwise_shares_nothing():
    told = [curved(n, {"optimizer.lr": x, "terms.x.weight": 0.5}, 0.4 + x / 10) for n, x in enumerate((0.1, 0.5, 0.9))]
    outside = [curved(n, {"optimizer.lr": 5.0 + n}, 0.5 - n / 10) for n in range(4)]
    without = [trial(n, {"terms.y.weight": 0.9}, 0.5) for n in range(4)]
    assert proposals(told, RECIPE, [outside, without], share=True) == proposals(told, RECIPE)


@pytest.mark.parametrize("told", [[], [trial(n, {"x": n / 9}, state="diverged") for n in range(9)]])
def test_before_anything_is_known_the_space_is_filled_evenly(told):
    drawn = [params["x"] for params in proposals(told)]
    assert len(set(drawn)) == len(drawn)


def test_what_diverged_and_what_is_not_valid_is_avoided():
    told = [curved(n, {"x": n / 10}, 0.5 + n / 100) for n in range(6)]
    told += [trial(n, {"x": n / 10}, state="diverged") for n in (7, 8)]
    told.append(InvalidProposal({"x": 0.95}, "not valid"))
    drawn = [params["x"] for params in proposals(told)]
    assert max(drawn) < 0.7


def test_the_cost_of_a_proposal_has_an_end():
    """The model looks at a bounded number of trials, the unfinished ones and those of other studies included."""
    rng = np.random.default_rng(0)

    def many(count, state=None):
        points = rng.random(count)
        return [
            trial(n, {"optimizer.lr": x, "terms.x.weight": x}, x, state or "complete") for n, x in enumerate(points)
        ]

    seen = []
    make = GaussianProcess.__init__

    def counted(self, given, running, theta):
        seen.append(len(given.values) + len(running))
        make(self, given, running, theta)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(GaussianProcess, "__init__", counted)
        proposals([*many(500), *many(500, "running")], RECIPE, [many(300) for _ in range(20)], share=True, count=1)
    assert max(seen) < 200


def test_lengths_are_fitted_after_some_ends_alone_and_follow_from_the_ends_in_their_order(monkeypatch):
    """A sampler that has seen a search grow proposes what a new one does, whatever it has fitted in between."""
    rng, fits = np.random.default_rng(0), []
    monkeypatch.setattr(gp, "fitted", lambda given: fits.append(len(given.values)) or fitted(given))

    def scored(number):
        x = float(rng.random())
        return curved(number, {"x": x}, 0.5 - (x - 0.6) ** 2, *((2, 4) if number % 3 else (4, 4)))

    growing, lived = Proposals(LINE), make_sampler(Sampler(name="gp"))
    told = [scored(number) for number in range(100)]
    for number, each in enumerate(told):
        growing.update(each)
        growing.tell(each, each.state, math.inf)
        proposed = propose("s", LINE, lived, number, growing, None)
    assert len(fits) < 60
    assert max(fits) == 48
    assert proposed == propose("s", LINE, make_sampler(Sampler(name="gp")), 99, Proposals(LINE, told), None)
    afterwards = [*told, scored(100)]
    growing.update(afterwards[-1])
    growing.tell(afterwards[-1], afterwards[-1].state, math.inf)
    before = len(fits)
    assert propose("s", LINE, lived, 100, growing, None) != proposed
    assert len(fits) == before


def test_a_config_that_was_tried_long_ago_is_not_drawn_again():
    told = [curved(n, {"x": n / 10}, 0.5 - (n / 10 - 0.55) ** 2) for n in (1, 3, 8, 10)]
    sampler, trials = make_sampler(Sampler(name="gp", startup=3)), Ranked(told)
    first = sampler.for_search(Search()).propose("s", LINE, trials, 0)
    second = sampler.for_search(Search(tried=[first])).propose("s", LINE, trials, 0)
    assert 0 < abs(second["x"] - first["x"]) < 0.1


@pytest.mark.parametrize("share", [False, True])
def test_a_sweep_goes_on_as_one_left_alone_and_its_report_says_whether_studies_share(fake, tmp_path, share):
    def spec(share):
        sampler = {"name": "gp", "startup": 2, "options": {"share": share}}
        settings = {"budget": {"trials": 7}, "confirm": {"top": 1, "seeds": 2}, "scheduler": {"name": "halving"}}
        return fake.make_spec(studies=["none", "kd"], sampler=sampler, **settings)

    whole = fake.run(spec(share), tmp_path / "whole")
    state = fake.resumed(tmp_path / "cut", 40, lambda folder: fake.run(spec(share), folder))
    params = {trial.id: trial.params for trial in whole.trials.values()}
    assert {trial.id: trial.params for trial in state.trials.values()} == params
