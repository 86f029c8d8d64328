"""What a sampler sees of a trial, and of the search that the trial belongs to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kdtrain.space import Scalar
from sweeps.ledger.trial_state import TrialState


class SearchedTrial(Protocol):
    """A trial of a study's search up to now; `sweeps.ledger.state.TrialRecord` implements this protocol."""

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
