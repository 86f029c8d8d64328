"""Where a good value of a parameter is believed to lie, as a distribution that can be drawn from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from kdtrain.space import Choice, Confidence, Domain, Scalar
from sweeps.spec.paths import Space, drawn, share_of

SPREAD: Mapping[Confidence, float] = {"low": 0.5, "medium": 0.25, "high": 0.125}
"""The standard deviation of a prior, as a share of its range on its own scale; the middle one is PriorBand's."""
NEAR = 0.05
"""How far a parameter moves to a neighboring value, as a share of its range."""
_RATE = 0.5
"""How often a draw changes a value that it starts from."""


@dataclass(frozen=True)
class Belief:
    """A distribution over a domain: a normal one that is cut off at the ends, or uniform where there is no center.

    Of the choices of a domain the center has `1 / (1 + 4 * spread)` of the probability, and all share the rest evenly
    (inferred): 0.5 with the middle spread.

    Attributes:
        domain: The domain.
        center: How far along it, from 0 to 1, see `sweeps.spec.paths.shares`.
        spread: The standard deviation, as a share of the domain.
    """

    domain: Domain
    center: float | None = None
    spread: float = SPREAD["medium"]

    @classmethod
    def of(cls, domain: Domain) -> "Belief":
        """What the prior of a domain says."""
        center = share_of(domain, domain.prior) if domain.has_prior else None
        return cls(domain, center, SPREAD[domain.confidence])

    def density(self, share: float) -> float:
        """The density at a place of the domain; 1 everywhere if it is uniform."""
        if self.center is None:
            return 1.0
        if isinstance(self.domain, Choice):
            count, certain = len(self.domain.choices), self._certain
            is_center = int(share * count) == int(self.center * count)
            return 1 - certain + certain * count * is_center
        normal, (low, high) = self._normal
        return normal.pdf(share) / (high - low)

    def at(self, chance: float) -> float:
        """The place that a uniform draw from 0 to 1 leads to."""
        if self.center is None:
            return chance
        if isinstance(self.domain, Choice):
            certain = self._certain
            return self.center if chance < certain else (chance - certain) / (1 - certain)
        normal, (low, high) = self._normal
        inside = low + chance * (high - low)
        return min(max(normal.inv_cdf(inside), 0.0), 1.0) if 0 < inside < 1 else self.center

    @property
    def _certain(self) -> float:
        return 1 / (1 + 4 * self.spread)

    @property
    def _normal(self) -> tuple[NormalDist, tuple[float, float]]:
        """The normal distribution, and how much of it lies below either end."""
        assert self.center is not None
        normal = NormalDist(self.center, self.spread)
        return normal, (normal.cdf(0), normal.cdf(1))


@dataclass(frozen=True)
class Source:
    """From where a config may be drawn.

    Attributes:
        beliefs: By dotted path, where the values of each parameter lie.
        kept: The values that a draw starts from; each is kept with a probability of one half, but not all.
    """

    beliefs: Mapping[str, Belief]
    kept: Mapping[str, Scalar] = field(default_factory=dict)

    def density(self, places: Sequence[float]) -> float:
        """The density at a config, given how far along its domain each parameter lies; 1 if all is uniform."""
        return math.prod(belief.density(place) for belief, place in zip(self.beliefs.values(), places, strict=True))

    def draw(self, space: Space, rng: np.random.Generator) -> dict[str, Scalar]:
        """A config."""
        chances, changes = rng.random(len(space)), rng.random(len(space))
        changes[int(rng.integers(len(space)))] = 0.0
        params = drawn(
            space, [belief.at(chance) for belief, chance in zip(self.beliefs.values(), chances, strict=True)]
        )
        return {
            path: params[path] if path not in self.kept or change < _RATE else self.kept[path]
            for path, change in zip(space, changes, strict=True)
        }
