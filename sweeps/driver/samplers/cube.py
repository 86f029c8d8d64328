"""The unit cube of a space, as models of numbers see it."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from kdtrain.space import Choice, Domain, Range, Scalar
from sweeps.spec.paths import Space, at_share, share_of, shares


class Cube:
    """Configs of a space as points.

    A range has one axis, on its own scale. Choices that are numbers have one axis, too, on which they stand evenly;
    other choices have an axis each, so that all are equally far from each other.

    Args:
        space: The space.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        widths = [len(_place(domain, 0.5)) for domain in space.values()]
        ends = np.cumsum(widths).tolist()
        self.width = int(sum(widths))
        """How many axes there are."""
        self.axes: Mapping[str, Sequence[int]] = {
            path: range(end - width, end) for path, end, width in zip(space, ends, widths, strict=True)
        }
        """The axes of each parameter, by its path."""

    def points(self, shares_of_configs: np.ndarray) -> np.ndarray:
        """Where the configs lie that `sweeps.spec.paths.drawn` makes of shares `(n, parameters)`: `(n, axes)`."""
        columns = zip(self.space.values(), shares_of_configs.T, strict=True)
        return np.hstack([_places(domain, column) for domain, column in columns])

    def points_of(self, configs: Sequence[Mapping[str, Scalar]]) -> np.ndarray:
        """Where configs lie, `(n, axes)`; the middle where a parameter is missing."""
        lines = [
            [
                place
                for path, domain in self.space.items()
                for place in _place(domain, share_of(domain, params[path]) if path in params else 0.5)
            ]
            for params in configs
        ]
        return np.array(lines).reshape(len(configs), self.width)

    def shares_of(self, params: Mapping[str, Scalar]) -> np.ndarray:
        """The shares of a config, `(parameters,)`."""
        return np.array(shares(self.space, params))


def _places(domain: Domain, shares_of_configs: np.ndarray) -> np.ndarray:
    """Where the values lie that shares `(n,)` of a domain give: `(n, axes)`; each value is looked at once."""
    if isinstance(domain, Range) and not domain.integer:
        return shares_of_configs[:, None]
    if isinstance(domain, Choice):
        count = len(domain.choices)
        indices = np.minimum((shares_of_configs * count).astype(int), count - 1)
        places: np.ndarray = np.array([_place(domain, (index + 0.5) / count) for index in range(count)])
        chosen: np.ndarray = places[indices]
        return chosen
    values = [at_share(domain, share) for share in shares_of_configs.tolist()]
    place_of = {value: _place(domain, share_of(domain, value)) for value in set(values)}
    return np.array([place_of[value] for value in values])


def _place(domain: Domain, share: float) -> list[float]:
    if not isinstance(domain, Choice):
        return [share]
    count = len(domain.choices)
    index = min(int(share * count), count - 1)
    if all(isinstance(each, int | float) and not isinstance(each, bool) for each in domain.choices):
        return [index / max(1, count - 1)]
    return [float(index == each) / math.sqrt(2) for each in range(count)]
