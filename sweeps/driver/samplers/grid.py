"""All combinations of evenly spaced values."""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from pydantic import field_validator

from kdtrain.config_base import Strict
from kdtrain.space import Choice, Domain, Range, Scalar
from sweeps.driver.samplers.options import checked
from sweeps.driver.samplers.ranking import Ranked, ranked
from sweeps.driver.searched import SearchedTrial, SearchSampler
from sweeps.spec.paths import Space, config_at, drawn, size

_FEW, _MOST = 3, 1000
"""Points of a range where the number of trials is not known, and at most."""


class GridOptions(Strict):
    """The options of `GridSampler`."""

    points: int | Mapping[str, int] | None = None

    @field_validator("points", mode="before")
    @classmethod
    def _whole(cls, points: object) -> object:
        for number in points.values() if isinstance(points, Mapping) else [] if points is None else [points]:
            if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= _MOST:
                raise ValueError(f"must be whole numbers from 1 to {_MOST}, got {number!r}")
        return points


class GridSampler(SearchSampler):
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
        self._points = checked(GridOptions, points=points).points
        self._grids: WeakKeyDictionary[Ranked, _Progress] = WeakKeyDictionary()
        """By search, its grid, and as many of the first points as are known to be tried."""

    def propose(self, study: str, space: Space, trials: Sequence[SearchedTrial], seed: int) -> dict[str, Scalar] | None:
        """See `sweeps.driver.sampler.ConfigSampler`."""
        of_search = ranked(trials)
        if (progress := self._grids.get(of_search)) is None:
            progress = self._grids[of_search] = _Progress(self.grid(space))
        count, seed = int(size(progress.grid)), self._search.seed
        start, step = seed % count, _coprime(count, seed)
        for number in range(progress.tried, min(count, len(trials) + 1)):
            point = config_at(progress.grid, (start + number * step) % count)
            if not self._is_tried(space, trials, point):
                return point
            progress.tried = number + 1
        return None

    def idle(self, spaces: Sequence[Space]) -> Iterator[str]:
        """A sentence for every option that has no effect in any of these spaces."""
        for path in self._points if isinstance(self._points, Mapping) else ():
            if not any(path in space for space in spaces):
                yield f"options.points.{path}: no study searches it"

    def grid(self, space: Space) -> Space:
        """The values of every parameter; without given points, axes grow in turn while the trials hold all points."""
        given = self._points if isinstance(self._points, Mapping) else dict.fromkeys(space, self._points)
        most = self._search.trials
        points = {path: given.get(path) or (_FEW if most is None else 1) for path in space}
        counts = {path: _count(domain, points[path]) for path, domain in space.items()}
        may_grow = [path for path in space if given.get(path) is None and not isinstance(space[path], Choice)]
        growing = deque(may_grow if most is not None else ())
        while growing:
            path = growing.popleft()
            finer = _count(space[path], counts[path] + 1)
            if finer > counts[path] and math.prod({**counts, path: finer}.values()) <= (most or 0):
                points[path], counts[path] = counts[path] + 1, finer
                growing.append(path)
        return {path: Choice(choices=values(domain, points[path])) for path, domain in space.items()}


@dataclass
class _Progress:
    """The grid of a search, and as many of its first points as are known to be tried."""

    grid: Space
    tried: int = 0


def _count(domain: Domain, points: int) -> int:
    """How many values there are."""
    is_continuous = isinstance(domain, Range) and not domain.integer
    return points if is_continuous else len(values(domain, points))


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
