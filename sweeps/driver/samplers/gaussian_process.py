"""Gaussian process regression for a few dozen trials: sums of Matern 5/2 kernels, noise that differs between points.

Rasmussen & Williams 2006, algorithm 2.1 and equations 5.8 and 5.9.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs, dtrtrs
from scipy.optimize import minimize

_LENGTH, _NOISE = 0.7, 0.05
"""Medians of the priors of a length in the unit cube and of the noise's variance; that of a kernel is given."""
_SPREADS = {"length": 0.7, "variance": 1.0}
"""Standard deviations of the logarithms in these priors."""
_LEVEL = 0.25
"""The variance of a constant that every group has for itself."""
_NUGGET = 1e-6
_STEPS, _PRECISION = 12, 1e-4
"""Of the search for the largest posterior density: its steps at most, and the relative gain at which it ends."""


@dataclass(frozen=True)
class Kernel:
    """A Matern 5/2 kernel between some of the points.

    Attributes:
        axes: The columns of the points that it looks at.
        members: Which points take part, `(n,)`; the covariance with all others is zero.
        variance: The median of the prior of its variance.
        elsewhere: Whether what it describes is there in the other points, too, but not shared: noise in them.
    """

    axes: Sequence[int]
    members: np.ndarray
    variance: float = 1.0
    elsewhere: bool = False

    def with_members(self, count: int) -> "Kernel":
        """The same kernel with more points, which all take part."""
        return Kernel(self.axes, np.append(self.members, np.ones(count, bool)), self.variance, self.elsewhere)


@dataclass(frozen=True)
class Observations:
    """What is known of a function whose values have a standard deviation of about 1.

    Attributes:
        points: `(n, d)`, in the unit cube.
        values: `(n,)`.
        variances: Of the noise that each value has beside the noise that all have, `(n,)`.
        groups: To which group each point belongs, `(n,)`; a group has a constant of its own.
        kernels: The covariance is their sum.
    """

    points: np.ndarray
    values: np.ndarray
    variances: np.ndarray
    groups: np.ndarray
    kernels: Sequence[Kernel]


