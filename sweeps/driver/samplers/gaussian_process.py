"""Gaussian process regression for a few dozen trials: sums of Matern 5/2 kernels, noise that differs between points.

Rasmussen & Williams 2006, algorithm 2.1 and equations 5.8 and 5.9.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs
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


class GaussianProcess:
    """A process fitted to observations by the largest posterior density of its lengths and variances.

    Args:
        given: The observations.
        running: Points whose values are not known yet, `(m, d)`, all of them members of every kernel and in group 0:
            they make their neighborhood less uncertain.
    """

    def __init__(self, given: Observations, running: np.ndarray) -> None:
        self._given = given
        axes = [list(kernel.axes) for kernel in given.kernels]
        self._squares = [_squares(given.points[:, each], given.points[:, each]) for each in axes]
        self._pairs = [np.outer(kernel.members, kernel.members).astype(float) for kernel in given.kernels]
        self._same = (given.groups[:, None] == given.groups).astype(float)
        self._slices = _slices([len(each) for each in axes])
        self._theta = self._fitted()
        covariance, _ = self._covariance(self._theta)
        self._points = np.vstack([given.points, running])
        across = self._cross(running, given.points, given.groups == 0, [each.members for each in given.kernels])
        alone = self._cross(running, running, np.ones(len(running)), [np.ones(len(running))] * len(axes))
        noise = np.exp(self._theta[-1]) + _NUGGET
        self._factor = np.linalg.cholesky(
            np.block([[covariance, across.T], [across, alone + noise * np.eye(len(running))]])
        )
        of_given = self._factor[: len(given.values), : len(given.values)]
        self._weights = dpotrs(of_given, given.values, lower=True)[0]

    def __call__(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The expected values at points of group 0, and their standard deviations without noise, each `(m,)`."""
        given, known = self._given, len(self._given.values)
        more = np.ones(len(self._points) - known)
        members = [np.concatenate([kernel.members, more]) for kernel in given.kernels]
        across = self._cross(points, self._points, np.concatenate([given.groups == 0, more]), members)
        explained = solve_triangular(self._factor, across.T, lower=True, check_finite=False)
        prior = _LEVEL + sum(np.exp(self._theta[where.start]) for where in self._slices)
        variance = np.maximum(prior - (explained**2).sum(axis=0), 1e-12)
        return across[:, :known] @ self._weights, np.sqrt(variance)

    @property
    def noise(self) -> float:
        """The standard deviation of the noise that all values have."""
        return float(np.exp(self._theta[-1] / 2))

    def _fitted(self) -> np.ndarray:
        medians, spreads = [], []
        for kernel, where in zip(self._given.kernels, self._slices, strict=True):
            lengths = where.stop - where.start - 1
            medians += [np.log(kernel.variance), *[np.log(_LENGTH)] * lengths]
            spreads += [_SPREADS["variance"], *[_SPREADS["length"]] * lengths]
        prior = np.array([*medians, np.log(_NOISE)]), np.array([*spreads, _SPREADS["variance"]])
        count = len(self._given.values)
        twice_below = 2 * np.tri(count) - np.eye(count)  # of symmetric matrices LAPACK gives one half

        def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
            covariance, slopes = self._covariance(theta)
            factor, is_not_positive = dpotrf(
                covariance, lower=True, clean=False
            )  # less than half of `cho_factor`'s time
            if is_not_positive:
                return 1e10, np.zeros(len(theta))
            weights, inverse = dpotrs(factor, self._given.values, lower=True)[0], dpotri(factor, lower=True)[0]
            far = (theta - prior[0]) / prior[1]
            density = 0.5 * self._given.values @ weights + np.log(np.diag(factor)).sum() + 0.5 * far @ far
            outer = twice_below * (inverse - np.outer(weights, weights))
            return float(density), 0.5 * (slopes.reshape(len(theta), -1) @ outer.ravel()) + far / prior[1]

        bounds = [(middle - 3 * spread, middle + 3 * spread) for middle, spread in zip(*prior, strict=True)]
        options = {"maxiter": _STEPS, "ftol": _PRECISION}
        found = minimize(loss, prior[0], jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        return np.asarray(found.x)

    def _covariance(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The covariance of the observations, `(n, n)`, and its derivatives, `(parameters, n, n)`."""
        given, count = self._given, len(self._given.values)
        slopes = np.zeros((len(theta), count, count))
        noise = np.full(count, np.exp(theta[-1]))
        np.fill_diagonal(slopes[-1], noise)
        total = _LEVEL * self._same
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

    def _cross(
        self, points: np.ndarray, others: np.ndarray, in_group: np.ndarray, members: Sequence[np.ndarray]
    ) -> np.ndarray:
        """The covariance of points of group 0 with others, `(m, n)`."""
        total = np.tile(_LEVEL * in_group, (len(points), 1))
        for kernel, where, takes_part in zip(self._given.kernels, self._slices, members, strict=True):
            lengths = np.exp(self._theta[where.start + 1 : where.stop])
            squares = _squares(points[:, list(kernel.axes)] / lengths, others[:, list(kernel.axes)] / lengths)
            root = np.sqrt(5 * squares.sum(axis=0))
            total = total + np.exp(self._theta[where.start]) * (1 + root + root**2 / 3) * np.exp(-root) * takes_part
        return total


def _squares(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Squared differences along each axis, `(d, m, n)`."""
    return np.asarray((points.T[:, :, None] - others.T[:, None, :]) ** 2)


def _slices(axes: Sequence[int]) -> list[slice]:
    """Where each kernel's parameters stand: the logarithm of its variance, then those of its lengths."""
    ends = np.cumsum([1 + count for count in axes]).tolist()
    return [slice(end - 1 - count, end) for end, count in zip(ends, axes, strict=True)]
