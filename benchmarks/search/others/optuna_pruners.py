"""Optuna: its random, TPE and GP samplers with its Hyperband and successive-halving pruners, at their defaults."""

import logging
import warnings

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.confirmed import Job
from search.tables import Domain
from search.trainings import Trainings

_SAMPLERS = {
    "random": optuna.samplers.RandomSampler,
    "tpe": optuna.samplers.TPESampler,
    "gp": optuna.samplers.GPSampler,
}


class OptunaSearch:
    """A study of Optuna; implements `search.confirmed.Search`."""

    def __init__(self, trainings: Trainings, seed: int, sampler: str, pruner: str) -> None:
        optuna.logging.set_verbosity(logging.ERROR)
        warnings.simplefilter("ignore")
        pruners = {
            "hyperband": lambda: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=trainings.epochs),
            "halving": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
        }
        self._study = optuna.create_study(
            study_name=f"replay-{seed}",  # the brackets of Hyperband depend on the name
            direction="maximize",
            sampler=_SAMPLERS[sampler](seed=seed),
            pruner=pruners[pruner](),
        )
        if trainings.default is not None:
            self._study.enqueue_trial(dict(trainings.default))
        self._distributions = {path: _distribution(domain) for path, domain in trainings.space.items()}
        self._epochs = trainings.epochs
        self._trials: dict[str, optuna.trial.Trial] = {}
        self._last: dict[str, tuple[int, float]] = {}

    def ask(self) -> Job:
        """See `Search`."""
        trial = self._study.ask(self._distributions)
        self._trials[str(trial.number)] = trial
        return Job(str(trial.number), dict(trial.params), self._epochs)

    def tell(self, key: str, epoch: int, score: float) -> bool:
        """See `Search`."""
        trial = self._trials[key]
        self._last[key] = (epoch, score)
        trial.report(score, epoch)
        return not trial.should_prune()

    def ended(self, key: str) -> None:
        """See `Search`."""
        epoch, score = self._last[key]
        if epoch < self._epochs:
            self._study.tell(self._trials[key], state=optuna.trial.TrialState.PRUNED)
        else:
            self._study.tell(self._trials[key], score)


def make(trainings: Trainings, seed: int, sampler: str, pruner: str) -> OptunaSearch:
    """Begin a search."""
    return OptunaSearch(trainings, seed, sampler, pruner)


def _distribution(domain: Domain) -> BaseDistribution:
    if domain.choices:
        return CategoricalDistribution(domain.choices)
    if domain.whole:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)
