"""The audit of early stopping: a random share of the trials that a scheduler has stopped is trained to the end later.

An audit is a trial of its own, with the config and the seed of the stopped one, which goes on from a copy of its
checkpoint. It runs when searches and confirm phase are over, on the sweep's account, and no study's budget pays for it.
Its score tells how often early stopping loses the best config. It is not a candidate: otherwise the studies
whose stopped trials were drawn would have tried more configs than others.
"""

from collections.abc import Iterator

from kdtrain.runtime.random_streams import derive
from sweeps.attempt.attempt import TRIALS
from sweeps.ledger.state import SweepState, TrialRecord
from sweeps.ledger.trial_state import Phase
from sweeps.spec.spec import SweepSpec
from sweeps.store.store import Store


def drawn(spec: SweepSpec, state: SweepState) -> Iterator[TrialRecord]:
    """The stopped trials that are audited, in the order in which they were proposed.

    Whether a trial is drawn follows from the sweep's seed and the trial's id alone, and who is drawn for a share is
    drawn for every larger one, too.
    """
    share = spec.scheduler.audit
    for trial in state.of_phase(Phase.SEARCH) if share else ():
        if trial.stopped_at is not None and derive(spec.seed, "audit", trial.id) < share * 2**63:
            yield trial


def take_over(store: Store, stopped: TrialRecord, audit: TrialRecord) -> None:
    """Copy what a stopped trial has saved to the folder of its audit; it may be done again before the audit starts."""
    for place in ("", "/checkpoints"):
        before, after = (f"{TRIALS}/{trial.id}{place}" for trial in (stopped, audit))
        for name in store.names(before):
            store.write(f"{after}/{name}", store.read(f"{before}/{name}"))
