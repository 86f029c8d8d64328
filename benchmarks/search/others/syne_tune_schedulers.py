"""Syne Tune 0.13: ASHA (stopping and promotion), BOHB, MOBSTER, Hyper-Tune and DEHB, asked as its tuner asks them.

Version 0.16 lacks the last three. A trial that is paused goes on from its checkpoint when its scheduler says so.
"""

import logging
from datetime import datetime
from typing import Any

from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import choice, lograndint, loguniform, randint, uniform
from syne_tune.optimizer import baselines
from syne_tune.optimizer.scheduler import SchedulerDecision

from search.confirmed import Job
from search.tables import Domain
from search.trainings import Trainings

_NOON = datetime(2026, 1, 1, 12)
logging.getLogger("syne_tune").setLevel(logging.ERROR)
logging.getLogger().setLevel(logging.ERROR)


class SyneTuneSearch:
    """A scheduler of Syne Tune; implements `search.confirmed.Search`."""

    def __init__(self, trainings: Trainings, seed: int, method: str, options: dict[str, Any]) -> None:
        space = {path: _domain(domain) for path, domain in trainings.space.items()}
        defaults = None if trainings.default is None else [dict(trainings.default)]
        self._epochs = trainings.epochs
        self._scheduler = getattr(baselines, method)(
            {**space, "epochs": trainings.epochs},
            metric="score",
            mode="max",
            resource_attr="epoch",
            max_resource_attr="epochs",
            grace_period=1,
            reduction_factor=3,
            random_seed=seed,
            points_to_evaluate=defaults,
            **options,
        )
        self._paths = list(trainings.space)
        self._trials: dict[str, Trial] = {}
        self._last: dict[str, dict[str, float]] = {}
        self._removed: set[str] = set()

    def ask(self) -> Job | None:
        """See `Search`."""
        number = len(self._trials)
        suggestion = self._scheduler.suggest(number)
        if suggestion is None:
            return None
        if suggestion.spawn_new_trial_id:
            trial = Trial(number, suggestion.config, _NOON)
            self._scheduler.on_trial_add(trial)
            self._trials[str(number)] = trial
        else:
            trial = self._trials[str(suggestion.checkpoint_trial_id)]
            if suggestion.config is not None:
                trial = Trial(trial.trial_id, suggestion.config, _NOON)
                self._trials[str(trial.trial_id)] = trial
        self._removed.discard(str(trial.trial_id))
        params = {path: trial.config[path] for path in self._paths}
        return Job(str(trial.trial_id), params, self._epochs)

    def tell(self, key: str, epoch: int, score: float) -> bool:
        """See `Search`."""
        self._last[key] = {"epoch": epoch, "score": score}
        if epoch == self._epochs:
            return True
        goes_on = self._scheduler.on_trial_result(self._trials[key], self._last[key]) == SchedulerDecision.CONTINUE
        if not goes_on:
            self._removed.add(key)
        return goes_on

    def ended(self, key: str) -> None:
        """See `Search`."""
        if key in self._removed:
            self._scheduler.on_trial_remove(self._trials[key])
            return
        self._scheduler.on_trial_result(self._trials[key], self._last[key])
        self._scheduler.on_trial_complete(self._trials[key], self._last[key])


def make(trainings: Trainings, seed: int, method: str, **options: Any) -> SyneTuneSearch:
    """Begin a search."""
    return SyneTuneSearch(trainings, seed, method, options)


def _domain(domain: Domain) -> Any:
    if domain.choices:
        return choice(list(domain.choices))
    if domain.whole:
        return (lograndint if domain.log else randint)(int(domain.low), int(domain.high))
    return (loguniform if domain.log else uniform)(domain.low, domain.high)
