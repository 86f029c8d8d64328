"""Proposes where a Gaussian process of the scores expects the largest improvement."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

import numpy as np
from scipy.special import ndtr

from kdtrain.config_base import Strict
from kdtrain.runtime.random_streams import numpy_rng
from kdtrain.space import Scalar, contains
from sweeps.driver.samplers.cube import Cube
from sweeps.driver.samplers.gaussian_process import GaussianProcess, Kernel, Observations
from sweeps.driver.samplers.options import Switch, checked
from sweeps.driver.samplers.ranking import WORST, ranked, worth
from sweeps.driver.samplers.sobol import SobolSampler
from sweeps.driver.searched import SearchedTrial, SearchSampler
from sweeps.ledger.trial_state import TrialState
from sweeps.spec.paths import Space, drawn, recipe_of

_GOOD, _NEWEST = 24, 24
"""The trials that the model is fitted to at most: the best, and the newest others."""
_OF_OTHERS = 48
"""Trials of other studies that it is fitted to at most, all studies together."""
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

    def propose(self, study: str, space: Space, trials: Sequence[SearchedTrial], seed: int) -> dict[str, Scalar]:
        """See `sweeps.driver.sampler.ConfigSampler`."""
        told = self._told(space, trials)
        if not told.own or len(told.own) + len(told.others) < self._startup:
            return SobolSampler().for_search(self._search).propose(study, space, trials, seed)
        cube, rng = Cube(space), numpy_rng(seed, "gp")
        points = cube.points_of([each.params for each in told.own])
        process = _process(cube, points, told)
        best = process(points)[0]

        def improvement(shares: np.ndarray) -> np.ndarray:
            expected, deviation = process(cube.points(shares))
            lead = (expected - best.max()) / deviation
            expected_gain = deviation * (lead * ndtr(lead) + np.exp(-(lead**2) / 2) / np.sqrt(2 * np.pi))
            return np.asarray(expected_gain * (1 - process.noise / np.hypot(process.noise, deviation)))

        near = [cube.shares_of(told.own[index].params) for index in np.argsort(-best)[: _TOPS // 2]]
        shares = _candidates(improvement, np.array(near), rng)
        apart = _distance(cube.points(shares), np.vstack([points, cube.points_of(told.running)]))
        for least in (_APART, 1e-9):
            if (apart > least).any():
                return drawn(space, shares[np.argmax(apart > least)].tolist())
        return drawn(space, shares[0].tolist())

    def _told(self, space: Space, trials: Sequence[SearchedTrial]) -> "_Told":
        recipe = recipe_of(space)
        others = {name: each for name, each in self._search.others.items() if self._share and recipe and each}
        gains = _Gains([trials, *others.values()])
        own, running = _values(_looked_at(trials, _GOOD, _NEWEST), gains)
        of_others = []
        for group, of_study in enumerate(others.values(), start=1):
            count = max(2, _OF_OTHERS // len(others) // 2)
            told, _ = _values(_looked_at(of_study, count, count), gains)
            there = [
                _Value({path: each.params[path] for path in recipe}, each.value, each.variance, group)
                for each in told
                if all(path in each.params and contains(recipe[path], each.params[path]) for path in recipe)
            ]
            of_others += there if len(there) > 1 else []
        return _Told(own, of_others, running, tuple(recipe))


@dataclass(frozen=True)
class _Value:
    """What a trial says: a score at full length, with the variance of its extrapolation; its study by number."""

    params: Mapping[str, Scalar]
    value: float
    variance: float = 0.0
    group: int = 0


@dataclass(frozen=True)
class _Told:
    own: Sequence[_Value]
    others: Sequence[_Value]
    running: Sequence[Mapping[str, Scalar]]
    recipe: Sequence[str]


class _Gains:
    """What complete trials have gained from an epoch to the end."""

    def __init__(self, searches: Sequence[Sequence[SearchedTrial]]) -> None:
        self._of_epoch: dict[int, list[float]] = {}
        self._since: dict[int, tuple[float, float]] = {}
        for trials in searches:
            for trial in ranked(trials).best(_GOOD):
                if trial.state is TrialState.COMPLETE and (score := trial.score) is not None:
                    for epoch, then in trial.curve.items():
                        self._of_epoch.setdefault(epoch, []).append(score - then)

    def since(self, epoch: int) -> tuple[float, float] | None:
        """Mean and variance of the gains; none if no complete trial was evaluated after this epoch."""
        if epoch not in self._since and (gains := self._of_epoch.get(epoch)):
            middle = mean(gains)
            self._since[epoch] = middle, stdev(gains) ** 2 if len(gains) > 2 else (middle / 2) ** 2
        return self._since.get(epoch)


def _looked_at(trials: Sequence[SearchedTrial], good: int, newest: int) -> list[SearchedTrial]:
    """The best trials, the newest others that have ended, and the newest that have not."""
    shown = ranked(trials).bounded(good, newest)
    unfinished = [trial for trial in shown if trial.state.is_unfinished]
    return [*(trial for trial in shown if not trial.state.is_unfinished), *unfinished[-newest:]]


def _values(trials: Sequence[SearchedTrial], gains: _Gains) -> tuple[list[_Value], list[Mapping[str, Scalar]]]:
    """What trials say, and the parameters of those that say nothing yet."""
    told, worst, running = list[_Value](), list[Mapping[str, Scalar]](), list[Mapping[str, Scalar]]()
    for trial in trials:
        ended, score = worth(trial), trial.score
        if ended is not None and ended[0] == WORST:
            worst.append(trial.params)
        elif trial.state is TrialState.COMPLETE and score is not None:
            told.append(_Value(trial.params, score))
        elif trial.curve and (since := gains.since(max(trial.curve))) is not None:
            told.append(_Value(trial.params, trial.curve[max(trial.curve)] + since[0], since[1]))
        elif trial.state.is_unfinished:
            running.append(trial.params)
    lowest = min((each.value for each in told), default=0.0)
    return [*told, *(_Value(params, lowest) for params in worst)] if told else [], running


def _process(cube: Cube, points: np.ndarray, told: _Told) -> GaussianProcess:
    """The model; scores are brought to a mean of 0 in every study and a standard deviation of 1 in all."""
    every = [*told.own, *told.others]
    groups = np.array([each.group for each in every])
    values = np.array([each.value for each in every])
    for group in set(groups.tolist()):
        values[groups == group] -= values[groups == group].mean()
    scale = float(np.sqrt(np.mean(values**2))) or 1.0
    variances = np.array([each.variance for each in every]) / scale**2
    own, everyone = groups == 0, np.ones(len(groups), bool)
    whole = Kernel(range(points.shape[1]), own, 0.3 if told.others else 1.0, elsewhere=bool(told.others))
    recipe = [axis for path in told.recipe for axis in cube.axes[path]]
    kernels = [Kernel(recipe, everyone), whole] if told.others else [whole]
    every_point = np.vstack([points, cube.points_of([each.params for each in told.others])])
    observations = Observations(every_point, values / scale, variances, groups, kernels)
    return GaussianProcess(observations, cube.points_of(told.running))


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
