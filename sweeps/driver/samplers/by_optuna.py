"""Samplers of Optuna, rebuilt from the trials so far for every proposal."""

import warnings
from collections.abc import Container, Mapping, Sequence
from datetime import datetime
from typing import Any, Self
from weakref import WeakKeyDictionary

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from kdtrain.space import Choice, Domain, Scalar
from sweeps.driver.samplers.ranking import COMPLETE, PRUNED, WORST, Ranked, Worth, ranked
from sweeps.driver.searched import SearchedTrial
from sweeps.spec.paths import Space

optuna.logging.set_verbosity(optuna.logging.ERROR)
_Space = dict[str, BaseDistribution]
_Said = tuple[Worth | None, bool]
"""What a trial says about its parameters, and whether it is unfinished."""
_NOON = datetime(2000, 1, 1, 12)
"""Optuna wants to know when a trial ran, and no sampler looks at it."""
_HAS_CONSTRAINTS = hasattr(FrozenTrial, "set_constraint")
"""Whether a trial holds its constraints, as from Optuna 5; before, a sampler looks for them in a function's answers."""
_CONSTRAINTS = "constraints"
"""Where Optuna 4 looks for the answers."""


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
        self._translated: WeakKeyDictionary[Ranked, _Translated] = WeakKeyDictionary()
        """By search, its trials in Optuna's form; a trial is translated once each time that something happens to it."""

    def propose(self, study: str, space: Space, trials: Sequence[SearchedTrial], seed: int) -> dict[str, Scalar]:
        """See `sweeps.driver.sampler.ConfigSampler`."""
        best_first = ranked(trials)
        if (translated := self._translated.get(best_first)) is None or translated.space != space:
            translated = self._translated[best_first] = _Translated(space)
        shown = best_first.bounded()
        learns = best_first.informative >= self._startup
        settings: dict[str, Any] = {} if _HAS_CONSTRAINTS else {"constraints_func": _constraints}
        sampler = _Estimator(n_startup_trials=0 if learns else len(shown) + 1, seed=_optuna_seed(seed), **settings)
        return _ask(sampler, translated.distributions, translated(best_first, shown))


class _Shared:
    """Optuna copies deeply what it takes in; these are shared by all proposals of a search."""

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


class _Given(optuna.storages.InMemoryStorage):
    """The trials of a search, beside the one that Optuna is asked for; `Study.add_trial` checks each one anew.

    Args:
        trials: Numbered from 1, because the trial that Optuna is asked for is number 0.
    """

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self._given = trials

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[OptunaState] | None = None
    ) -> list[FrozenTrial]:
        new = super().get_all_trials(study_id, deepcopy, states)
        return [*(trial for trial in self._given if states is None or trial.state in states), *new]


class _Estimator(optuna.samplers.TPESampler):
    """Optuna's sampler, which need not compare the distributions of all trials, because a search has one space."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> _Space:
        ended = study.get_trials(deepcopy=False, states=(OptunaState.COMPLETE, OptunaState.PRUNED))
        distributions = sorted(ended[0].distributions.items()) if ended else []
        return {path: distribution for path, distribution in distributions if not distribution.single()}


class _Translated:
    """The trials of a search that a proposal looks at, in Optuna's form.

    Args:
        space: What the search searches.
    """

    def __init__(self, space: Space) -> None:
        self.space, self.distributions = space, _distributions(space)
        self._trials: dict[int, tuple[SearchedTrial, _Said, _Trial]] = {}

    def __call__(self, trials: Ranked, shown: Sequence[SearchedTrial]) -> list[_Trial]:
        """The shown ones of some trials, numbered from 1."""
        before, self._trials = self._trials, {}
        for number, trial in enumerate(shown, start=1):
            said = trials.worth_of(trial), trial.state.is_unfinished
            known = before.get(id(trial))
            if known is None or known[1] != said:
                known = trial, said, _as_optuna(trial.params, *said, self.distributions)
            known[2].number = number
            self._trials[id(trial)] = known
        return [translated for _, _, translated in self._trials.values()]


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
    sampler: optuna.samplers.BaseSampler, distributions: _Space, trials: Sequence[FrozenTrial]
) -> dict[str, Scalar]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns of what is deliberate here, such as features called experimental
        study = optuna.create_study(storage=_Given(trials), direction="maximize", sampler=sampler)
        return dict(study.ask(distributions).params)


def _constraints(trial: FrozenTrial) -> Sequence[float]:
    return trial.system_attrs[_CONSTRAINTS]  # type: ignore[no-any-return]


def _as_optuna(params: Mapping[str, Scalar], worth: Worth | None, is_unfinished: bool, distributions: _Space) -> _Trial:
    """A trial as TPE understands it.

    A pruned trial is pruned, with its last value. A diverged one and parameters that make no valid config are
    infeasible, which ranks them below all others: left out, their region would be tried again and again. A failed one
    says nothing about its parameters.
    """
    kind, epoch, value = worth or (None, 0.0, 0.0)
    states = {COMPLETE: OptunaState.COMPLETE, PRUNED: OptunaState.PRUNED, WORST: OptunaState.COMPLETE}
    state = OptunaState.RUNNING if is_unfinished else OptunaState.FAIL if kind is None else states[kind]
    trial = _Trial(
        number=-1,
        trial_id=-1,
        state=state,
        value=value if state is OptunaState.COMPLETE else None,
        datetime_start=_NOON,
        datetime_complete=_NOON if state.is_finished() else None,
        params=dict(params),
        distributions=distributions,
        user_attrs={},
        system_attrs={} if _HAS_CONSTRAINTS else {_CONSTRAINTS: [float(kind == WORST)]},
        intermediate_values={int(epoch): value} if kind == PRUNED else {},
    )
    if kind == WORST and _HAS_CONSTRAINTS:
        trial.set_constraint("not possible", 1.0)
    return trial
