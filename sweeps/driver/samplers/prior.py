"""Draws from what is believed, from around the best trial, and from everywhere, in shares that follow the evidence."""

from collections.abc import Sequence

import numpy as np
from pydantic import field_validator

from kdtrain.config_base import Strict
from kdtrain.runtime.random_streams import numpy_rng
from kdtrain.space import Range, Scalar, contains
from sweeps.driver.samplers.beliefs import NEAR, Belief, Source
from sweeps.driver.samplers.options import Switch, checked
from sweeps.driver.samplers.ranking import GOOD, Ranked, ranked
from sweeps.driver.searched import SearchedTrial, SearchSampler
from sweeps.spec.paths import Space, identity, recipe_of, shares

_STEP = 0.25
"""How far a changed parameter moves from the best trial at most, as a share of its range."""
_DOUBT = 2
"""Other good trials that are believed to be a whole step away, before any is seen."""
_TOP = 3
"""One in so many of the trials with a score is evidence: the best ones."""


class PriorOptions(Strict):
    """The options of `PriorSampler`."""

    random: float = 0.25
    share: Switch = False

    @field_validator("random", mode="before")
    @classmethod
    def _share_of_one(cls, value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"must be a share from 0 to 1, got {value!r}")
        return value


class PriorSampler(SearchSampler):
    """PriorBand's mixture of prior, incumbent and uniform draws. Mallik et al. 2023, section 5.

    A prior draw takes each parameter from a normal distribution around the prior of its domain; one without a prior is
    drawn uniformly. An incumbent draw changes some parameters of the best trial. How often each of the two is chosen
    follows from the densities that it gives to the best third of the trials, so a prior that is wrong is left soon. The
    config in which every parameter has its prior comes first.

    With `share` a third such source is around the best trials of the sweep's other studies: it draws the recipe, the
    parameters outside of `terms.`, from near theirs, and the others from their priors (inferred). The best trials of
    two studies then have a common cause, so the studies are not independent.

    In the paper the share of uniform draws follows from the rung; here it is an option, because all trials of an
    asynchronous search begin at the first rung.

    Args:
        startup: Trials that must be complete or stopped before the best one is looked at.
        random: The share of uniform draws.
        share: Whether what other studies have learnt about the recipe counts.

    Raises:
        InputError: If an option is not valid.
    """

    uses_priors = True
    """Whether the priors of domains count."""

    def __init__(self, startup: int = 6, random: float = 0.25, share: bool = False) -> None:
        options = checked(PriorOptions, random=random, share=share)
        self._startup, self._random, self._share = startup, options.random, options.share

    def propose(self, study: str, space: Space, trials: Sequence[SearchedTrial], seed: int) -> dict[str, Scalar]:
        """See `sweeps.driver.sampler.ConfigSampler`."""
        believed, tried = _believed(space), [identity(space, trial.params) for trial in trials[:2]]
        if believed is not None and len(trials) < 2 and identity(space, believed) not in tried:
            return believed
        rng = numpy_rng(seed, "prior")
        sources = self.sources(space, ranked(trials))
        chosen = rng.choice(len(sources), p=[share for _, share in sources])
        return sources[chosen][0].draw(space, rng)

    def sources(self, space: Space, best_first: Ranked) -> list[tuple[Source, float]]:
        """From where the next config may be drawn, each with its probability: everywhere, prior, incumbent, others."""
        everywhere = Source({path: Belief(domain) for path, domain in space.items()})
        informed = [Source({path: Belief.of(domain) for path, domain in space.items()})]
        scored = best_first.best(_TOP * GOOD)
        best = scored[: max(1, len(scored) // _TOP)]
        if len(scored) >= self._startup:
            informed.append(_around(space, best))
        if self._share and (others := self._others(space)) is not None:
            informed.append(others)
        likely = ((1 - self._random) * share for share in _evidence(space, informed, best))
        return [(everywhere, self._random), *zip(informed, likely, strict=True)]

    def _others(self, space: Space) -> Source | None:
        """Configs whose recipe is near those of the other studies' best trials; none as long as nothing is known."""
        recipe = recipe_of(space)
        scored = [ranked(trials).best(self._startup) for trials in self._search.others.values()]
        best = [trials[0] for trials in scored if len(trials) >= self._startup]
        alike = [
            trial
            for trial in best
            if all(path in trial.params and contains(domain, trial.params[path]) for path, domain in recipe.items())
        ]
        if not recipe or not alike:
            return None
        believed = {path: Belief.of(domain) for path, domain in space.items()}
        return Source({**believed, **_around(recipe, alike).beliefs})


def _believed(space: Space) -> dict[str, Scalar] | None:
    """The config in which every parameter has its prior; none where one has none."""
    if not all(domain.has_prior for domain in space.values()):
        return None
    whole = {path for path, domain in space.items() if isinstance(domain, Range) and domain.integer}
    return {path: int(domain.prior or 0) if path in whole else domain.prior for path, domain in space.items()}


def _around(space: Space, best: Sequence[SearchedTrial]) -> Source:
    """Configs that share some values with the best one and are near to it in the others.

    How near follows from how far the other good ones are: a parameter on which all agree moves little.
    """
    places = np.array([shares(space, trial.params) for trial in best])
    squares = ((places - places[0]) ** 2).sum(axis=0)
    steps = np.sqrt((squares + _DOUBT * _STEP**2) / (len(best) - 1 + _DOUBT)).clip(NEAR, _STEP)
    pairs = zip(space.items(), places[0].tolist(), steps.tolist(), strict=True)
    return Source({path: Belief(domain, place, step) for (path, domain), place, step in pairs}, best[0].params)


def _evidence(space: Space, sources: Sequence[Source], best: Sequence[SearchedTrial]) -> list[float]:
    """How likely the best trials are under each source, the better ones weighing more; sums to 1."""
    places = [(len(best) - rank, shares(space, trial.params)) for rank, trial in enumerate(best)]
    sums = [sum(weight * source.density(place) for weight, place in places) for source in sources]
    total = sum(sums)
    return [each / total if total > 0 else 1 / len(sums) for each in sums]
