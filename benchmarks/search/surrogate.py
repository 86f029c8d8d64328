"""A study of the table as a function of any config: smooth mean curves, and noise as the trainings have it.

Curves are modeled as `mean of the config + effect of the seed + rest`. The means are projected on their principal
curves, and a Gaussian process of the config predicts each coordinate. Effects of seeds are the same for all configs, so
that configs are compared in pairs; they and the rests are normal with the covariance over epochs that the table has,
the rests with that of the configs nearby. Inferred; the fit to left-out configs is reported beside every figure.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.stats import qmc, spearmanr

from search.gaussian_process import GaussianProcess, fit
from search.tables import Domain, Params, Space, StudyTable, drawn, places
from search.trainings import generator

_KEPT = 0.99
"""Principal curves are kept until they have this share of the variance between configs."""
_NEAR = 0.35
"""Distance in the unit cube at which the weight of a config's rests has fallen to exp(-1/2)."""
_CANDIDATES = 4096
"""Configs among which the best is looked for, before the neighborhood of the best is searched."""


@dataclass(frozen=True)
class Parts:
    """Curves as a sum of parts.

    Attributes:
        means: Of configs, `(c, e)`.
        seeds: Of seeds, the same for all configs, `(s, e)`.
        rests: `(c, s, e)`, enlarged for what the other parts have taken up; zero where there is no training.
        repeats: Trainings of every config, `(c,)`.
    """

    means: np.ndarray
    seeds: np.ndarray
    rests: np.ndarray
    repeats: np.ndarray


def parts(curves: np.ndarray) -> Parts:
    """Split curves `(c, s, e)`, NaN where there is no training, by least squares."""
    there = ~np.isnan(curves[:, :, 0])
    filled = np.where(there[:, :, None], curves, 0.0)
    repeats, per_seed = there.sum(axis=1), there.sum(axis=0)
    seeds = np.zeros(curves.shape[1:])
    for _ in range(50):  # alternating least squares
        means = (filled - np.where(there[:, :, None], seeds, 0.0)).sum(axis=1) / repeats[:, None]
        seeds = (filled - np.where(there[:, :, None], means[:, None], 0.0)).sum(axis=0) / per_seed[:, None]
        seeds = seeds - seeds.mean(axis=0)
    rests = np.where(there[:, :, None], curves - means[:, None] - seeds, 0.0)
    free = there.sum() - len(repeats) - len(per_seed) + 1
    return Parts(means, seeds, rests * np.sqrt(there.sum() / max(1, free)), repeats)


