"""The unit cube of a space, as models of numbers see it."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from kdtrain.space import Choice, Domain, Range, Scalar
from sweeps.spec.paths import Space, at_share, own_scale, share_of, shares


class Cube:
    """Configs of a space as points.

    A range has one axis, on its own scale. Choices that are numbers have one axis, too, on which they stand evenly;
    other choices have an axis each, so that all are equally far from each other.

    Args:
        space: The space.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._places = {path: _places(domain) for path, domain in space.items() if isinstance(domain, Choice)}
        widths = [self._places[path].shape[1] if path in self._places else 1 for path in space]
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
        return self._points([_of_whole_numbers(domain, column) for domain, column in columns])

    def points_of(self, configs: Sequence[Mapping[str, Scalar]]) -> np.ndarray:
        """Where configs lie, `(n, axes)`; the middle where a parameter is missing."""
        columns = []
        for path, domain in self.space.items():
            there = [index for index, params in enumerate(configs) if path in params]
            column = np.full(len(configs), 0.5)
            column[there] = _shares_of_values(domain, [configs[index][path] for index in there])
            columns.append(column)
        return self._points(columns)

    def shares_of(self, params: Mapping[str, Scalar]) -> np.ndarray:
        """The shares of a config, `(parameters,)`."""
        return np.array(shares(self.space, params))

    def _points(self, columns: Sequence[np.ndarray]) -> np.ndarray:
        """The points of shares that values have, parameter by parameter."""
        return np.hstack(
            [
                _chosen(self._places[path], column) if path in self._places else column[:, None]
                for path, column in zip(self.space, columns, strict=True)
            ]
        )


def _places(domain: Choice) -> np.ndarray:
    """Where the choices lie, `(choices, axes)`."""
    count = len(domain.choices)
    if all(isinstance(each, int | float) and not isinstance(each, bool) for each in domain.choices):
        return np.arange(count)[:, None] / max(1, count - 1)
    return np.eye(count) / math.sqrt(2)


def _chosen(places: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Where the choices of some shares lie, `(n, axes)`."""
    indices = np.minimum((column * len(places)).astype(int), len(places) - 1)
    return np.asarray(places[indices])


def _of_whole_numbers(domain: Domain, column: np.ndarray) -> np.ndarray:
    """Shares `(n,)` of a domain; in a range of whole numbers those of the numbers that they give."""
    if not (isinstance(domain, Range) and domain.integer):
        return column
    return _shares_of_values(domain, [at_share(domain, share) for share in column.tolist()])


def _shares_of_values(domain: Domain, values: Sequence[Scalar]) -> np.ndarray:
    """`sweeps.spec.paths.share_of` for many values, `(n,)`."""
    if isinstance(domain, Choice):
        return np.array([share_of(domain, value) for value in values])
    low, high, _ = own_scale(domain)
    column = np.array(values, float)
    return np.clip(((np.log(column) if domain.log else column) - low) / (high - low), 0.0, 1.0)
