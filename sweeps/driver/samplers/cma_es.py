"""Covariance matrix adaptation: moves and reshapes a normal distribution towards the better half of each generation."""

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from kdtrain.errors import InputError
from kdtrain.runtime.random_streams import derive
from kdtrain.space import Choice, Scalar
from sweeps.driver.samplers.ranking import worth
from sweeps.driver.searched import SearchedTrial
from sweeps.spec.paths import Space, drawn, shares


class CmaEsSampler:
    """CMA-ES, by the package `cmaes`. Hansen & Ostermeier 2001.

    Its ended trials, in order, make the generations. Only their ranks within a generation count, so one that was
    stopped early ranks behind the complete ones and one that diverged last. Choices have no order, so they are drawn at
    random.

    Args:
        population: Trials of a generation; by default 4 + 3 ln(parameters), rounded down.
        sigma: The standard deviation of the first generation, as a share of every range, on its own scale.

    Raises:
        InputError: If the package is not installed, or an option is not valid.
    """

    def __init__(self, population: int | None = None, sigma: float = 0.2) -> None:
        if find_spec("cmaes") is None:
            raise InputError("it needs the package cmaes, which is not installed: pip install cmaes")
        if population is not None and (
            isinstance(population, bool) or not isinstance(population, int) or population < 2
        ):
            raise InputError(f"population: must be a whole number from 2, got {population!r}")
        if isinstance(sigma, bool) or not isinstance(sigma, int | float) or not 0 < sigma <= 1:
            raise InputError(f"sigma: must be above 0 and at most 1, got {sigma!r}")
        self._population, self._sigma = population, float(sigma)

    def propose(self, study: str, space: Space, trials: Sequence[SearchedTrial], seed: int) -> dict[str, Scalar]:
        """See `sweeps.driver.sampler.ConfigSampler`."""
        ranges: Space = {path: domain for path, domain in space.items() if not isinstance(domain, Choice)}
        place = np.random.default_rng(derive(seed, "choices")).random(len(space)).tolist()
        params = drawn(space, place)
        return {**params, **drawn(ranges, self._point(ranges, trials, seed))} if ranges else params

    def _point(self, ranges: Space, trials: Sequence[SearchedTrial], seed: int) -> list[float]:
        """A draw from the distribution after all full generations."""
        from cmaes import CMA

        unit = np.tile([0.0, 1.0], (len(ranges), 1))
        cma = CMA(
            mean=np.full(len(ranges), 0.5),
            sigma=self._sigma,
            bounds=unit,
            seed=seed % 2**32,
            population_size=self._population,
        )
        told = [(value, trial) for trial in trials if (value := worth(trial)) is not None]
        size = cma.population_size
        for begin in range(0, len(told) - size + 1, size):
            ranked = sorted(told[begin : begin + size], key=lambda pair: pair[0], reverse=True)
            cma.tell([(np.array(shares(ranges, trial.params)), float(rank)) for rank, (_, trial) in enumerate(ranked)])
        return [float(share) for share in cma.ask()]
