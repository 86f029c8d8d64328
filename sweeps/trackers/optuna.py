"""Optuna's storage: the search of every study while it runs, for optuna-dashboard; `kdsweep export optuna` is later."""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from analysis.search.optuna_values import STATES, distribution, open_storage, optuna_value
from analysis.tables import domains
from analysis.tables.states import State
from kdtrain.space import Domain, Range
from sweeps.ledger.trial_state import Phase
from sweeps.trackers.tracked_run import INTERRUPTED, PAUSED, RUNNING, Epoch, Held, TrackedRun
from sweeps.trackers.tracker import TrackedSweep

_RUN, _STATE, _REASON = "kdsweep:run", "state", "reason"
_OPEN = (PAUSED, INTERRUPTED)
"""States of runs that may go on: Optuna opens no trial again that has ended, so theirs do not end."""


class OptunaStorage:
    """Writes to one of Optuna's storages. Fresh seeds are in the summary of their config, and no trials of their own.

    Args:
        sweep: The sweep.
        storage: A journal (`runs.journal`) or a data base (`sqlite:///runs.db`); by default a journal in the sweep's
            folder.
    """

    def __init__(self, sweep: TrackedSweep, storage: str | None = None) -> None:
        logging.getLogger("optuna").setLevel(logging.ERROR)
        if storage is None:
            folder = sweep.folder_for("optuna", None)
            folder.mkdir(parents=True, exist_ok=True)
            storage = str(folder / "optuna.journal")
        self._sweep, self._storage = sweep, open_storage(storage)
        self._studies: dict[str, int] = {}
        self._trials: dict[str, int] = {}

    def held(self) -> Mapping[str, Held]:
        """See `sweeps.trackers.tracker.Tracker`; of several trials of a run the last one counts."""
        held = {}
        for study in self._sweep.spec.studies:
            summaries = self._storage.get_study_user_attrs(self._study(study.name))
            for trial in self._storage.get_all_trials(self._study(study.name), deepcopy=False):
                run_id, state = trial.user_attrs[_RUN], trial.user_attrs.get(_STATE, RUNNING)
                self._trials[run_id] = trial._trial_id
                state = state if trial.state.is_finished() or state in _OPEN else RUNNING
                summary = summaries.get(trial.user_attrs["trial_id"], {})
                held[run_id] = Held(max(trial.intermediate_values, default=0), state, summary)
        return held

    def start(self, run: TrackedRun) -> None:
        """Make a trial; where one of the run has ended, which Optuna never opens again, a copy of it goes on."""
        if run.phase != Phase.SEARCH or self._is_open(run):
            return
        from optuna.trial import TrialState, create_trial

        texts = {_RUN: run.id, "trial_id": run.name, **run.tags}
        template = create_trial(state=TrialState.RUNNING, user_attrs=texts)
        template.datetime_start = _naive(run.began)
        number = self._storage.create_new_trial(self._study(run.study), template)
        for name, domain in self._distributions(run).items():
            value = domain.to_internal_repr(optuna_value(run.params[name]))
            with contextlib.suppress(ValueError):  # Optuna takes no choice that the first trial of a study did not have
                self._storage.set_trial_param(number, name, value, domain)
        for epoch, score in run.scores.items():
            self._storage.set_trial_intermediate_value(number, epoch, score)
        self._trials[run.id] = number

    def log(self, run: TrackedRun, epochs: Sequence[Epoch]) -> None:
        """The score of every evaluated epoch."""
        for epoch in epochs if self._is_open(run) else ():
            if (score := run.scores.get(epoch.number)) is not None:
                self._storage.set_trial_intermediate_value(self._trials[run.id], epoch.number, score)

    def summarize(self, run: TrackedRun) -> None:
        """A user attribute of the study, since the trial may have ended."""
        if run.id in self._trials:
            self._storage.set_study_user_attr(self._study(run.study), run.name, dict(run.summary))

    def end(self, run: TrackedRun) -> None:
        """End it with Optuna's state; the user attributes `state` and `reason` say more."""
        if not self._is_open(run):
            return
        number = self._trials[run.id]
        for name, text in ((_REASON, run.reason), (_STATE, run.state)):
            self._storage.set_trial_user_attr(number, name, text)
        if run.state not in _OPEN:
            state, value = _outcome(run)
            self._storage.set_trial_state_values(number, state, None if value is None else [value])

    def close(self) -> None:
        """Give the connection back."""
        self._storage.remove_session()

    def _is_open(self, run: TrackedRun) -> bool:
        number = self._trials.get(run.id)
        return number is not None and not self._storage.get_trial(number).state.is_finished()

    def _distributions(self, run: TrackedRun) -> Mapping[str, Any]:
        space = self._sweep.spec.space_of(self._sweep.spec.study(run.study))
        return {name: distribution(_domain(space.get(name)), [value]) for name, value in run.params.items()}

    def _study(self, name: str) -> int:
        from optuna.exceptions import DuplicatedStudyError
        from optuna.study import StudyDirection

        if name not in self._studies:
            whole = f"{self._sweep.id}/{name}"
            try:
                self._studies[name] = self._storage.create_new_study([StudyDirection.MAXIMIZE], whole)
                self._storage.set_study_system_attr(self._studies[name], "study:metric_names", ["score"])
            except DuplicatedStudyError:
                self._studies[name] = self._storage.get_study_id_from_name(whole)
        return self._studies[name]


def _outcome(run: TrackedRun) -> tuple[Any, float | None]:
    """Optuna's state, and what the trial is worth: a pruned one what its curve last showed."""
    from optuna.trial import TrialState

    state = STATES[State(run.state)] if run.state in set(State) else TrialState.FAIL
    if state is TrialState.COMPLETE:
        score = run.summary.get("score")
        return (state, score) if score is not None else (TrialState.FAIL, None)
    pruned = state is TrialState.PRUNED and run.scores
    return state, run.scores[max(run.scores)] if pruned else None


def _domain(domain: Domain | None) -> domains.Domain | None:
    if isinstance(domain, Range):
        return domains.Range(domain.low, domain.high, domain.log, domain.integer)
    return None if domain is None else domains.Choices(tuple(domain.choices))


def _naive(at: datetime) -> datetime:
    """Optuna keeps times without a zone."""
    return at.astimezone(UTC).replace(tzinfo=None)
