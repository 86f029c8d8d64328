"""Which search is next: first the one that has spent least, then every search's best configs race on fresh seeds.

A study has one search, or with `repeats` several, which share its budget evenly and know nothing of each other. Once a
selection is frozen, its config and the baseline's are trained on further seeds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

from analysis.selection.halving import survivors
from sweeps.driver.fresh_scores import counted_score, unstable
from sweeps.driver.limits import step_of, steps_of
from sweeps.driver.looking import seeds_now
from sweeps.driver.scheduler import make_scheduler
from sweeps.driver.standings import Standings
from sweeps.driver.verdict import Promotion
from sweeps.ledger.search_name import search_name
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_record import TrialRecord
from sweeps.ledger.trial_state import Phase
from sweeps.spec.spec import SweepSpec
from sweeps.spec.study import Study

GOOD_SPLIT = "recommended: about two thirds for the search"
"""How the epochs are best divided between the search and fresh seeds."""


def is_good_split(search: float) -> bool:
    """Whether the share of the search in the epochs is about the recommended one."""
    return 0.6 <= search <= 0.75


@dataclass(frozen=True)
class Rerun:
    """A training of a config on a fresh seed: a searched trial's config, or that of a study that searched nothing."""

    phase: Phase
    study: Study
    seed: int
    candidate: TrialRecord | None = None

    @property
    def search(self) -> int:
        """The search whose trial it is."""
        return self.candidate.search if self.candidate else 1


def confirms(spec: SweepSpec) -> bool:
    """Whether there is a confirm phase at all."""
    return bool(spec.confirm.rounds)


def searches(spec: SweepSpec, study: Study) -> bool:
    """Whether a study has a search phase; one with a single config goes straight to the confirm phase."""
    return bool(spec.space_of(study)) or not confirms(spec)


def most_trials(spec: SweepSpec, study: Study) -> int:
    """Trials of each search of a study if none is stopped early; more are possible where epochs alone are limited."""
    if not searches(spec, study):
        return 0
    if not spec.space_of(study):
        return 1
    budget = spec.search_budget
    by_epochs = None if budget.epochs is None else max(1, int(budget.epochs / spec.epochs[study.name] + 0.5))
    return min(limit for limit in (budget.trials, by_epochs) if limit is not None)


def spent_trials(state: SweepState, study: Study, search: int) -> int:
    """Configs that a search has proposed."""
    return len(state.tally.of_search(study.name, search).trials)


def spent_epochs(state: SweepState, study: Study, search: int) -> int:
    """Epochs of a search: of ended trials those that were run, of others those that are planned."""
    return state.tally.of_search(study.name, search).epochs


def all_searches(spec: SweepSpec) -> list[tuple[Study, int]]:
    """Every study with the number of each of its searches: first the first searches of all studies, and so on."""
    return [
        (study, search)
        for search in range(1, spec.repeats + 1)
        for study in spec.studies
        if search <= spec.repeats_of(study)
    ]


def next_search(spec: SweepSpec, state: SweepState, standings: Standings | None = None) -> tuple[Study, int] | None:
    """The search that trains next: of those with budget left the one that has spent least.

    It continues a stopped trial that is now among the best of its rung, or else proposes a new one.

    Ties go to the one that has tried less, so that a study whose trials all fail at once does not keep the others
    waiting; then by order.
    """
    going_on = (each for each in all_searches(spec) if _goes_on(spec, state, *each, standings))
    return min(going_on, key=lambda each: (spent_epochs(state, *each), spent_trials(state, *each)), default=None)


def next_promotion(
    spec: SweepSpec, state: SweepState, study: Study, search: int = 1, standings: Standings | None = None
) -> Promotion | None:
    """The stopped trial of a search that goes on next; none if no such trial is among the best, or the budget is spent.

    Args:
        spec: The sweep's spec.
        state: The sweep so far.
        study: The study of the search.
        search: Its number.
        standings: The places of all trials; made from the state where they were not kept.
    """
    if standings is None:
        standings = Standings(make_scheduler(spec.scheduler), state, partial(step_of, spec))
    promotion, budget = standings.promotion(study.name, search), spec.search_budget
    if promotion is None or budget.epochs is None:
        return promotion
    trial = state.trial(study.name, promotion.number)
    left = trial.epochs - trial.epochs_run
    return promotion if spent_epochs(state, study, search) + left / 2 <= budget.epochs else None


def search_over(
    spec: SweepSpec, state: SweepState, study: Study, search: int = 1, standings: Standings | None = None
) -> bool:
    """Whether nothing more can come from a search."""
    running = state.tally.of_search(study.name, search).unfinished
    return not running and not _goes_on(spec, state, study, search, standings)


def candidates(
    spec: SweepSpec, state: SweepState, study: Study, search: int = 1, step: int | None = None
) -> list[TrialRecord]:
    """The best configs of a search, each once, best first; of equals the earlier.

    Args:
        spec: The sweep's spec.
        state: The sweep so far.
        study: The study of the search.
        search: Its number.
        step: The place among several limits of cost of the one that they are within; none for the largest.
    """
    step = steps_of(spec) - 1 if step is None else step
    tally, seen, distinct = state.tally.of_search(study.name, search), 0, dict[str, TrialRecord]()
    while len(distinct) < spec.confirm.top and (best := tally.best(spec.confirm.top, skip=seen)):
        seen += len(best)
        for trial in best:
            if step_of(spec, trial) <= step:
                distinct.setdefault(trial.config_id, trial)
    return list(distinct.values())[: spec.confirm.top]


