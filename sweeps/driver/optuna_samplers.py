"""The samplers of this project: Optuna's, rebuilt from the trials so far for every proposal."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Self

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from kdtrain.space import Choice, Domain, Scalar
from sweeps.driver.searched import SearchedTrial
from sweeps.ledger.trial_state import TrialState
from sweeps.spec.paths import Space

optuna.logging.set_verbosity(optuna.logging.ERROR)


class RandomSampler:
    """Draws every config from the whole space, independently of earlier trials."""

    def propose(self, study: str, space: Space, trials: Sequence[SearchedTrial], seed: int) -> dict[str, Scalar]:
        """See `sweeps.driver.sampler.ConfigSampler`."""
        return _ask(optuna.samplers.RandomSampler(seed=_optuna_seed(seed)), space, ())


class TPESampler:
    """Tree-structured Parzen estimator: draws where good trials are denser than bad ones. Bergstra et al. 2011.

    Args:
        startup: Random trials of a study before it learns from them.
    """

    def __init__(self, startup: int = 6) -> None:
        self._startup = startup

    def propose(self, study: str, space: Space, trials: Sequence[SearchedTrial], seed: int) -> dict[str, Scalar]:
        """See `sweeps.driver.sampler.ConfigSampler`."""
        startup = self._startup + sum(not trial.is_valid for trial in trials)
        sampler = optuna.samplers.TPESampler(n_startup_trials=startup, seed=_optuna_seed(seed))
        return _ask(sampler, space, trials)


class _Shared:
    """Optuna copies deeply every trial that is added; its distributions never change and need no copies."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class _Float(_Shared, FloatDistribution):
    pass


class _Int(_Shared, IntDistribution):
    pass


class _Categorical(_Shared, CategoricalDistribution):
    pass


def _distribution(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Choice):
        return _Categorical(domain.choices)
    if domain.integer:
        return _Int(int(domain.low), int(domain.high), log=domain.log)
    return _Float(domain.low, domain.high, log=domain.log)


def _optuna_seed(seed: int) -> int:
    return seed % 2**32


def _ask(sampler: optuna.samplers.BaseSampler, space: Space, trials: Iterable[SearchedTrial]) -> dict[str, Scalar]:
    distributions = {path: _distribution(domain) for path, domain in space.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns of what is deliberate here, such as features called experimental
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for trial in trials:
            study.add_trial(_as_optuna(trial, distributions))
        return dict(study.ask(distributions).params)


def _as_optuna(trial: SearchedTrial, distributions: dict[str, BaseDistribution]) -> FrozenTrial:
    """A trial as Optuna's samplers understand it.

    A pruned trial is pruned, with its curve. A diverged one and parameters that make no valid config are infeasible,
    which ranks them below all others: left out, their region would be tried again and again. A failed one says nothing
    about its parameters.
    """
    config: dict[str, Any] = {"params": dict(trial.params), "distributions": distributions}
    score = trial.score
    if trial.state.is_unfinished:
        return create_trial(state=OptunaState.RUNNING, **config)
    if trial.state is TrialState.PRUNED:
        return create_trial(state=OptunaState.PRUNED, intermediate_values=dict(trial.curve), **config)
    if trial.state is TrialState.DIVERGED or not trial.is_valid:
        return create_trial(value=0.0, constraints={"diverged": 1.0}, **config)
    if trial.state is TrialState.COMPLETE and score is not None:
        return create_trial(value=score, **config)
    return create_trial(state=OptunaState.FAIL, **config)
