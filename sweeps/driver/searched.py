"""What a sampler sees of a trial, and of the search that the trial belongs to."""

from collections.abc import Callable, Container, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Protocol, Self

from kdtrain.space import Scalar
from sweeps.ledger.trial_state import TrialState
from sweeps.spec.paths import Space, identity


class SearchedTrial(Protocol):
    """A trial of a study's search up to now; `sweeps.ledger.trial_record.TrialRecord` implements this protocol."""

    @property
    def params(self) -> Mapping[str, Scalar]:
        """Its parameters, by dotted path."""

    @property
    def state(self) -> TrialState:
        """How far it has come."""

    @property
    def score(self) -> float | None:
        """What it is worth, the more the better; none unless it is complete."""

    @property
    def curve(self) -> Mapping[int, float]:
        """The score by epoch, of those epochs after which it was evaluated."""

    @property
    def is_valid(self) -> bool:
        """Whether its parameters make a valid config; one that is not valid has failed and was not trained."""


@dataclass(frozen=True)
class Search:
    """What a sampler may know of a search beside its trials."""

    seed: int = 0
    """The same for all proposals of the search, another one for each search; from 0 to 2**63 - 1."""
    trials: int | None = None
    """How many trials the search has if none is stopped early; none where that is not known."""
    others: Mapping[str, Sequence[SearchedTrial]] = field(default_factory=dict)
    """By study, the trials so far of the sweep's other studies, each of the search with the same number."""
    tried: Container[Mapping[str, Scalar]] | None = None
    """The configs that the search has proposed; none where they are known from the trials alone."""
    allows: Callable[[Mapping[str, Scalar]], bool] | None = None
    """Whether a config may be proposed now; none where every config may.

    In a sweep with several limits of cost the next student lies at the limit whose turn it is.
    """


class SearchSampler:
    """A sampler that looks at its search, too."""

    _search = Search()

    def for_search(self, search: Search) -> Self:
        """See `sweeps.driver.sampler.ConfigSampler`."""
        bound = copy(self)
        bound._search = search
        return bound

    def _is_tried(self, space: Space, trials: Sequence[SearchedTrial], params: Mapping[str, Scalar]) -> bool:
        """Whether a search of this space has proposed a config, or may not propose it now."""
        if self._search.allows is not None and not self._search.allows(params):
            return True
        if self._search.tried is not None:
            return params in self._search.tried
        return any(identity(space, trial.params) == identity(space, params) for trial in trials)