def race(
    spec: SweepSpec,
    state: SweepState,
    study: Study,
    search: int = 1,
    standings: Standings | None = None,
    step: int | None = None,
) -> list[list[TrialRecord | None]]:
    """The configs in every round of a search's confirm phase that has begun; none before the search is over.

    A round ends when all its trainings have ended, and its better half continues. `None` stands for the config of a
    study that searches nothing, which is trained on the seeds of every round. With several limits of cost each has a
    race of its own; a config in the races of two of them is trained once on each seed.

    Args:
        spec: The sweep's spec.
        state: The sweep so far.
        study: The study of the search.
        search: Its number.
        standings: As of `next_promotion`.
        step: As of `candidates`.
    """
    if not confirms(spec):
        return []
    if not searches(spec, study):
        return [[None] for _ in spec.confirm.rounds]
    if not search_over(spec, state, study, search, standings):
        return []
    if not (first := candidates(spec, state, study, search, step)):
        return []
    runs = {(trial.candidate_of, trial.seed): trial for trial in state.of_study(study.name, Phase.CONFIRM, search)}
    in_round = [first]
    rounds = spec.confirm.rounds
    for following, so_far in zip(rounds[1:], accumulate(each.seeds for each in rounds), strict=False):
        seeds = spec.confirm_seeds[:so_far]
        alive = {trial.id: trial.score for trial in in_round[-1]}
        ran = {name: [run for seed in seeds if (run := runs.get((name, seed))) is not None] for name in alive}
        if any(len(reruns) < so_far or any(run.state.is_unfinished for run in reruns) for reruns in ran.values()):
            break
        scores = {name: [counted_score(spec, state, run) for run in reruns] for name, reruns in ran.items()}
        kept = survivors(scores, following.alive, unstable(ran, alive))
        in_round.append([trial for trial in in_round[-1] if trial.id in kept])
    return [list[TrialRecord | None](alive) for alive in in_round]


def next_confirmation(spec: SweepSpec, state: SweepState, standings: Standings | None = None) -> Rerun | None:
    """The next training of the rounds that have begun, seed by seed over all studies and their searches."""
    return _first_new(_confirmations(spec, state, standings), state, Phase.CONFIRM)


def next_final(spec: SweepSpec, state: SweepState) -> Rerun | None:
    """The next training of the frozen config or of the baseline's, on a further seed."""
    return _first_new(final_runs(spec, state), state, Phase.FINAL)


def count_final_runs(spec: SweepSpec) -> int:
    """Trainings on reporting seeds that a frozen selection leads to at most."""
    return spec.confirm.final_seeds * (1 if spec.baseline is None else min(2, len(spec.studies)))


def final_runs(spec: SweepSpec, state: SweepState) -> Iterator[Rerun]:
    """All trainings of the frozen config and of the baseline's, which may be the same, on further seeds."""
    if state.frozen is None:
        return
    frozen = (state.frozen.chosen, state.frozen.baseline)
    configs = dict.fromkeys((config.study, config.trial) for config in frozen if config is not None)
    for seed in state.frozen.seeds:
        for study, trial in configs:
            yield Rerun(Phase.FINAL, spec.study(study), seed, state.trials[trial] if trial else None)


def _first_new(reruns: Iterator[Rerun], state: SweepState, phase: Phase) -> Rerun | None:
    """The first that was not begun; one whose config is being trained on its seed waits, to take over the outcome."""
    trials = state.of_phase(phase)
    done = {(trial.study, trial.candidate_of, trial.seed) for trial in trials}
    now = {(trial.config_id, trial.seed) for trial in trials if trial.state.is_unfinished}
    for run in reruns:
        candidate = run.candidate.id if run.candidate else None
        waits = run.candidate is not None and (run.candidate.config_id, run.seed) in now
        if not waits and (run.study.name, candidate, run.seed) not in done:
            return run
    return None


def _goes_on(spec: SweepSpec, state: SweepState, study: Study, search: int, standings: Standings | None) -> bool:
    if _proposes(spec, state, study, search):
        return True
    return next_promotion(spec, state, study, search, standings) is not None


def _proposes(spec: SweepSpec, state: SweepState, study: Study, search: int) -> bool:
    if not searches(spec, study) or search_name(study.name, search) in state.searches.exhausted:
        return False
    budget, begun = spec.search_budget, spent_trials(state, study, search)
    within_trials = budget.trials is None or begun < budget.trials
    if not within_trials or budget.epochs is None or begun == 0:
        return within_trials
    # One more only if it brings the epochs closer to the budget: searches differ by half a trial at the most.
    return spent_epochs(state, study, search) + spec.epochs[study.name] / 2 <= budget.epochs


def _confirmations(spec: SweepSpec, state: SweepState, standings: Standings | None) -> Iterator[Rerun]:
    races = [
        (study, race(spec, state, study, search, standings, step))
        for study, search in all_searches(spec)
        for step in range(steps_of(spec) if spec.space_of(study) else 1)
    ]
    round_of_seed = [number for number, each in enumerate(spec.confirm.rounds) for _ in range(each.seeds)]
    until = seeds_now(spec, state)
    for seed, number in list(zip(spec.confirm_seeds, round_of_seed, strict=True))[:until]:
        for study, in_round in races:
            for candidate in in_round[number] if number < len(in_round) else []:
                yield Rerun(Phase.CONFIRM, study, seed, candidate)
