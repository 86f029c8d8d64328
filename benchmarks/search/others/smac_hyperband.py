"""SMAC: Hyperband with a random forest, its multi-fidelity facade. Configs go on from their checkpoints."""

import logging
import tempfile
import warnings

import numpy as np
from ConfigSpace import CategoricalHyperparameter, Configuration, ConfigurationSpace, Float, Integer
from smac import MultiFidelityFacade, Scenario
from smac.runhistory.dataclasses import TrialInfo, TrialValue

from search.confirmed import Job
from search.tables import Domain, Value
from search.trainings import Trainings

_STARTUP = 6
"""Configs before the first model: its default of ten per parameter would be the whole search."""


class SmacSearch:
    """A search of SMAC; implements `search.confirmed.Search`."""

    def __init__(self, trainings: Trainings, seed: int) -> None:
        warnings.simplefilter("ignore")
        space = ConfigurationSpace(seed=seed)
        self._names = {f"p{number}": path for number, path in enumerate(trainings.space)}
        for name, path in self._names.items():
            space.add(_parameter(name, trainings.space[path]))
        self._folder = tempfile.TemporaryDirectory(prefix="smac-")
        scenario = Scenario(
            space,
            name="replay",
            output_directory=self._folder.name,  # type: ignore[arg-type]
            deterministic=True,
            n_trials=100_000,
            min_budget=1,
            max_budget=trainings.epochs,
            seed=seed,
        )
        default = trainings.default
        first = (
            []
            if default is None
            else [Configuration(space, {name: default[path] for name, path in self._names.items()})]
        )
        self._facade = MultiFidelityFacade(
            scenario,
            lambda config, seed, budget: 0.0,
            initial_design=MultiFidelityFacade.get_initial_design(
                scenario, n_configs=_STARTUP, additional_configs=first
            ),
            logging_level=logging.ERROR,  # type: ignore[arg-type]
            overwrite=True,
        )
        self._infos: dict[str, TrialInfo] = {}
        self._scores: dict[str, list[float]] = {}

    def ask(self) -> Job:
        """See `Search`."""
        while True:
            info = self._facade.ask()
            key, until = repr(sorted(dict(info.config).items())), max(1, round(info.budget))
            scores = self._scores.setdefault(key, [])
            if until > len(scores):
                self._infos[key] = info
                params = {path: info.config[name] for name, path in self._names.items()}
                return Job(
                    key,
                    {path: _plain(value) for path, value in params.items()},
                    until,
                )
            self._facade.tell(info, TrialValue(cost=-scores[until - 1]), save=False)

    def tell(self, key: str, epoch: int, score: float) -> bool:
        """See `Search`."""
        self._scores[key].append(score)
        return True

    def ended(self, key: str) -> None:
        """See `Search`."""
        self._facade.tell(self._infos[key], TrialValue(cost=-self._scores[key][-1]), save=False)


def make(trainings: Trainings, seed: int) -> SmacSearch:
    """Begin a search."""
    return SmacSearch(trainings, seed)


def _plain(value: object) -> Value:
    """A number of numpy as a number of Python."""
    return value.item() if isinstance(value, np.generic) else value  # type: ignore[return-value]


def _parameter(name: str, domain: Domain):
    if domain.choices:
        return CategoricalHyperparameter(name, list(domain.choices))
    if domain.whole:
        return Integer(name, (int(domain.low), int(domain.high)), log=domain.log)
    return Float(name, (domain.low, domain.high), log=domain.log)
