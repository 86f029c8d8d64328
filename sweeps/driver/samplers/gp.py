"""Proposes where a Gaussian process of the scores expects the largest improvement."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from scipy.special import ndtr

from kdtrain.config_base import Strict
from kdtrain.runtime.random_streams import numpy_rng
from kdtrain.space import Scalar
from sweeps.driver.samplers.cube import Cube
from sweeps.driver.samplers.evidence import GOOD, NEWEST, OF_OTHERS, Ends, Evidence, Gains, evidence, statement
from sweeps.driver.samplers.gaussian_process import GaussianProcess, Kernel, Observations, fitted
from sweeps.driver.samplers.options import Switch, checked
from sweeps.driver.samplers.ranking import Ranked, ranked
from sweeps.driver.samplers.sobol import SobolSampler
from sweeps.driver.searched import SearchedTrial, SearchSampler
from sweeps.ledger.trial_state import TrialState
from sweeps.spec.paths import Space, drawn, recipe_of

_EVERYWHERE, _NEAR, _TOPS, _ROUNDS = 256, 12, 6, 3
"""Candidates: drawn from the whole space, and in each round around the best ones at each of two distances."""
_DISTANCES = (0.1, 0.03)
_APART = 0.05
"""How far from every trial a proposal is at least, where any candidate is: fresh seeds tell more of the same config."""
_CHANGED = 0.6
"""How often a parameter of a candidate nearby differs."""


class GPOptions(Strict):
    """The options of `GPSampler`."""

    share: Switch = False


class GPSampler(SearchSampler):
    """Gaussian process: proposes where the expected improvement is largest. Jones et al. 1998, equation 15.

    The model is of final scores. A trial that was stopped or still runs counts as its last score plus what complete
    trials have gained from that epoch on, and the spread of these gains is its noise (inferred). One that diverged, and
    parameters that make no valid config, count as the worst. The improvement is that over the expected score of the
    best config so far, so that a lucky score is not chased, and it counts less where the model knows as much as one
    more noisy score would tell (Huang et al. 2006, equation 17).

    The lengths and variances of the model are fitted to trials that have ended: anew after every end in a short search,
    after every eighth in a long one.

    With `share` the trials of the sweep's other studies count for the recipe, the parameters outside of `terms.`: the
    score of a study is a function of the recipe that all share, plus one of all parameters that is its own, plus a
    level (inferred). How much the studies have in common follows from the scores. Studies are then not independent.

    Args:
        startup: Trials that must say something before the model is used, with `share` those of all studies together;
            until then the configs fill the space evenly.
        share: Whether what other studies have learnt about the recipe counts.

    Raises:
        InputError: If an option is not valid.
    """

    def __init__(self, startup: int = 6, share: bool = False) -> None:
        self._startup, self._share = startup, checked(GPOptions, share=share).share
        self._ends: WeakKeyDictionary[Ranked, Ends] = WeakKeyDictionary()
        self._fits: WeakKeyDictionary[Ranked, _Fit] = WeakKeyDictionary()
        """By search; both follow from its trials alone."""

    def propose(self, study: str, space: Space, trials: Sequence[SearchedTrial], seed: int) -> dict[str, Scalar]:
        """See `sweeps.driver.sampler.ConfigSampler`."""
        searched, others = ranked(trials), self._others(space)
        given = _evidence_now(space, searched, others)
        if not given.scores or len(given.scores) + len(given.others) < self._startup:
            return SobolSampler().for_search(self._search).propose(study, space, trials, seed)
        cube, rng, shares_recipe = Cube(space), numpy_rng(seed, "gp"), bool(given.others)
        observations, running = _observations(cube, given, shares_recipe), cube.points_of(given.running)
        points = observations.points[: len(given.scores)]
        theta = self._theta(cube, searched, others if shares_recipe else [])
        process = GaussianProcess(observations, running, theta)
        best = process(points)[0]
        lead, noise, allows = best.max(), process.noise, self._search.allows

        def improvement(shares: np.ndarray) -> np.ndarray:
            expected, deviation = process(cube.points(shares))
            ahead = (expected - lead) / deviation
            expected_gain = deviation * (ahead * ndtr(ahead) + np.exp(-(ahead**2) / 2) / np.sqrt(2 * np.pi))
            improved = np.asarray(expected_gain * (1 - noise / np.hypot(noise, deviation)))
            if allows is None:
                return improved
            return np.where([allows(drawn(space, place)) for place in shares.tolist()], improved, -1.0)

        near = [cube.shares_of(given.scores[index].params) for index in np.argsort(-best)[: _TOPS // 2]]
        shares = _candidates(improvement, np.array(near), rng)
        apart = _distance(cube.points(shares), np.vstack([points, running]))
        for least in (_APART, 1e-9):
            for place in shares[apart > least].tolist():
                if not self._is_tried(space, trials, params := drawn(space, place)):
                    return params
        return drawn(space, shares[0].tolist())

    def _others(self, space: Space) -> list[Ranked]:
        """The trials of the other studies, where they count."""
        if not self._share or not recipe_of(space):
            return []
        return [ranked(trials) for trials in self._search.others.values() if trials]

    def _theta(self, cube: Cube, searched: Ranked, others: Sequence[Ranked]) -> np.ndarray:
        """Lengths and variances of the model; of the recipe, too, if other studies count."""
        ends = [self._ends.setdefault(each, Ends()) for each in (searched, *others)]
        for of_search, trials in zip(ends, (searched, *others), strict=True):
            of_search.update(trials.told)
        counts = tuple(each.count for each in ends)
        fit = self._fits.get(searched)
        if fit is None or fit.space is not cube.space or fit.counts != counts:
            complete = (trial for each in ends for trial in each.complete())
            of_others = [each.shown(*_looked_at(others)) for each in ends[1:]]
            given = evidence(ends[0].shown(GOOD, NEWEST), of_others, Gains(complete), recipe_of(cube.space))
            theta = fitted(_observations(cube, given, bool(others)))
            fit = self._fits[searched] = _Fit(cube.space, counts, theta)
        return fit.theta


@dataclass(frozen=True)
class _Fit:
    """Lengths and variances, and after how many ends of each search they were fitted."""

    space: Space
    counts: tuple[int, ...]
    theta: np.ndarray


def _looked_at(others: Sequence[Ranked]) -> tuple[int, int]:
    """How many good and how many new trials of each other study are looked at."""
    count = max(2, OF_OTHERS // max(1, len(others)) // 2)
    return count, count


def _evidence_now(space: Space, searched: Ranked, others: Sequence[Ranked]) -> Evidence:
    """What the trials say now."""
    best = (trial for each in (searched, *others) for trial in each.best(GOOD))
    gains = Gains(trial for trial in best if trial.state is TrialState.COMPLETE)
    of_others = [map(statement, each.bounded(*_looked_at(others))) for each in others]
    return evidence(map(statement, searched.bounded(GOOD, NEWEST)), of_others, gains, recipe_of(space))


def _observations(cube: Cube, given: Evidence, shares_recipe: bool) -> Observations:
    """What the model is given: scores of mean 0 in every study and a standard deviation of 1 in all."""
    every = [*given.scores, *given.others]
    groups = np.array([each.group for each in every], int)
    values = np.array([each.value for each in every])
    for group in set(groups.tolist()):
        values[groups == group] -= values[groups == group].mean()
    scale = (float(np.sqrt(np.mean(values**2))) if every else 0.0) or 1.0
    variances = np.array([each.variance for each in every]) / scale**2
    searched, everyone = groups == 0, np.ones(len(groups), bool)
    whole = Kernel(range(cube.width), searched, 0.3 if shares_recipe else 1.0, elsewhere=shares_recipe)
    recipe = [axis for path in recipe_of(cube.space) for axis in cube.axes[path]]
    kernels = [Kernel(recipe, everyone), whole] if shares_recipe else [whole]
    points = cube.points_of([each.params for each in every])
    return Observations(points, values / scale, variances, groups, kernels)


def _distance(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How far each point is from the nearest of the others, `(n,)`."""
    squares = ((points[:, None, :] - others[None, :, :]) ** 2).sum(axis=2)
    return np.asarray(np.sqrt(squares.min(axis=1)))


def _candidates(
    improvement: Callable[[np.ndarray], np.ndarray], near: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Shares of candidates, those with the largest improvement first."""
    number = near.shape[1]
    shares = rng.random((_EVERYWHERE, number))
    tops = near
    for _ in range(_ROUNDS):
        best = shares[np.argsort(-improvement(shares), kind="stable")[:_TOPS]]
        around = np.repeat(np.vstack([best, tops]), _NEAR * len(_DISTANCES), axis=0)
        distances = np.resize(np.repeat(_DISTANCES, _NEAR), len(around))[:, None]
        steps = rng.normal(0, 1, around.shape) * distances * (rng.random(around.shape) < _CHANGED)
        shares, tops = np.vstack([best, np.clip(around + steps, 0.0, 1 - 1e-9)]), near[:0]
    return shares[np.argsort(-improvement(shares), kind="stable")]