class Covariance:
    """The covariance of observations as a function of theta.

    Theta has the logarithm of each kernel's variance, then those of the kernel's lengths, kernel by kernel; at the end
    that of the variance of the noise.

    Args:
        given: The observations; their values do not matter.
    """

    def __init__(self, given: Observations) -> None:
        self._given = given
        self._squares = [_squares(given.points[:, list(kernel.axes)]) for kernel in given.kernels]
        self._pairs = [np.outer(kernel.members, kernel.members).astype(float) for kernel in given.kernels]
        self._level = _LEVEL * (given.groups[:, None] == given.groups)
        self._slices = _slices(given.kernels)

    def __call__(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The covariance, `(n, n)`, and its derivatives, `(parameters, n, n)`."""
        given, count = self._given, len(self._given.points)
        slopes = np.zeros((len(theta), count, count))
        noise = np.full(count, np.exp(theta[-1]))
        np.fill_diagonal(slopes[-1], noise)
        total = self._level
        parts = zip(given.kernels, self._slices, self._squares, self._pairs, strict=True)
        for kernel, where, squares, pairs in parts:
            variance, lengths = np.exp(theta[where.start]), np.exp(theta[where.start + 1 : where.stop])
            scaled = squares / (lengths**2)[:, None, None]
            root = np.sqrt(5 * scaled.sum(axis=0))
            falling = variance * pairs * np.exp(-root)
            part = falling * (1 + root + root**2 / 3)
            slopes[where.start] = part
            slopes[where.start + 1 : where.stop] = (5 / 3) * falling * (1 + root) * scaled
            total = total + part
            if kernel.elsewhere:
                outside = variance * (1.0 - kernel.members)
                noise = noise + outside
                slopes[where.start] += np.diag(outside)
        total[np.diag_indices(count)] += noise + given.variances + _NUGGET
        return total, slopes


def fitted(given: Observations) -> np.ndarray:
    """The theta with the largest posterior density; the medians of its prior if nothing is observed."""
    medians, spreads = [], []
    for kernel in given.kernels:
        medians += [np.log(kernel.variance), *[np.log(_LENGTH)] * len(kernel.axes)]
        spreads += [_SPREADS["variance"], *[_SPREADS["length"]] * len(kernel.axes)]
    prior = np.array([*medians, np.log(_NOISE)]), np.array([*spreads, _SPREADS["variance"]])
    count, covariance_at = len(given.values), Covariance(given)
    if not count:
        return prior[0]
    twice_below = 2 * np.tri(count) - np.eye(count)  # of symmetric matrices LAPACK gives one half

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        covariance, slopes = covariance_at(theta)
        factor, is_not_positive = dpotrf(covariance, lower=True, clean=False)  # less than half of `cho_factor`'s time
        if is_not_positive:
            return 1e10, np.zeros(len(theta))
        weights, inverse = dpotrs(factor, given.values, lower=True)[0], dpotri(factor, lower=True)[0]
        far = (theta - prior[0]) / prior[1]
        density = 0.5 * given.values @ weights + np.log(np.diag(factor)).sum() + 0.5 * far @ far
        outer = twice_below * (inverse - np.outer(weights, weights))
        return float(density), 0.5 * (slopes.reshape(len(theta), -1) @ outer.ravel()) + far / prior[1]

    bounds = [(middle - 3 * spread, middle + 3 * spread) for middle, spread in zip(*prior, strict=True)]
    options = {"maxiter": _STEPS, "ftol": _PRECISION}
    result = minimize(loss, prior[0], jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return np.asarray(result.x)


class GaussianProcess:
    """What observations say about all points.

    Args:
        given: The observations.
        running: Points whose values are not known yet, `(m, d)`, all of them members of every kernel and in group 0:
            they make their neighborhood less uncertain.
        theta: Lengths and variances, see `Covariance`.
    """

    def __init__(self, given: Observations, running: np.ndarray, theta: np.ndarray) -> None:
        known, more = len(given.values), np.zeros(len(running))
        every = Observations(
            np.vstack([given.points, running]),
            np.append(given.values, more),
            np.append(given.variances, more),
            np.append(given.groups, more),
            [kernel.with_members(len(running)) for kernel in given.kernels],
        )
        self._factor = np.linalg.cholesky(Covariance(every)(theta)[0])
        self._weights = np.zeros(len(every.points))
        self._weights[:known] = dpotrs(self._factor[:known, :known], given.values, lower=True)[0]
        self._noise = float(np.exp(theta[-1] / 2))
        self._level = _LEVEL * (every.groups == 0)
        self._parts = [
            _Part.of(every, kernel, theta[where])
            for kernel, where in zip(every.kernels, _slices(every.kernels), strict=True)
        ]

    def __call__(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The expected values at points of group 0, and their standard deviations without noise, each `(m,)`."""
        across = self._level + sum(part(points) for part in self._parts)
        explained = dtrtrs(self._factor, across.T, lower=True)[0]
        prior = _LEVEL + sum(part.variance for part in self._parts)
        variance = np.maximum(prior - (explained**2).sum(axis=0), 1e-12)
        return across @ self._weights, np.sqrt(variance)

    @property
    def noise(self) -> float:
        """The standard deviation of the noise that all values have."""
        return self._noise


@dataclass(frozen=True)
class _Part:
    """The covariance of one kernel between any points of group 0 and fixed points.

    Attributes:
        axes: The columns of the points that it looks at.
        variance: Its variance.
        members: The variance with the fixed points that take part, 0 with the others, `(n,)`.
        scales: By which the columns are multiplied, `(axes,)`.
        scaled: The fixed points after that, `(axes, n)`.
        norms: Their squared lengths, `(n,)`.
    """

    axes: Sequence[int]
    variance: float
    members: np.ndarray
    scales: np.ndarray
    scaled: np.ndarray
    norms: np.ndarray

    @classmethod
    def of(cls, every: Observations, kernel: Kernel, theta: np.ndarray) -> "_Part":
        axes, variance, scales = list(kernel.axes), float(np.exp(theta[0])), np.sqrt(5) * np.exp(-theta[1:])
        scaled = every.points[:, axes].T * scales[:, None]
        return cls(axes, variance, variance * kernel.members, scales, scaled, (scaled**2).sum(axis=0))

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """The covariance, `(m, n)`."""
        scaled = points[:, self.axes] * self.scales
        squares = (scaled**2).sum(axis=1)[:, None] + self.norms - 2 * (scaled @ self.scaled)
        squares = np.maximum(squares, 0.0)
        root = np.sqrt(squares)
        return np.asarray((1 + root + squares / 3) * np.exp(-root) * self.members)


def _squares(points: np.ndarray) -> np.ndarray:
    """Squared differences along each axis, `(d, n, n)`."""
    return np.asarray((points.T[:, :, None] - points.T[:, None, :]) ** 2)


def _slices(kernels: Sequence[Kernel]) -> list[slice]:
    """Where the parameters of each kernel stand in theta."""
    ends = np.cumsum([1 + len(kernel.axes) for kernel in kernels]).tolist()
    return [slice(end - 1 - len(kernel.axes), end) for end, kernel in zip(ends, kernels, strict=True)]
