"""Which run of a tracker is the winner."""

from analysis.selection.finalists import finalists
from sweeps.ledger.state import SweepState
from sweeps.outcome.tabulate import short_frames
from sweeps.spec.spec import SweepSpec
from sweeps.trackers.tracked_run import summarized_trial


def winner_of(spec: SweepSpec, state: SweepState) -> str | None:
    """The trial that shows the chosen config's fresh seeds; none before the sweep has finished, or without a choice."""
    if state.frozen is not None:
        return summarized_trial(state, state.frozen.chosen.study, state.frozen.chosen.trial)
    if not state.finished:
        return None
    ranked = finalists(short_frames(state, spec))
    chosen = ranked[ranked["chosen"]] if len(ranked) else ranked
    if not len(chosen):
        return None
    study, trial = chosen["study"].iloc[0], chosen["trial_id"].iloc[0]
    return summarized_trial(state, str(study), trial if isinstance(trial, str) else None)
