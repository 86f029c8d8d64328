"""Which study is next: first the one that has spent least, then every study's best configs on fresh seeds."""

from collections.abc import Iterator
from dataclasses import dataclass

from sweeps.spec import Study, SweepSpec
from sweeps.state import UNFINISHED, SweepState, TrialRecord


@dataclass(frozen=True)
class Confirmation:
    """One run of the confirm phase: a searched trial's config, or that of a study that searched nothing."""

    study: Study
    seed: int
    candidate: TrialRecord | None = None


def confirms(spec: SweepSpec) -> bool:
    """Whether there is a confirm phase at all."""
    return spec.confirm.top > 0 and spec.confirm.seeds > 0


def searches(spec: SweepSpec, study: Study) -> bool:
    """Whether a study has a search phase; one with a single config goes straight to the confirm phase."""
    return bool(spec.space_of(study)) or not confirms(spec)


def spent_trials(state: SweepState, study: Study) -> int:
    """Configs that a study has proposed."""
    return len(state.of_study(study.name, "search"))


def spent_epochs(state: SweepState, study: Study) -> int:
    """Epochs of a study's search: of ended trials those that were run, of others those that are planned."""
    return sum(trial.committed for trial in state.of_study(study.name, "search"))


def next_study(spec: SweepSpec, state: SweepState) -> Study | None:
    """The study that proposes next: of those with budget left the one that has spent least.

    Ties go to the one that has tried less, lest a study whose trials all fail at once keeps the others waiting; then by
    order.
    """
    open_studies = [study for study in spec.studies if _proposes(spec, state, study)]
    spent = {study.name: (spent_epochs(state, study), spent_trials(state, study)) for study in open_studies}
    return min(open_studies, key=lambda study: spent[study.name], default=None)


def search_over(spec: SweepSpec, state: SweepState, study: Study) -> bool:
    """Whether nothing more can come from a study's search."""
    running = any(trial.state in UNFINISHED for trial in state.of_study(study.name, "search"))
    return not running and not _proposes(spec, state, study)


def candidates(spec: SweepSpec, state: SweepState, study: Study) -> list[TrialRecord]:
    """The best configs of a study's search, each once, best first; of equals the earlier."""
    scored = [(trial, trial.score) for trial in state.of_study(study.name, "search")]
    ranked = sorted((pair for pair in scored if pair[1] is not None), key=lambda pair: -float(pair[1] or 0.0))
    distinct: dict[str, TrialRecord] = {}
    for trial, _ in ranked:
        distinct.setdefault(trial.config_id, trial)
    return list(distinct.values())[: spec.confirm.top]


def next_confirmation(spec: SweepSpec, state: SweepState) -> Confirmation | None:
    """The next run of the confirm phase of those studies whose search is over, seed by seed."""
    done = {(t.study, t.candidate_of, t.seed) for t in state.trials.values() if t.phase == "confirm"}
    for wanted in _confirmations(spec, state):
        if (wanted.study.name, wanted.candidate.id if wanted.candidate else None, wanted.seed) not in done:
            return wanted
    return None


def _proposes(spec: SweepSpec, state: SweepState, study: Study) -> bool:
    if not searches(spec, study) or study.name in state.exhausted:
        return False
    budget, begun = spec.budget, spent_trials(state, study)
    within_trials = budget.trials is None or begun < budget.trials
    if not within_trials or budget.epochs is None or begun == 0:
        return within_trials
    # One more only if it brings the epochs closer to the budget: studies differ by half a trial at the most.
    return spent_epochs(state, study) + spec.epochs[study.name] / 2 <= budget.epochs


def _confirmations(spec: SweepSpec, state: SweepState) -> Iterator[Confirmation]:
    if not confirms(spec):
        return
    ready: list[tuple[Study, list[TrialRecord | None]]] = []
    for study in spec.studies:
        if not searches(spec, study):
            ready.append((study, [None]))
        elif search_over(spec, state, study):
            ready.append((study, [*candidates(spec, state, study)]))
    for seed in spec.confirm_seeds:
        for study, configs in ready:
            for candidate in configs:
                yield Confirmation(study, seed, candidate)
