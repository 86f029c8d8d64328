"""What the searches of a sweep have proposed so far, each proposal looked at once.

All of it follows from the ledger. Because it is kept, a proposal costs no more in a long search than in a short one.
"""

import math
from collections.abc import Callable, Iterable, Mapping

from kdtrain.space import Domain, Range, contains
from sweeps.driver.samplers.ranking import Ranked
from sweeps.driver.searched import SearchedTrial
from sweeps.ledger.events import Event, trial_of
from sweeps.ledger.search_name import search_name
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_events import Ended, Infeasible
from sweeps.ledger.trial_record import InvalidProposal, SearchEnd, TrialRecord
from sweeps.ledger.trial_state import TrialState
from sweeps.spec.paths import Space, identity, size


class Proposals:
    """What one search has proposed.

    Args:
        space: What it searches now; what lies outside of it was proposed before the space was corrected.
        trials: Its trials so far, and the proposals that made no valid config, in order.
        ends: What of that has ended, in order; that of the trials, where it is not given.
    """

    def __init__(
        self, space: Space, trials: Iterable[SearchedTrial] = (), ends: Iterable[SearchEnd] | None = None
    ) -> None:
        self.space, self.inside = space, Ranked()
        self.others: Mapping[str, Ranked] = {}
        self._is_inside: dict[int, tuple[SearchedTrial, bool]] = {}
        self._configs: set[tuple[object, ...]] = set()
        for trial in trials:
            self.update(trial)
            if ends is None:
                self.tell(trial, trial.state, math.inf)
        for end in ends or ():
            self.tell(*end)

    @property
    def number(self) -> int:
        """How many there are, those outside of the space included."""
        return len(self._is_inside)

    @property
    def configs(self) -> int:
        """How many different configs of the space were proposed."""
        return len(self._configs)

    @property
    def are_all(self) -> bool:
        """Whether every config of the space was proposed."""
        return self.configs >= size(self.space)

    def __contains__(self, params: object) -> bool:
        return isinstance(params, Mapping) and identity(self.space, params) in self._configs

    def update(self, trial: SearchedTrial) -> None:
        """Take in a new trial, or what has happened to one."""
        known = self._is_inside.get(id(trial))
        if known is None:
            known = self._is_inside[id(trial)] = trial, holds(self.space, trial.params)
            if known[1]:
                self._configs.add(identity(self.space, trial.params))
        if known[1]:
            self.inside.update(trial)

    def tell(self, trial: SearchedTrial, state: TrialState, epoch: float) -> None:
        """Take in that a trial has ended, see `SearchEnd`."""
        if self._is_inside[id(trial)][1]:
            self.inside.tell(trial, state, epoch)


class AllProposals:
    """What all searches have proposed.

    Args:
        state: The sweep; it grows while it is looked at.
        space_of: What a study searches, with priors; it stays from its first proposal on.
    """

    def __init__(self, state: SweepState, space_of: Callable[[str], Space]) -> None:
        self._state, self._space_of = state, space_of
        self._of: dict[str, Proposals] = {}

    def of_search(self, study: str, search: int) -> Proposals:
        """What a search of a study has proposed, and the searches with this number of the other studies."""
        proposals = self._of_search(study, search)
        others = (other for other in self._state.by_study if other != study)
        proposals.others = {other: self._of_search(other, search).inside for other in others}
        return proposals

    def _of_search(self, study: str, search: int) -> Proposals:
        name = search_name(study, search)
        if name not in self._of:
            ends = self._state.searches.ends.get(name, ())
            self._of[name] = Proposals(self._space_of(study), self._state.searches.proposed(study, search), ends)
        return self._of[name]

    def update(self, event: Event) -> None:
        """Take in an event that the state has taken in."""
        proposal: TrialRecord | InvalidProposal
        if isinstance(event, Infeasible):
            name, proposal = search_name(event.study, event.search), self._state.searches.invalid[event.study][-1]
        elif (trial_id := trial_of(event)) is not None and self._state.trials[trial_id].phase.is_searched:
            proposal = self._state.trials[trial_id]
            name = search_name(proposal.study, proposal.search)
        else:
            return
        if (of_search := self._of.get(name)) is not None:
            of_search.update(proposal)
            if isinstance(event, Infeasible | Ended):
                of_search.tell(*self._state.searches.ends[name][-1])


def holds(space: Space, params: Mapping[str, object]) -> bool:
    """Whether parameters lie in a space: a value for each of its paths and no other, within its domain."""
    return params.keys() == space.keys() and all(is_inside(domain, params[path]) for path, domain in space.items())


def is_inside(domain: Domain, value: object) -> bool:
    """Whether a domain holds a value; an end of a range may be missed by rounding."""
    if contains(domain, value):
        return True
    ends = (domain.low, domain.high) if isinstance(domain, Range) else ()
    return isinstance(value, float) and any(math.isclose(value, end, rel_tol=1e-9) for end in ends)
