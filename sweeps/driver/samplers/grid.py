"""All combinations of evenly spaced values."""

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import copy

from kdtrain.errors import InputError
from kdtrain.space import Choice, Domain, Scalar
from sweeps.driver.searched import Search, SearchedTrial
from sweeps.spec.paths import Space, config_at, drawn, identity, size

_FEW, _MOST = 3, 1000
"""Points of a range where the number of trials is not known, and at most."""


class GridSampler:
    """Every combination of evenly spaced values, once, in an order that the search's seed mixes.

    Args:
        points: Values of each range, both ends among them (a single value is the middle), or a mapping from dotted
            paths to such numbers; a path that it lacks, and every path where it is none, has as many as fit the
            trials of the search. Values of log ranges are evenly spaced on the log scale, choices are all tried.

    Raises:
        InputError: If a number of points is not valid.
    """

    why_none = "every point of its grid was tried"
    """Why nothing is proposed any more."""

    def __init__(self, points: int | Mapping[str, int] | None = None) -> None:
        for number in points.values() if isinstance(points, Mapping) else [] if points is None else [points]:
            if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= _MOST:
                raise InputError(f"points: must be whole numbers from 1 to {_MOST}, got {number!r}")
        self._points, self._search = points, Search()

    def for_search(self, search: Search) -> "GridSampler":
        """See `sweeps.driver.sampler.ConfigSampler`."""
        bound = copy(self)
        bound._search = search
        return bound

    def propose(self, study: str, space: Space, trials: Sequence[SearchedTrial], seed: int) -> dict[str, Scalar] | None:
        """See `sweeps.driver.sampler.ConfigSampler`."""
        grid = self.grid(space)
        count = int(size(grid))
        tried = {identity(space, trial.params) for trial in trials}
        start, step = self._search.seed % count, _coprime(count, self._search.seed)
        mixed = ((start + number * step) % count for number in range(min(count, len(trials) + 1)))
        points = (config_at(grid, place) for place in mixed)
        return next((point for point in points if identity(space, point) not in tried), None)

    def idle(self, spaces: Sequence[Space]) -> Iterator[str]:
        """A sentence for every option that has no effect in any of these spaces."""
        for path in self._points if isinstance(self._points, Mapping) else ():
            if not any(path in space for space in spaces):
                yield f"options.points.{path}: no study searches it"

    def grid(self, space: Space) -> Space:
        """The values of every parameter; without given points, axes grow in turn while the trials hold all points."""
        given = self._points if isinstance(self._points, Mapping) else dict.fromkeys(space, self._points)
        most = self._search.trials
        axes: dict[str, tuple[Scalar, ...]] = {}
        growing: list[str] = []
        for path, domain in space.items():
            points = given.get(path)
            axes[path] = values(domain, points or (_FEW if most is None else 1))
            if points is None and most is not None and not isinstance(domain, Choice):
                growing.append(path)
        while growing:
            path = growing.pop(0)
            finer = {**axes, path: values(space[path], len(axes[path]) + 1)}
            if len(finer[path]) > len(axes[path]) and math.prod(map(len, finer.values())) <= (most or 0):
                axes = finer
                growing.append(path)
        return {path: Choice(choices=axis) for path, axis in axes.items()}


def values(domain: Domain, points: int) -> tuple[Scalar, ...]:
    """Evenly spaced values of a range, fewer where whole numbers coincide; all values of a choice."""
    if isinstance(domain, Choice):
        return domain.choices
    places = [number / (points - 1) for number in range(points)] if points > 1 else [0.5]
    return tuple(dict.fromkeys(drawn({"": domain}, [place])[""] for place in places))


def _coprime(count: int, seed: int) -> int:
    """A step that visits every index below `count` once."""
    step = seed // count % count or 1
    while math.gcd(step, count) > 1:
        step += 1
    return step
