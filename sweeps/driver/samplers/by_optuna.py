"""Samplers of Optuna, rebuilt from the trials so far for every proposal."""

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Self

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from kdtrain.space import Choice, Domain, Scalar
from sweeps.driver.samplers.beliefs import near
from sweeps.driver.samplers.ranking import COMPLETE, PRUNED, Ranked, ranked, worth
from sweeps.driver.searched import SearchedTrial
from sweeps.ledger.trial_state import TrialState
from sweeps.spec.paths import Space, identity

optuna.logging.set_verbosity(optuna.logging.ERROR)
_Space = dict[str, BaseDistribution]
_NOON = datetime(2000, 1, 1, 12)
"""Optuna wants to know when a trial ran, and no sampler looks at it."""


class RandomSampler:
    """Draws every config from the whole space, independently of earlier trials."""

    def propose(self, study: str, space: Space, trials: Sequence[SearchedTrial], seed: int) -> dict[str, Scalar]:
        """See `sweeps.driver.sampler.ConfigSampler`."""
        return _ask(optuna.samplers.RandomSampler(seed=_optuna_seed(seed)), _distributions(space), ())


class _ModelSampler(ABC):
    """A sampler of Optuna that fits a model to the trials.

    Args:
        startup: Random trials of a study before it learns from them.
    """

    def __init__(self, startup: int = 6) -> None:
        self._startup = startup

    def propose(self, study: str, space: Space, trials: Sequence[SearchedTrial], seed: int) -> dict[str, Scalar]:
        """See `sweeps.driver.sampler.ConfigSampler`."""
        best_first, distributions = ranked(trials), _distributions(space)
        shown = best_first.bounded()
        sampler = self._make(_startup(self._startup, best_first, shown), _optuna_seed(seed))
        return _ask(sampler, distributions, self._as_optuna(shown, distributions))

    @abstractmethod
    def _make(self, startup: int, seed: int) -> optuna.samplers.BaseSampler:
        """Optuna's sampler, which learns once it sees so many ended trials."""

    @abstractmethod
    def _as_optuna(self, trials: Sequence[SearchedTrial], distributions: _Space) -> Iterable[FrozenTrial]:
        """The trials as the model understands them."""


class TPESampler(_ModelSampler):
    """Tree-structured Parzen estimator: draws where good trials are denser than bad ones. Bergstra et al. 2011.

    Args:
        startup: Random trials of a study before it learns from them.
    """

    def _make(self, startup: int, seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.TPESampler(n_startup_trials=startup, seed=seed)

    def _as_optuna(self, trials: Sequence[SearchedTrial], distributions: _Space) -> Iterable[FrozenTrial]:
        return (_as_optuna(trial, distributions) for trial in trials)


class GPSampler(_ModelSampler):
    """Gaussian process: proposes where the expected improvement over the best trial is largest. Jones et al. 1998.

    The model is of scores, so a trial that was stopped early counts as its last score, and at most as the worst
    complete trial; one that diverged counts as the worst of all. Where the expected improvement is largest at a config
    that was tried, as at a corner of the space, one near to it is proposed.

    Args:
        startup: Random trials of a study before it learns from them.
    """

    def propose(self, study: str, space: Space, trials: Sequence[SearchedTrial], seed: int) -> dict[str, Scalar]:
        """See `sweeps.driver.sampler.ConfigSampler`."""
        params = super().propose(study, space, trials, seed)
        is_tried = any(identity(space, trial.params) == identity(space, params) for trial in trials)
        return near(space, params, seed) if is_tried else params

    def _make(self, startup: int, seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.GPSampler(n_startup_trials=max(1, startup), seed=seed, warn_independent_sampling=False)

    def _as_optuna(self, trials: Sequence[SearchedTrial], distributions: _Space) -> Iterable[FrozenTrial]:
        return _scored(trials, distributions)


class _Shared:
    """Optuna copies deeply every trial that is added; these live for one proposal and need no copies."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class _Trial(_Shared, FrozenTrial):
    pass


class _Float(_Shared, FloatDistribution):
    pass


class _Int(_Shared, IntDistribution):
    pass


class _Categorical(_Shared, CategoricalDistribution):
    pass


def _startup(startup: int, best_first: Ranked, shown: Sequence[SearchedTrial]) -> int:
    """How many ended trials Optuna must see among those shown before it learns; proposals that were not valid add."""
    return max(0, startup + best_first.not_valid - (len(best_first) - len(shown)))


def _distributions(space: Space) -> _Space:
    return {path: _distribution(domain) for path, domain in space.items()}


def _distribution(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Choice):
        return _Categorical(domain.choices)
    if domain.integer:
        return _Int(int(domain.low), int(domain.high), log=domain.log)
    return _Float(domain.low, domain.high, log=domain.log)


def _optuna_seed(seed: int) -> int:
    return seed % 2**32


def _ask(
    sampler: optuna.samplers.BaseSampler, distributions: _Space, trials: Iterable[FrozenTrial]
) -> dict[str, Scalar]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns of what is deliberate here, such as features called experimental
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for trial in trials:
            study.add_trial(trial)
        return dict(study.ask(distributions).params)


def _as_optuna(trial: SearchedTrial, distributions: _Space) -> FrozenTrial:
    """A trial as TPE understands it.

    A pruned trial is pruned, with its curve. A diverged one and parameters that make no valid config are infeasible,
    which ranks them below all others: left out, their region would be tried again and again. A failed one says nothing
    about its parameters.
    """
    score = trial.score
    if trial.state.is_unfinished:
        return _trial(trial, distributions, OptunaState.RUNNING)
    if trial.state is TrialState.PRUNED:
        return _trial(trial, distributions, OptunaState.PRUNED, curve=trial.curve)
    if trial.state is TrialState.DIVERGED or not trial.is_valid:
        infeasible = _trial(trial, distributions, OptunaState.COMPLETE, 0.0)
        infeasible.set_constraint("diverged", 1.0)
        return infeasible
    if trial.state is TrialState.COMPLETE and score is not None:
        return _trial(trial, distributions, OptunaState.COMPLETE, score)
    return _trial(trial, distributions, OptunaState.FAIL)


def _scored(trials: Sequence[SearchedTrial], distributions: _Space) -> Iterator[FrozenTrial]:
    """Trials as a model of scores understands them: all that say something are complete, with a score."""
    ended_trials = {number: ended for number, trial in enumerate(trials) if (ended := worth(trial)) is not None}
    lowest = min((score for kind, _, score in ended_trials.values() if kind == COMPLETE), default=0.0)
    stopped = {number: min(last, lowest) for number, (kind, _, last) in ended_trials.items() if kind == PRUNED}
    worst = min([lowest, *(last for last in stopped.values() if math.isfinite(last))])
    for number, trial in enumerate(trials):
        if number in ended_trials:
            kind, _, last = ended_trials[number]
            score = last if kind == COMPLETE else stopped.get(number, worst)
            yield _trial(trial, distributions, OptunaState.COMPLETE, max(score, worst))
        elif trial.state.is_unfinished:
            yield _trial(trial, distributions, OptunaState.RUNNING)


def _trial(
    trial: SearchedTrial,
    distributions: _Space,
    state: OptunaState,
    value: float | None = None,
    curve: Mapping[int, float] | None = None,
) -> FrozenTrial:
    return _Trial(
        number=-1,
        trial_id=-1,
        state=state,
        value=value,
        datetime_start=_NOON,
        datetime_complete=_NOON if state.is_finished() else None,
        params=dict(trial.params),
        distributions=distributions,
        user_attrs={},
        system_attrs={},
        intermediate_values=dict(curve or {}),
    )
