"""What follows a failed attempt at a trial: another attempt, the end of the trial, or the end of the sweep.

Pure functions of what has failed so far.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from sweeps.ledger.failure import Failure
from sweeps.ledger.tally import Tally
from sweeps.ledger.trial_record import TrialRecord
from sweeps.ledger.trial_state import TrialState

ABORT_AFTER = 3
"""If the first trials of all studies, and so many at least, fail in the same way, the cause is not in the trials."""
MOST_NODE_LOSSES = 20
"""After so many lost nodes a trial is given up."""
_NOT_COUNTED: tuple[Failure, ...] = ("node_lost", "out_of_memory", "damaged", "input", "missing")
"""Failures that use up none of a trial's retries: the trial did not cause them, or they have a rule of their own."""


def tries_again(crashes: Mapping[Failure, int], failure: Failure, retries: int) -> bool:
    """Whether another attempt follows a failed one.

    Args:
        crashes: Failed attempts of the trial before this one, by kind.
        failure: The kind of this failure.
        retries: Further attempts that a trial may have after errors of its training code.
    """
    before = crashes.get(failure, 0)
    if failure in ("input", "missing"):
        return False
    if failure in ("out_of_memory", "damaged"):
        return before == 0
    if failure == "node_lost":
        return before < MOST_NODE_LOSSES
    return sum(count for kind, count in crashes.items() if kind not in _NOT_COUNTED) < retries


def larger_gpu_share(failure: Failure, gpu: float) -> float | None:
    """The share of a GPU that the next attempt gets: whole GPUs after an out-of-memory; none for the share as it is."""
    return math.ceil(gpu) if failure == "out_of_memory" and gpu else None


def failed_alike(tally: Tally[TrialRecord], studies: Sequence[str]) -> int:
    """How many trials have failed, if all that have ended failed with one error; else 0.

    Args:
        tally: The counts of the trials.
        studies: The names of the studies; of each of them some trials must have ended, see `ABORT_AFTER`.
    """
    failed = 0
    for study in studies:
        of_study: Counter[TrialState] = Counter()
        for (state, _), count in tally.states.get(study, Counter()).items():
            of_study[state] += count if state.is_over else 0
        if of_study.total() != of_study[TrialState.FAILED] or of_study.total() < math.ceil(ABORT_AFTER / len(studies)):
            return 0
        failed += of_study.total()
    causes = (_cause(trial) for trial in tally.broken.values() if trial.study in studies)
    first = next(causes)
    return failed if all(cause == first for cause in causes) else 0


def _cause(trial: TrialRecord) -> str:
    return (trial.reason or "").partition("\n")[0]
