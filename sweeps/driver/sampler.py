"""What a study tries next: a pure function of the sweep's state.

One Optuna study per study, rebuilt from the records for every proposal, with a sampler seeded by the
proposal's own stream. So a sweep that was resumed proposes exactly what an uninterrupted one would.
"""

import itertools
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from kdtrain.runtime.random_streams import derive, numpy_rng
from kdtrain.space import Choice, Domain
from sweeps.ledger.state import TrialRecord
from sweeps.ledger.trial_state import TrialState
from sweeps.spec.paths import Space, grid, size
from sweeps.spec.spec import Sampler

optuna.logging.set_verbosity(optuna.logging.ERROR)

_REDRAWS = 10
_GRID_LIMIT = 10_000


class _Shared:
    """Optuna copies every trial deeply that it is told; its distributions never change and need no copies."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class _Float(_Shared, FloatDistribution):
    pass


class _Int(_Shared, IntDistribution):
    pass


class _Categorical(_Shared, CategoricalDistribution):
    pass


def distribution(domain: Domain) -> BaseDistribution:
    """The domain in Optuna's words."""
    if isinstance(domain, Choice):
        return _Categorical(domain.choices)
    if domain.integer:
        return _Int(int(domain.low), int(domain.high), log=domain.log)
    return _Float(domain.low, domain.high, log=domain.log)


def propose(
    study: str,
    space: Space,
    sampler: Sampler,
    seed: int,
    told: Sequence[TrialRecord],
    default: Mapping[str, Any] | None,
) -> dict[str, Any] | None:
    """The next parameters of a study.

    Args:
        study: Its name.
        space: What it searches.
        sampler: How.
        seed: The sweep's seed.
        told: Its searched trials so far, the running ones included.
        default: The published parameters, tried first; none where they lie outside of the space.

    Returns:
        Parameters by dotted path, never the same twice; none when a finite space has been tried out.
    """
    number = len(told)
    if number == 0 and default is not None:
        return dict(default)
    tried = [trial.params for trial in told]
    for draw in range(_REDRAWS):
        params = _draw(space, sampler, derive(seed, "search", study, number, draw), told)
        if params not in tried:
            return params
    if size(space) > _GRID_LIMIT:
        return None
    untried = [params for params in itertools.islice(grid(space), _GRID_LIMIT) if params not in tried]
    if not untried:
        return None
    return untried[int(numpy_rng(seed, "search", study, number, "grid").integers(len(untried)))]


def _draw(space: Space, sampler: Sampler, seed: int, told: Iterable[TrialRecord]) -> dict[str, Any]:
    seed %= 2**32
    chosen: optuna.samplers.BaseSampler
    if sampler.name == "random":
        chosen, told = optuna.samplers.RandomSampler(seed=seed), ()  # it learns nothing
    else:
        chosen = optuna.samplers.TPESampler(n_startup_trials=sampler.startup, seed=seed)
    distributions = {path: distribution(domain) for path, domain in space.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns of what is deliberate here, such as features called experimental
        study = optuna.create_study(direction="maximize", sampler=chosen)
        for trial in told:
            study.add_trial(_as_optuna(trial, distributions))
        return dict(study.ask(distributions).params)


def _as_optuna(trial: TrialRecord, distributions: dict[str, BaseDistribution]) -> FrozenTrial:
    """A trial as the sampler is told of it.

    A pruned trial is told as pruned, with its curve. A diverged one is told as infeasible, which ranks it
    below all others: dropped, its region would be tried again and again. A failed one says nothing about its
    parameters.
    """
    about: dict[str, Any] = {"params": trial.params, "distributions": distributions}
    score = trial.score
    if trial.state.is_unfinished:
        return create_trial(state=OptunaState.RUNNING, **about)
    if trial.state is TrialState.PRUNED:
        return create_trial(state=OptunaState.PRUNED, intermediate_values=trial.curve, **about)
    if trial.state is TrialState.DIVERGED:
        return create_trial(value=0.0, constraints={"diverged": 1.0}, **about)
    if trial.state is TrialState.COMPLETE and score is not None:
        return create_trial(value=score, **about)
    return create_trial(state=OptunaState.FAIL, **about)
