"""Points that fill a space evenly, without regard to results."""

import warnings
from collections.abc import Sequence

from scipy.stats import qmc

from kdtrain.space import Scalar
from sweeps.driver.searched import Search, SearchedTrial
from sweeps.spec.paths import Space, drawn


class SobolSampler:
    """The points of one scrambled Sobol sequence for each search, in order. Sobol 1967; Owen 1998.

    The published config is tried before; the proposal after n trials is the point n. In a space of few configs, where
    points coincide, a config that was tried already is replaced by a random one.
    """

    def __init__(self) -> None:
        self._sequence = 0

    def for_search(self, search: Search) -> "SobolSampler":
        """See `sweeps.driver.sampler.ConfigSampler`."""
        bound = SobolSampler()
        bound._sequence = search.seed
        return bound

    def propose(self, study: str, space: Space, trials: Sequence[SearchedTrial], seed: int) -> dict[str, Scalar]:
        """See `sweeps.driver.sampler.ConfigSampler`."""
        points = qmc.Sobol(len(space), scramble=True, rng=self._sequence)
        if trials:
            points.fast_forward(len(trials))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that the balance of a sequence needs 2^n points
            return drawn(space, points.random(1)[0].tolist())
