"""What a study will do: its trials and epochs at most, its early stopping and its trainings on fresh seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.selection.halving import all_seeds, trainings
from kdtrain.methods import Term, get_method
from sweeps.driver.allocation import most_trials
from sweeps.driver.idle_settings import most_begun, most_epochs, most_stopped, rungs
from sweeps.driver.limits import steps_of
from sweeps.driver.sampler import uses_priors
from sweeps.driver.scheduler import make_scheduler
from sweeps.spec.paths import in_words
from sweeps.spec.settings import Confirm
from sweeps.spec.spec import SweepSpec
from sweeps.spec.study import Study


@dataclass(frozen=True)
class StudyPlan:
    """One study: what it is, and how many trials and epochs it takes at most."""

    name: str
    title: str
    terms: tuple[str, ...]
    fixed: dict[str, str]
    space: dict[str, str]
    epochs: int
    trials: int
    unstopped: int
    """Trials if none is stopped early; with a budget of epochs, others can follow a stopped one."""
    search_epochs: int
    confirm_runs: int
    confirm_text: str
    is_baseline: bool
    searches: int = 1
    """Independent searches, which share the trials evenly."""
    rungs: tuple[int, ...] = ()
    """Epochs at which a trial may be stopped early."""
    early_stopping: str = ""
    """The same in words."""
    audits: int = 0
    """Stopped trials that are trained to their end, about as many at most."""
    audit_epochs: int = 0
    """Epochs that they take beside the budget."""
    looks: tuple[int, ...] = ()
    """Seeds at which the confirm phase may end, because the comparison is decided."""
    runs_after_first_look: int = 0
    """Runs of the confirm phase that such an end saves at most."""

    @property
    def search_text(self) -> str:
        """The trials of its searches, in words."""
        trials, unstopped = self.trials // self.searches, self.unstopped // self.searches
        each = f"{unstopped} trial{'s' * (unstopped > 1)} x {self.epochs} epochs"
        if trials > unstopped:
            each = f"{each} if none is stopped early, at most {trials} trials"
        return each if self.searches == 1 else f"{self.searches} independent searches x {each}"

    @property
    def settings(self) -> tuple[str, ...]:
        """What it sets and what it searches, in words."""
        fixed = (f"set {path} = {value}" for path, value in self.fixed.items())
        return (*fixed, *(f"search {path} in {domain}" for path, domain in self.space.items()))

    @property
    def phases(self) -> tuple[str, ...]:
        """What its search and its trainings on fresh seeds may take, in words."""
        lines = []
        if self.trials:
            stops = f"; early stopping: {self.early_stopping}" if self.rungs else ""
            lines.append(f"search: {self.search_text}, at most {self.search_epochs} epochs{stops}")
        if self.audits:
            lines.append(
                f"audit: about {self.audits} stopped trials at most are trained to the end after the search, "
                f"{self.audit_epochs} epochs beside the budget"
            )
        if self.confirm_runs:
            text = f"confirm: {self.confirm_runs} runs x {self.epochs} epochs on {self.confirm_text}"
            if self.looks:
                text += (
                    f"; at least {self.confirm_runs - self.runs_after_first_look} of them: looks at "
                    f"{', '.join(map(str, self.looks))} seeds, until the comparison is decided or more seeds would "
                    "hardly decide it"
                )
            lines.append(text)
        return tuple(lines)


def study_lines(studies: Sequence[StudyPlan]) -> list[str]:
    """What every study is and does; what is the same for all of several stands once, at the end."""
    settings = _shared([study.settings for study in studies])
    phases = _shared([study.phases for study in studies])
    lines = []
    for study in studies:
        baseline = " (baseline)" if study.is_baseline else ""
        lines.append(f"{study.name}{baseline}: {study.title}: {', '.join(study.terms)}")
        lines += [f"  {line}" for line in _in_lines(study.settings, study.phases, but=(*settings, *phases))]
    if common := _in_lines(settings, phases):
        lines += [f"every study: {common[0]}", *(f"  {line}" for line in common[1:])]
    return lines


def _shared(parts: Sequence[Sequence[str]]) -> list[str]:
    """What all of several studies have; nothing of a single one."""
    return [text for text in parts[0] if len(parts) > 1 and all(text in part for part in parts)]


def _in_lines(settings: Sequence[str], phases: Sequence[str], but: Sequence[str] = ()) -> list[str]:
    """The settings in one line, then a line for each phase, without what stands elsewhere."""
    kept = "; ".join(text for text in settings if text not in but)
    return [*([kept] if kept else []), *(text for text in phases if text not in but)]


def searched_in_words(spec: SweepSpec, study: Study) -> dict[str, str]:
    """What a study searches, with the priors where the sampler looks at them."""
    if not uses_priors(spec.sampler.name):
        return {path: in_words(domain) for path, domain in spec.space_of(study).items()}
    later = dict.fromkeys(spec.pulls_of_weights(study), "of the published weight, once pulls are measured")
    return {
        path: in_words(domain) + ("" if domain.has_prior else f", prior {later.get(path, 'none')}")
        for path, domain in spec.space_with_priors(study).items()
    }


def study_plan(spec: SweepSpec, study: Study) -> StudyPlan:
    """The plan of a study."""
    config = spec.config_for(study)
    method = get_method(study.method) if study.method else None
    space = spec.space_of(study)
    searches, unstopped, trials = spec.repeats_of(study), most_trials(spec, study), most_begun(spec, study)
    search_epochs = most_epochs(spec, study)
    rounds, stops = spec.confirm.rounds, rungs(spec, study)
    scheduler, every = make_scheduler(spec.scheduler), config.evaluate_every
    steps = steps_of(spec)
    audits = math.ceil(spec.scheduler.audit * searches * most_stopped(spec, study))
    return StudyPlan(
        name=study.name,
        title=method.title if method and not study.terms else "terms given in the spec",
        terms=tuple(_term_text(term) for term in config.active_terms),
        fixed={path: str(value) for path, value in study.set.items()},
        space=searched_in_words(spec, study),
        epochs=config.epochs,
        trials=searches * trials,
        unstopped=searches * unstopped,
        search_epochs=searches * search_epochs,
        confirm_runs=searches * steps * trainings(rounds, trials) if space else all_seeds(rounds),
        confirm_text=_fresh_seeds(spec.confirm, trials, searches, steps) if space else "fresh seeds",
        is_baseline=study == spec.baseline,
        searches=searches,
        rungs=tuple(stops),
        early_stopping=scheduler.words(stops, config.epochs, every) if stops else "",
        audits=audits,
        audit_epochs=audits * (config.epochs - stops[0]) if stops else 0,
        looks=spec.confirm.looks,
        runs_after_first_look=(searches * steps if space else 1) * rounds[-1].seeds if spec.confirm.looks else 0,
    )


def _term_text(term: Term) -> str:
    return f"{term.name} x {term.weight:g}" if term.pull is None else f"{term.name} at a pull of {term.pull:g}"


def _fresh_seeds(confirm: Confirm, configs: int, searches: int, steps: int) -> str:
    rounds = [f"{min(each.alive, configs)} configs x {each.seeds}" for each in confirm.rounds]
    text = f"fresh seeds, in {len(rounds)} rounds: {', '.join(rounds)}" if len(rounds) > 1 else "fresh seeds"
    if steps > 1:
        text = f"{text}, for each of {steps} limits; fewer where one config is among the best of several"
    if searches == 1:
        return text
    return f"{text}, {steps * trainings(confirm.rounds, configs)} for each of {searches} searches"
