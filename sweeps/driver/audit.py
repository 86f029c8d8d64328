"""The audit of early stopping: a random share of the trials that a scheduler has stopped is trained to the end later.

An audit is a trial of its own, with the config and the seed of the stopped one, which goes on from a copy of its
checkpoint. It runs when searches and confirm phase are over, on the sweep's account, and no study's budget pays for it.
Its score tells how often early stopping loses the best config. It is not a candidate: otherwise the studies
whose stopped trials were drawn would have tried more configs than others.
"""

import functools
from bisect import bisect_left
from collections.abc import Iterator

from kdtrain.runtime.random_streams import derive
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_record import TrialRecord
from sweeps.ledger.trial_state import Phase
from sweeps.spec.spec import SweepSpec
from sweeps.store.folder_kinds import TRIALS
from sweeps.store.store import Store


def drawn(spec: SweepSpec, state: SweepState) -> Iterator[TrialRecord]:
    """The stopped trials that are audited, in the order in which they were proposed.

    Whether a trial is drawn follows from the sweep's seed and the trial's id alone, and who is drawn for a share is
    drawn for every larger one, too.
    """
    stopped = state.tally.stopped if spec.scheduler.audit else {}
    for place in sorted(stopped):
        if _is_drawn(spec, stopped[place]):
            yield stopped[place]


def _is_drawn(spec: SweepSpec, trial: TrialRecord) -> bool:
    return trial.stopped_at is not None and _lot(spec.seed, trial.id) < spec.scheduler.audit * 2**63


@functools.cache
def _lot(seed: int, trial_id: str) -> int:
    """What decides whether a trial is drawn, from 0 to 2**63 - 1."""
    return derive(seed, "audit", trial_id)


class Audits:
    """The stopped trials whose audit has not begun, kept from event to event.

    Args:
        spec: The sweep's spec.
        state: The sweep; it grows while it is looked at.
    """

    def __init__(self, spec: SweepSpec, state: SweepState) -> None:
        self._spec, self._state = spec, state
        self._begun: set[str | None] = set()
        self._due: list[int] | None = None

    def update(self, trial: TrialRecord) -> None:
        """Take in what has happened to a trial."""
        if self._due is None or trial.phase not in (Phase.AUDIT, Phase.SEARCH):
            return
        if trial.phase is Phase.AUDIT:
            self._begun.add(trial.candidate_of)
            trial = self._state.trials[trial.candidate_of or ""]
        place = self._state.tally.place(trial)
        at = bisect_left(self._due, place)
        was_due = self._due[at : at + 1] == [place]
        is_due = trial.id not in self._begun and _is_drawn(self._spec, trial)
        if is_due and not was_due:
            self._due.insert(at, place)
        elif was_due and not is_due:
            del self._due[at]

    def next(self) -> TrialRecord | None:
        """The next stopped trial to audit; one whose config is being audited on its seed waits for the outcome."""
        if self._due is None:
            self._begun = {trial.candidate_of for trial in self._state.of_phase(Phase.AUDIT)}
            stopped = (trial for trial in drawn(self._spec, self._state) if trial.id not in self._begun)
            self._due = [self._state.tally.place(trial) for trial in stopped]
        audits = (trial for trial in self._state.tally.unfinished if trial.phase is Phase.AUDIT)
        now = {(trial.config_id, trial.seed) for trial in audits}
        due = (self._state.tally.stopped[place] for place in self._due)
        return next((trial for trial in due if (trial.config_id, trial.seed) not in now), None)


def take_over(store: Store, stopped: TrialRecord, audit: TrialRecord) -> None:
    """Copy what a stopped trial has saved to the folder of its audit; it may be done again before the audit starts."""
    for place in ("", "/checkpoints"):
        before, after = (f"{TRIALS}/{trial.id}{place}" for trial in (stopped, audit))
        for name in store.names(before):
            store.write(f"{after}/{name}", store.read(f"{before}/{name}"))