@dataclass(frozen=True)
class Surrogate:
    """A fitted study.

    Attributes:
        task, study: Their names.
        space: Its space.
        default: The published config.
        mean: The mean curve, `(e,)`.
        directions: The principal curves, `(k, e)`.
        coordinates: Of a config on each of them.
        parts: The curves of the table, split.
    """

    task: str
    study: str
    space: Space
    default: Params | None
    mean: np.ndarray
    directions: np.ndarray
    coordinates: tuple[GaussianProcess, ...]
    parts: Parts

    @classmethod
    def of(cls, table: StudyTable) -> "Surrogate":
        """Fit a study."""
        split = parts(table.curves)
        mean = split.means.mean(axis=0)
        _, sizes, directions = np.linalg.svd(split.means - mean, full_matrices=False)
        shares = np.cumsum(sizes**2) / max((sizes**2).sum(), 1e-12)
        kept = directions[: int(np.searchsorted(shares, _KEPT)) + 1]
        points = np.array([places(table.space, params) for params in table.configs])
        coordinates = tuple(fit(points, (split.means - mean) @ direction, split.repeats) for direction in kept)
        return cls(table.task, table.study, table.space, table.default, mean, kept, coordinates, split)

    @property
    def epochs(self) -> int:
        """Epochs of a full training."""
        return len(self.mean)

    def means(self, points: np.ndarray) -> np.ndarray:
        """The mean curves at points of the unit cube, `(m, e)`."""
        coordinates = np.stack([process(points) for process in self.coordinates], axis=1)
        return np.clip(self.mean + coordinates @ self.directions, 0.0, 100.0)

    @cached_property
    def best(self) -> tuple[float, Params]:
        """The best config and what it is worth."""
        return self._extreme(1.0)

    @cached_property
    def worst(self) -> tuple[float, Params]:
        """The worst config and what it is worth."""
        return self._extreme(-1.0)

    def _extreme(self, sign: float) -> tuple[float, Params]:
        number = len(self.space)
        shares = qmc.Sobol(number, seed=0).random(_CANDIDATES)
        rng = np.random.default_rng(0)
        top: np.ndarray = shares[0]
        for spread in (None, 0.1, 0.03, 0.01):
            if spread is not None:
                shares = np.clip(top + rng.normal(0, spread, (512, number)), 0.0, 1 - 1e-9)
                shares[0] = top
            points = np.array([places(self.space, drawn(self.space, list(each))) for each in shares])
            top = shares[int(np.argmax(sign * self.means(points)[:, -1]))]
        params = drawn(self.space, list(top))
        return float(self.means(places(self.space, params)[None])[0, -1]), params

    def fit_of_left_out(self, table: StudyTable) -> dict[str, float]:
        """How well configs are predicted from all others, after the last epoch.

        Returns:
            `rank_correlation` and `error` (root mean square, in points) of the predictions; beside them
            `rank_correlation_of_seeds`, between the scores of the two seeds that all configs have, and `seed_sd`.
        """
        predicted = (
            self.mean[-1] + np.stack([each.left_out for each in self.coordinates], axis=1) @ self.directions[:, -1]
        )
        measured = self.parts.means[:, -1]
        both = table.curves[:, :2, -1]
        alone = spearmanr(both[:, 0], both[:, 1])[0] if both.shape[1] > 1 else float("nan")
        trained = ~np.isnan(table.curves[:, :, 0])
        return {
            "rank_correlation": float(spearmanr(predicted, measured)[0]),
            "error": float(np.sqrt(np.mean((predicted - measured) ** 2))),
            "rank_correlation_of_seeds": float(alone),
            "seed_sd": float(self.parts.rests[:, :, -1][trained].std()),
            "spread": float(measured.std()),
        }

    def begin(self, repetition: int) -> "Drawn":
        """The trainings of a repetition."""
        return Drawn(self, repetition)

    def to_json(self) -> str:
        """The fitted study as text, from which any environment reads the same numbers."""
        content = {
            "task": self.task,
            "study": self.study,
            "space": {path: vars(domain) for path, domain in self.space.items()},
            "default": self.default,
            "mean": self.mean.tolist(),
            "directions": self.directions.tolist(),
            "coordinates": [_listed(vars(process)) for process in self.coordinates],
            "parts": _listed(vars(self.parts)),
        }
        return json.dumps(content)

    @classmethod
    def parse(cls, text: str) -> "Surrogate":
        """Read what `to_json` wrote."""
        content: dict[str, Any] = json.loads(text)
        space = {
            path: Domain(**{**domain, "choices": tuple(domain["choices"])}) for path, domain in content["space"].items()
        }
        coordinates = tuple(GaussianProcess(**_arrays(each)) for each in content["coordinates"])
        names = (content["task"], content["study"], space, content["default"])
        curves = (np.array(content["mean"]), np.array(content["directions"]))
        return cls(*names, *curves, coordinates, Parts(**_arrays(content["parts"])))


class Drawn:
    """Trainings of a surrogate; implements `search.trainings.Trainings`."""

    def __init__(self, surrogate: Surrogate, repetition: int) -> None:
        self._surrogate, self._repetition = surrogate, repetition
        self.space, self.epochs, self.default = surrogate.space, surrogate.epochs, surrogate.default
        self.best = surrogate.best[0]
        self._curves: dict[str, np.ndarray] = {}

    def curve(self, params: Params, seed: int) -> np.ndarray:
        """See `Trainings`."""
        key = json.dumps([seed, params])
        if key not in self._curves:
            self._curves[key] = self._drawn(params, seed)
        return self._curves[key]

    def worth(self, params: Params) -> float:
        """See `Trainings`."""
        return float(self._surrogate.means(places(self.space, params)[None])[0, -1])

    def _drawn(self, params: Params, seed: int) -> np.ndarray:
        surrogate, split = self._surrogate, self._surrogate.parts
        names = (surrogate.task, surrogate.study, self._repetition, seed)
        point = places(self.space, params)
        of_seed = generator("seed", *names).standard_normal(len(split.seeds))
        effect = of_seed @ split.seeds / np.sqrt(max(1, len(split.seeds) - 1))
        squared = ((self._surrogate.coordinates[0].points - point) ** 2).sum(axis=1)
        weights = np.exp(-(squared - squared.min()) / (2 * _NEAR**2))
        numbers = generator("rest", *names, params).standard_normal(split.rests.shape[:2])
        rest = np.einsum("cs,cse->e", np.sqrt(weights)[:, None] * numbers, split.rests)
        rest = rest / np.sqrt((weights * split.repeats).sum())
        return np.clip(surrogate.means(point[None])[0] + effect + rest, 0.0, 100.0)


def _listed(content: dict[str, Any]) -> dict[str, Any]:
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in content.items()}


def _arrays(content: dict[str, Any]) -> dict[str, Any]:
    return {name: np.array(value) if isinstance(value, list) else value for name, value in content.items()}
