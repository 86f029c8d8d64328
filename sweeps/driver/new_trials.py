"""New trials: a search proposes a config, or a config that was trained before is trained again."""

from collections.abc import Callable, Mapping

from kdtrain.config import TrainConfig
from kdtrain.space import Scalar
from sweeps.driver import outcomes, set_aside
from sweeps.driver.allocation import Rerun, most_trials, next_promotion, next_search, spent_trials
from sweeps.driver.limits import Limits, StudentOf, steps_of, turn
from sweeps.driver.measured_pulls import MeasuredPulls
from sweeps.driver.open_sweep import OpenSweep
from sweeps.driver.proposals import AllProposals, Proposals
from sweeps.driver.sampler import Allows, ConfigSampler, OutsideError, exhausted, propose
from sweeps.driver.space_check import CheckConfig, RefusedError, checked_config
from sweeps.driver.standings import Standings
from sweeps.ledger import sweep_events, trial_events
from sweeps.ledger.ledger import SET_ASIDE
from sweeps.ledger.search_name import search_name
from sweeps.ledger.trial_record import TrialRecord
from sweeps.ledger.trial_state import Phase
from sweeps.spec.pulls import as_trained, with_weights
from sweeps.spec.study import Study

_Propose = Callable[[Allows | None], dict[str, Scalar] | None]
"""Proposes a config that is allowed now."""
MOST_IN_VAIN = 200
"""After so many proposals in a row that make no valid config, the search of a study ends."""


class NewTrials:
    """Makes the trials of a sweep.

    Args:
        sweep: The sweep.
        pulls: Its pulls.
        standings: The places of its trials.
        sampler: Proposes configs.
        check_config: Raises an InputError for a config that the data, the teacher or the networks do not allow.
        limits: The limits of students.
    """

    def __init__(
        self,
        sweep: OpenSweep,
        pulls: MeasuredPulls,
        standings: Standings,
        sampler: ConfigSampler,
        check_config: CheckConfig,
        limits: Limits,
    ) -> None:
        self.sampler, self._limits = sampler, limits
        self._sweep, self._pulls, self._standings, self._check_config = sweep, pulls, standings, check_config
        self._proposals = AllProposals(sweep.state, pulls.space_of)
        sweep.follow(self._proposals.update)
        self._students: dict[str, StudentOf] = {}
        self._is_repaired = bool(sweep.store.names(SET_ASIDE))

    def next_searched(self) -> TrialRecord | None:
        """The trial of the search that trains next: a stopped one that goes on, or a new config."""
        sweep = self._sweep.spec, self._sweep.state
        while (search := next_search(*sweep, self._standings)) is not None:
            if (promotion := next_promotion(*sweep, *search, self._standings)) is not None:
                trial = self._sweep.state.trial(search[0].name, promotion.number)
                self._sweep.append(outcomes.of_promotion(trial, promotion))
                return trial
            if (new := self._searched(*search)) is not None:
                return new
        return None

    def again(self, rerun: Rerun) -> TrialRecord:
        """A trial with a config that was trained before."""
        study, candidate = rerun.study, rerun.candidate
        params = candidate.params if candidate else {}
        ratio = (
            self._pulls.ratio if candidate is None else as_trained(TrainConfig.model_validate(candidate.config).terms)
        )
        config = self._sweep.spec.config_for(study, params, rerun.seed, self._sweep.teacher, ratio)
        return self._new(study, params, config, rerun.search, rerun.phase, candidate)

    def _searched(self, study: Study, search: int) -> TrialRecord | None:
        """A new config of a search; None if what it proposes makes no valid config, or it proposes nothing more."""
        spec, append = self._sweep.spec, self._sweep.append
        if self._ends_in_vain(study, search):
            return None
        proposals = self._proposals.of_search(study.name, search)
        try:
            params = self._proposed(study, search, proposals)
        except OutsideError as error:
            append(trial_events.Infeasible(study.name, {}, str(error), search))
            return None
        if params is None:
            append(sweep_events.Exhausted(study.name, exhausted(proposals, self.sampler), search))
            return None
        seed, teacher = spec.search_seed(search), self._sweep.teacher
        try:
            config = checked_config(lambda: spec.config_for(study, params, seed, teacher), self._check_config)
        except RefusedError as error:
            append(trial_events.Infeasible(study.name, params, str(error), search))
            return None
        if (above := self._limits.excess(config.student)) is not None:
            append(trial_events.Infeasible(study.name, params, above, search))
            return None
        return self._new(study, params, with_weights(study.name, config, self._pulls.ratio), search)

    def _ends_in_vain(self, study: Study, search: int) -> bool:
        """Whether a search ends because nothing that it proposes makes a valid config."""
        name, state = search_name(study.name, search), self._sweep.state
        if state.searches.in_vain.get(name, 0) < MOST_IN_VAIN:
            return False
        last = next(each for each in reversed(state.searches.invalid[study.name]) if each.search == search).reason
        reason = f"none of {MOST_IN_VAIN} proposals in a row makes a valid config; the last: {last}"
        self._sweep.notice(f"the search of {name} ends: {reason}; correct its space and run the same command again")
        self._sweep.append(sweep_events.Exhausted(study.name, reason, search))
        return True

    def _proposed(self, study: Study, search: int, proposals: Proposals) -> dict[str, Scalar] | None:
        """What a search tries next; the published parameters come first.

        In a sweep with several limits of cost the next config has a student at the limit whose turn it is, or any where
        none is left there. What is measured here is recorded, and then the search proposes anew, so that the proposal
        follows from the ledger alone.
        """
        spec = self._sweep.spec
        begun = spent_trials(self._sweep.state, study, search)
        default = None if begun else spec.defaults(study, self._pulls.ratio)
        name, length = search_name(study.name, search), most_trials(spec, study)

        def ask(allows: Allows | None) -> dict[str, Scalar] | None:
            space, of_search = proposals.space, (default, name, length)
            return propose(study.name, space, self.sampler, spec.seed, proposals, *of_search, allows)

        student_of = self._students.setdefault(study.name, StudentOf(spec, study))
        step = turn(self._limits.steps(student_of.few), begun) if steps_of(spec) > 1 else None
        at_limit = None if step is None else self._at_limit(step, student_of, ask)
        return ask(None) if at_limit is None else at_limit

    def _at_limit(self, step: int, student_of: StudentOf, ask: _Propose) -> dict[str, Scalar] | None:
        """What a search tries next at one of several limits; none if nothing is left there."""

        def allows(params: Mapping[str, Scalar]) -> bool:
            student = student_of(params)
            return student is None or self._limits.may_be_at(student, step)

        while (params := ask(allows)) is not None:
            student = student_of(params)
            if student is None or not self._limits.may_measure(student):
                return params
            self._limits.cost(student)
            if allows(params):
                return params
        return None

    def _new(
        self,
        study: Study,
        params: Mapping[str, Scalar],
        config: TrainConfig,
        search: int,
        phase: Phase = Phase.SEARCH,
        candidate: TrialRecord | None = None,
    ) -> TrialRecord:
        number = len(self._sweep.state.by_study.get(study.name, ()))
        proposed = trial_events.Proposed(
            id=f"{study.name}-{number}",
            study=study.name,
            number=number,
            phase=phase,
            candidate_of=candidate.id if candidate else None,
            seed=config.seed,
            params=dict(params),
            config=config.model_dump(mode="json"),
            config_id=config.config_id,
            search=search,
        )
        self._sweep.append(proposed)
        trial = self._sweep.state.trials[proposed.id]
        if self._is_repaired:
            set_aside.set_other_training_aside(self._sweep.store, trial)
        return trial
