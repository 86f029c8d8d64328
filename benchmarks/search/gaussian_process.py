"""Gaussian process regression on the unit cube: Matern 5/2, a length for each axis, noise by the number of repeats.

Rasmussen & Williams 2006, algorithm 2.1 and equations 5.8 and 5.12. The lengths have a broad prior, which keeps
them finite for a few dozen points.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

_LENGTH, _SPREAD = 0.7, 1.0
"""Median of the prior of a length, and the standard deviation of its logarithm."""
_NUGGET = 1e-6


@dataclass(frozen=True)
class GaussianProcess:
    """A fitted process.

    Attributes:
        points: `(n, d)`.
        lengths: `(d,)`.
        mean: The value far away from all points.
        weights: `(n,)`; the prediction is `mean + kernel(x, points) @ weights`.
        left_out: The prediction at every point from all others, `(n,)`.
    """

    points: np.ndarray
    lengths: np.ndarray
    mean: float
    weights: np.ndarray
    left_out: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The expected values at points `(m, d)`, `(m,)`."""
        return self.mean + _matern(x, self.points, self.lengths) @ self.weights


def fit(points: np.ndarray, values: np.ndarray, repeats: np.ndarray) -> GaussianProcess:
    """Fit a process by the largest posterior density of its lengths, signal and noise.

    Args:
        points: `(n, d)`, in the unit cube.
        values: `(n,)`.
        repeats: Of how many measurements each value is the mean, `(n,)`.
    """
    mean, scale = float(values.mean()), float(values.std()) or 1.0
    y, d = (values - mean) / scale, points.shape[1]

    def covariance(log: np.ndarray) -> np.ndarray:
        kernel = np.exp(log[d]) * _matern(points, points, np.exp(log[:d]))
        return kernel + np.diag(np.exp(log[d + 1]) / repeats + _NUGGET)

    def loss(log: np.ndarray) -> float:
        try:
            factor = cho_factor(covariance(log), lower=True)
        except np.linalg.LinAlgError:
            return 1e10
        density = 0.5 * y @ cho_solve(factor, y) + np.log(np.diag(factor[0])).sum()
        return float(density + 0.5 * (((log[:d] - np.log(_LENGTH)) / _SPREAD) ** 2).sum())

    bounds = [(np.log(0.05), np.log(20.0))] * d + [(np.log(0.05), np.log(20.0)), (np.log(1e-4), np.log(2.0))]
    starts = [np.array([*[np.log(length)] * d, 0.0, np.log(noise)]) for length in (0.3, 1.0) for noise in (0.02, 0.3)]
    best = min((minimize(loss, start, method="L-BFGS-B", bounds=bounds) for start in starts), key=lambda each: each.fun)
    inverse = cho_solve(cho_factor(covariance(best.x), lower=True), np.eye(len(y)))
    solved = inverse @ y
    left_out = mean + scale * (y - solved / np.diag(inverse))
    return GaussianProcess(points, np.exp(best.x[:d]), mean, scale * np.exp(best.x[d]) * solved, left_out)


def _matern(x: np.ndarray, points: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    distance = np.sqrt(5 * (((x[:, None, :] - points[None, :, :]) / lengths) ** 2).sum(axis=2))
    return (1 + distance + distance**2 / 3) * np.exp(-distance)
