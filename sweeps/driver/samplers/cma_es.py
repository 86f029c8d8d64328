"""Covariance matrix adaptation: moves and reshapes a normal distribution towards the better half of each generation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from pydantic import field_validator

from analysis.extras import require
from kdtrain.config_base import Strict
from kdtrain.runtime.random_streams import derive
from kdtrain.space import Choice, Scalar
from sweeps.driver.samplers.options import checked
from sweeps.driver.samplers.ranking import Ranked, ranked
from sweeps.driver.searched import SearchedTrial
from sweeps.spec.paths import Space, drawn, shares

if TYPE_CHECKING:
    from cmaes import CMA


class CmaEsOptions(Strict):
    """The options of `CmaEsSampler`."""

    population: int | None = None
    sigma: float = 0.2

    @field_validator("population", mode="before")
    @classmethod
    def _whole(cls, value: object) -> object:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 2):
            raise ValueError(f"must be a whole number from 2, got {value!r}")
        return value

    @field_validator("sigma", mode="before")
    @classmethod
    def _share(cls, value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
            raise ValueError(f"must be above 0 and at most 1, got {value!r}")
        return value


class CmaEsSampler:
    """CMA-ES, by the package `cmaes`. Hansen & Ostermeier 2001.

    Trials make the generations in the order in which they ended; one that was stopped, goes on and ends again comes
    into two of them. Only the ranks within a generation count, so one that was stopped early ranks behind the complete
    ones and one that diverged last. Choices have no order, so they are drawn at random.

    Args:
        population: Trials of a generation; by default 4 + 3 ln(parameters), rounded down.
        sigma: The standard deviation of the first generation, as a share of every range, on its own scale.

    Raises:
        MissingExtraError: If the package is not installed.
        InputError: If an option is not valid.
    """

    def __init__(self, population: int | None = None, sigma: float = 0.2) -> None:
        require("cmaes", "it")
        self._options = checked(CmaEsOptions, population=population, sigma=sigma)
        self._adapted: WeakKeyDictionary[Ranked, CMA] = WeakKeyDictionary()
        """By search, the distribution after its full generations, which follows from its trials alone."""

    def propose(self, study: str, space: Space, trials: Sequence[SearchedTrial], seed: int) -> dict[str, Scalar]:
        """See `sweeps.driver.sampler.ConfigSampler`."""
        ranges: Space = {path: domain for path, domain in space.items() if not isinstance(domain, Choice)}
        place = np.random.default_rng(derive(seed, "choices")).random(len(space)).tolist()
        params = drawn(space, place)
        return {**params, **drawn(ranges, self._point(ranges, trials, seed))} if ranges else params

    def _point(self, ranges: Space, trials: Sequence[SearchedTrial], seed: int) -> list[float]:
        """A draw from the distribution after all full generations."""
        of_search = ranked(trials)
        if (cma := self._adapted.get(of_search)) is None:
            from cmaes import CMA

            unit, options = np.tile([0.0, 1.0], (len(ranges), 1)), self._options
            mean = np.full(len(ranges), 0.5)
            cma = CMA(mean, options.sigma, bounds=unit, population_size=options.population)
            self._adapted[of_search] = cma
        size = cma.population_size
        for begin in range(cma.generation * size, len(of_search.told) - size + 1, size):
            best_first = sorted(of_search.told[begin : begin + size], key=lambda said: said[0], reverse=True)
            places = [np.array(shares(ranges, trial.params)) for _, trial in best_first]
            cma.tell([(place, float(rank)) for rank, place in enumerate(places)])
        cma.reseed_rng(seed % 2**32)
        return [float(share) for share in cma.ask()]
