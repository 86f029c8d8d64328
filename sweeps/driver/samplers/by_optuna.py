"""Samplers of Optuna, rebuilt from the trials so far for every proposal."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Self

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from kdtrain.space import Choice, Domain, Scalar
from sweeps.driver.samplers.ranking import Ranked, ranked
from sweeps.driver.searched import SearchedTrial
from sweeps.ledger.trial_state import TrialState
from sweeps.spec.paths import Space

optuna.logging.set_verbosity(optuna.logging.ERROR)
_Space = dict[str, BaseDistribution]
_NOON = datetime(2000, 1, 1, 12)
"""Optuna wants to know when a trial ran, and no sampler looks at it."""


class RandomSampler:
    """Draws every config from the whole space, independently of earlier trials."""

    def propose(self, study: str, space: Space, trials: Sequence[SearchedTrial], seed: int) -> dict[str, Scalar]:
        """See `sweeps.driver.sampler.ConfigSampler`."""
        return _ask(optuna.samplers.RandomSampler(seed=_optuna_seed(seed)), _distributions(space), ())


class TPESampler:
    """Tree-structured Parzen estimator: draws where good trials are denser than bad ones. Bergstra et al. 2011.

    Args:
        startup: Random trials of a study before it learns from them.
    """

    def __init__(self, startup: int = 6) -> None:
        self._startup = startup

    def propose(self, study: str, space: Space, trials: Sequence[SearchedTrial], seed: int) -> dict[str, Scalar]:
        """See `sweeps.driver.sampler.ConfigSampler`."""
        best_first, distributions = ranked(trials), _distributions(space)
        shown = best_first.bounded()
        startup = _startup(self._startup, best_first, shown)
        sampler = optuna.samplers.TPESampler(n_startup_trials=startup, seed=_optuna_seed(seed))
        return _ask(sampler, distributions, (_as_optuna(trial, distributions) for trial in shown))


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
