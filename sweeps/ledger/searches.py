"""What the searches of a sweep have proposed, what has become of it, and which of them are over."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sweeps.ledger.search_name import search_name
from sweeps.ledger.sweep_events import Exhausted
from sweeps.ledger.trial_events import Infeasible
from sweeps.ledger.trial_record import InvalidProposal, SearchEnd, TrialRecord
from sweeps.ledger.trial_state import Phase, TrialState


@dataclass
class Searches:
    """The searches of a sweep; events change them, by way of the state."""

    invalid: dict[str, list[InvalidProposal]] = field(default_factory=dict)
    """What the searches of a study proposed in vain."""
    proposals: dict[str, list[TrialRecord | InvalidProposal]] = field(default_factory=dict)
    """By `search_name`, all that a search has proposed, in order."""
    ends: dict[str, list[SearchEnd]] = field(default_factory=dict)
    """By `search_name`, the ends of what it has proposed, in order; a trial that goes on may have several."""
    in_vain: dict[str, int] = field(default_factory=dict)
    """By `search_name`, how many proposals in a row made no valid config, up to the last one."""
    exhausted: dict[str, str] = field(default_factory=dict)
    """By `search_name`, why a search proposes nothing more although it has budget left."""

    def proposed(self, study: str, search: int = 1) -> Sequence[TrialRecord | InvalidProposal]:
        """All that a search of a study has proposed, in order: its trials, also left out ones, and what was invalid."""
        return self.proposals.get(search_name(study, search), [])

    def add(self, trial: TrialRecord) -> None:
        """A new trial, of whatever phase."""
        if not trial.phase.is_searched:
            return
        name = search_name(trial.study, trial.search)
        if trial.phase is Phase.SEARCH:
            trial.number_in_search = self._next_number(name)
            self.in_vain.pop(name, None)
        self.proposals.setdefault(name, []).append(trial)

    def add_invalid(self, event: Infeasible) -> None:
        """A proposal that makes no valid config."""
        proposal, name = (
            InvalidProposal(event.params, event.reason, event.search),
            search_name(event.study, event.search),
        )
        self.invalid.setdefault(event.study, []).append(proposal)
        self.proposals.setdefault(name, []).append(proposal)
        self.ends.setdefault(name, []).append(SearchEnd(proposal, proposal.state, 0))
        self.in_vain[name] = self.in_vain.get(name, 0) + 1

    def end(self, trial: TrialRecord, state: TrialState) -> None:
        """A trial, of whatever phase, has ended."""
        if trial.phase.is_searched:
            end = SearchEnd(trial, state, max(trial.curve, default=0))
            self.ends.setdefault(search_name(trial.study, trial.search), []).append(end)

    def exhaust(self, event: Exhausted) -> None:
        """A search has nothing more to propose."""
        self.exhausted[search_name(event.study, event.search)] = event.reason

    def correct(self, study: str) -> None:
        """The space of a study was corrected: its searches propose again."""
        for of_search in (self.exhausted, self.in_vain):
            for name in [name for name in of_search if name.partition("/")[0] == study]:
                del of_search[name]

    def _next_number(self, name: str) -> int:
        """The number in its search of the next trial of a search, by the search's name."""
        for earlier in reversed(self.proposals.get(name, ())):
            if isinstance(earlier, TrialRecord) and earlier.phase is Phase.SEARCH:
                return earlier.number_in_search + 1
        return 0
