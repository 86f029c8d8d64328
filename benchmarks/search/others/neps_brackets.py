"""NePS: PriorBand and Hyperband. The published config is the prior, with medium confidence."""

import logging
import random
import warnings
from typing import Any

import neps
import numpy as np
import torch
from neps.optimizers import algorithms
from neps.optimizers.ask_and_tell import AskAndTell

from search.confirmed import Job
from search.tables import Domain, Value
from search.trainings import Trainings

_FIDELITY = "epochs"
logging.getLogger("neps").setLevel(logging.ERROR)


class NepsSearch:
    """An optimizer of NePS; implements `search.confirmed.Search`."""

    def __init__(self, trainings: Trainings, seed: int, method: str, options: dict[str, Any]) -> None:
        warnings.simplefilter("ignore")
        torch.set_num_threads(1)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        default = trainings.default or {}
        self._names = {f"p{number}": path for number, path in enumerate(trainings.space)}
        space = {
            name: _parameter(trainings.space[path], default.get(path) if method == "priorband" else None)
            for name, path in self._names.items()
        }
        fidelity = neps.Integer(1, trainings.epochs, is_fidelity=True)
        self._optimizer = AskAndTell(
            getattr(algorithms, method)(neps.SearchSpace({**space, _FIDELITY: fidelity}), **options)
        )
        self._trials: dict[str, Any] = {}
        self._scores: dict[str, list[float]] = {}
        self._space = trainings.space
        self._running: set[str] = set()
        self._parked: Any = None
        """A trial whose config is still being trained: NePS may promote a config before it is told its score."""

    def ask(self) -> Job | None:
        """See `Search`."""
        while True:
            trial, self._parked = self._parked or self._optimizer.ask(), None
            key, until = trial.id.split("_")[0], int(trial.config[_FIDELITY])
            if key in self._running:
                self._parked = trial
                return None
            params = {path: _plain(self._space[path], trial.config[name]) for name, path in self._names.items()}
            scores = self._scores.setdefault(key, [])
            if until > len(scores):
                self._trials[key] = trial
                self._running.add(key)
                return Job(key, params, until)
            self._optimizer.tell(trial, -scores[until - 1])

    def tell(self, key: str, epoch: int, score: float) -> bool:
        """See `Search`."""
        self._scores[key].append(score)
        return True

    def ended(self, key: str) -> None:
        """See `Search`."""
        self._running.remove(key)
        self._optimizer.tell(self._trials[key], -self._scores[key][-1])


def make(trainings: Trainings, seed: int, method: str, **options: Any) -> NepsSearch:
    """Begin a search."""
    return NepsSearch(trainings, seed, method, options)


def _parameter(domain: Domain, prior: Value) -> Any:
    known = {} if prior is None else {"prior": prior, "prior_confidence": "medium"}
    if domain.choices:
        return neps.Categorical(list(domain.choices), **known)
    if domain.whole:
        return neps.Integer(int(domain.low), int(domain.high), log=domain.log, **known)
    return neps.Float(domain.low, domain.high, log=domain.log, **known)


def _plain(domain: Domain, value: Any) -> Value:
    if domain.choices:
        return value  # type: ignore[no-any-return]
    return int(value) if domain.whole else min(max(float(value), domain.low), domain.high)
