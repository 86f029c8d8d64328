"""Points that fill a space evenly, without regard to results."""

import warnings
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from kdtrain.space import Scalar
from sweeps.driver.samplers.ranking import Ranked, ranked
from sweeps.driver.searched import SearchedTrial, SearchSampler
from sweeps.spec.paths import Space, drawn


class SobolSampler(SearchSampler):
    """The points of one scrambled Sobol sequence for each search, in order. Sobol 1967; Owen 1998.

    The published config is tried before; the proposal after n trials is the point n. In a space of few configs, where
    points coincide, a config that was tried already is replaced by a random one.
    """

    def __init__(self) -> None:
        self._points: WeakKeyDictionary[Ranked, _Sequence] = WeakKeyDictionary()
        """By search, its sequence as far as it was drawn, which follows from its seed alone."""

    def propose(self, study: str, space: Space, trials: Sequence[SearchedTrial], seed: int) -> dict[str, Scalar]:
        """See `sweeps.driver.sampler.ConfigSampler`."""
        of_search = ranked(trials)
        points = self._points.get(of_search)
        if points is None or points.drawn > len(trials) + 1:
            points = self._points[of_search] = _Sequence(len(space), self._search.seed)
        return drawn(space, points.at(len(trials)))


class _Sequence:
    """The points of a scrambled Sobol sequence, drawn one after the other."""

    def __init__(self, parameters: int, seed: int) -> None:
        from scipy.stats import qmc  # takes a second to import, which only a search needs

        self.drawn, self._last = 0, list[float]()
        self._engine = qmc.Sobol(parameters, scramble=True, rng=seed)

    def at(self, number: int) -> list[float]:
        """The point of a number, from 0; the last one again, or a later one."""
        if number >= self.drawn:
            if number > self.drawn:
                self._engine.fast_forward(number - self.drawn)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that the balance of a sequence needs 2^n points
                self._last = self._engine.random(1)[0].tolist()
            self.drawn = number + 1
        return self._last
