"""What a race goes by: the scores of its trainings, failed ones counted as the selection counts them."""

from collections.abc import Mapping, Sequence

from analysis.selection.collapse import Runs, collapsed
from analysis.tables.states import BY_METHOD
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_record import TrialRecord
from sweeps.ledger.trial_state import TrialState
from sweeps.spec.spec import SweepSpec

_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.DIVERGED)
"""States of trials of which the worst counts, beside those that failed by their method."""


def failed_by_method(trial: TrialRecord) -> bool:
    """Whether a training failed in a way that says something about its config, see `analysis.selection.failures`."""
    if trial.state is TrialState.COMPLETE:
        return trial.score is None
    by_error = trial.state is TrialState.FAILED and trial.failure in BY_METHOD
    return by_error or trial.state is TrialState.DIVERGED


def counted_score(spec: SweepSpec, state: SweepState, trial: TrialRecord) -> float | None:
    """The score at which a training counts; none if it counts as missing."""
    if not failed_by_method(trial):
        return trial.score
    if spec.confirm.failures == "reached" and trial.reached is not None:
        return trial.reached
    lowest = state.tally.lowest_reached().items()
    return min((value for (end, failure), value in lowest if end in _ENDED or failure in BY_METHOD), default=None)


def unstable(ran: Mapping[str, Sequence[TrialRecord]], screened: Mapping[str, float | None]) -> set[str]:
    """The candidates with a fresh seed that failed or collapsed.

    Args:
        ran: The ended trainings on fresh seeds, by candidate.
        screened: The score of every candidate in the search.
    """
    complete = {name: [run.score for run in runs if run.score is not None] for name, runs in ran.items()}
    fell = collapsed([Runs(scores, screened[name]) for name, scores in complete.items()])
    broken = {name for name, runs in ran.items() if any(failed_by_method(run) for run in runs)}
    return broken | {name for name, flags in zip(complete, fell, strict=True) if any(flags)}
