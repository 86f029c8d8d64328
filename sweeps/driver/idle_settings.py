"""Settings of a spec that change nothing, each in a sentence: a reader of a plan would believe that they do."""

import contextlib
import math
from collections.abc import Iterator, Mapping

from kdtrain.config import TrainConfig
from kdtrain.errors import InputError
from kdtrain.space import Choice, Domain
from sweeps.driver.allocation import confirms, most_trials, searches
from sweeps.driver.limits import steps_of
from sweeps.driver.sampler import OURS, has_startup, make_sampler, propose, uses_priors
from sweeps.driver.scheduler import make_scheduler
from sweeps.ledger.search_name import search_name
from sweeps.spec.paths import STUDENT, size
from sweeps.spec.pulls import PULL, WEIGHT
from sweeps.spec.schedulers import NoScheduler
from sweeps.spec.settings import Sampler
from sweeps.spec.spec import SweepSpec
from sweeps.spec.study import Study

_NEEDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "optimizer.momentum": ("optimizer.name", ("sgd",)),
    "schedule.power": ("schedule.name", ("poly",)),
}
"""Fields that only some values of another field look at."""
_MANY = 1000
"""Two searches do not draw the same of so many configs by chance."""


def idle_settings(spec: SweepSpec) -> Iterator[str]:
    """A sentence for every setting that has no effect."""
    yield from _sampler(spec)
    if spec.repeats > 1 and not any(spec.space_of(study) for study in spec.studies):
        yield "repeats: no study searches anything, so each is trained once on every fresh seed"
    if spec.repeats > 1 and _ignores_seeds(spec):
        yield (
            f"sampler.name: {spec.sampler.name} proposes the same first config whatever its seed, so the "
            f"{spec.repeats} searches of a study may all try the same configs"
        )
    if spec.teacher is not None and not any(spec.config_for(study).uses_teacher for study in spec.studies):
        yield "teacher: no study has a term that looks at it"
    for path, domain in spec.space.items():
        if isinstance(domain, Choice) and len(domain.choices) == 1:
            yield f"space.{path}: holds a single value, so nothing is searched"
    sentences: dict[str, list[str]] = {}
    for study in spec.studies:
        for sentence in (*_budget(spec, study), *_scheduler(spec, study), *_recipe(spec, study)):
            sentences.setdefault(sentence, []).append(study.name)
    for sentence, studies in sentences.items():
        everywhere = len(studies) == len(spec.studies)
        yield sentence if everywhere else f"{', '.join(studies)}: {sentence}"


def _ignores_seeds(spec: SweepSpec) -> bool:
    """Whether the sampler proposes the same for two searches, in the first space that is too large for chance."""
    spaces = ((study.name, spec.space_of(study)) for study in spec.studies)
    study, space = next((pair for pair in spaces if size(pair[1]) > _MANY), (None, {}))
    if study is None:
        return False
    sampler = make_sampler(spec.sampler)
    with contextlib.suppress(InputError):  # an error of the sampler is told where it is run
        first, second = (propose(study, space, sampler, spec.seed, [], None, search_name(study, n)) for n in (1, 2))
        return first is not None and first == second
    return False


def _a_search(spec: SweepSpec) -> str:
    return "a study" if spec.repeats == 1 else f"each of the {spec.repeats} searches of a study"


def _of_search(spec: SweepSpec) -> str:
    return "" if spec.repeats == 1 else " for each search"


def rungs(spec: SweepSpec, study: Study) -> list[int]:
    """The epochs at which a trial of a study may be stopped; none if no trial ever is."""
    scheduler, config = make_scheduler(spec.scheduler), spec.config_for(study)
    if _compared(spec, study) < scheduler.needs.trials:
        return []
    every, last = config.evaluate_every, _last_evaluation(config)
    return [rung for rung in scheduler.rungs(config.epochs, every) if rung <= last]


def _compared(spec: SweepSpec, study: Study) -> int:
    """Trials of a search that a rung compares at most: of several limits of cost, those at one."""
    most = most_trials(spec, study)
    return math.ceil(most / steps_of(spec)) if _searches_students(spec, study) else most


def _searches_students(spec: SweepSpec, study: Study) -> bool:
    return any(path.startswith(STUDENT) for path in spec.space_of(study))


def _last_evaluation(config: TrainConfig) -> int:
    """The epoch of the last evaluation before the end, after which nothing could be saved."""
    return (config.epochs - 1) // config.evaluate_every * config.evaluate_every


def most_begun(spec: SweepSpec, study: Study) -> int:
    """Trials of each search of a study at most, if none fails: with a budget of epochs, if the first rung stops all."""
    stops, budget, most = rungs(spec, study), spec.search_budget, most_trials(spec, study)
    if not stops or budget.epochs is None:
        return most
    by_epochs = max(most, math.floor((budget.epochs - spec.epochs[study.name] / 2) / min(stops)) + 1)
    return by_epochs if budget.trials is None else min(by_epochs, budget.trials)


def most_epochs(spec: SweepSpec, study: Study) -> int:
    """Epochs of each search of a study at most."""
    epochs, budget = spec.epochs[study.name], spec.search_budget
    if budget.epochs is None or not rungs(spec, study):
        return most_trials(spec, study) * epochs
    return min(most_begun(spec, study) * epochs, math.floor(budget.epochs + epochs / 2))


def most_stopped(spec: SweepSpec, study: Study) -> int:
    """Trials of each search of a study that are stopped early, at most."""
    return most_begun(spec, study) if rungs(spec, study) else 0


def _sampler(spec: SweepSpec) -> Iterator[str]:
    startup, name = spec.sampler.startup, spec.sampler.name
    if not has_startup(name) and startup != Sampler().startup:
        looking = [each for each in OURS if has_startup(each)]
        yield f"sampler.startup: only {', '.join(looking)} look at it, and the sampler is {name}"
    with contextlib.suppress(InputError):  # an error of the sampler is told where it is run
        idle = getattr(make_sampler(spec.sampler), "idle", lambda spaces: ())
        yield from (f"sampler.{each}" for each in idle([spec.space_of(study) for study in spec.studies]))
    if name in OURS and not uses_priors(name):
        if spec.warm_start is not None:
            yield f"warm_start: only the sampler {_with_priors()} looks at it, and the sampler is {name}"
        for path, domain in _domains(spec):
            for field in sorted({"prior", "confidence"} & domain.model_fields_set):
                yield f"{path}.{field}: only the sampler {_with_priors()} looks at it, and the sampler is {name}"
    most = max((most_begun(spec, study) for study in spec.studies if spec.space_of(study)), default=0)
    if has_startup(name) and 0 < most <= startup:
        yield (
            f"sampler.startup: {name} learns from trials once there are {startup}, and {_a_search(spec)} has at most "
            f"{most}, so it never does"
        )
    if isinstance(spec.scheduler, NoScheduler):
        for field in ("grace", "factor"):
            if getattr(spec.scheduler, field) != getattr(NoScheduler(), field):
                yield f"scheduler.{field}: has no effect, because scheduler.name is none"


def _with_priors() -> str:
    return ", ".join(each for each in OURS if uses_priors(each))


def _domains(spec: SweepSpec) -> Iterator[tuple[str, Domain]]:
    """What a spec says to search, by the place where it says so."""
    yield from ((f"space.{path}", domain) for path, domain in spec.space.items())
    for study in spec.studies:
        own = {} if study.space == "default" else study.space
        yield from ((f"studies.{study.name}.space.{path}", domain) for path, domain in own.items())


def _budget(spec: SweepSpec, study: Study) -> Iterator[str]:
    budget, space, epochs = spec.search_budget, spec.space_of(study), spec.epochs[study.name]
    if not space or not searches(spec, study):
        return
    most = most_trials(spec, study)
    if spec.budget.trials is not None and (rest := spec.budget.trials % spec.repeats):
        yield (
            f"budget.trials: {spec.budget.trials} cannot be shared evenly by {spec.repeats} searches: each has "
            f"{budget.trials}, and {rest} of the trials are never used"
        )
    if most == 1 and spec.repeats > 1 and spec.defaults(study) is not None:
        yield (
            f"repeats: each of the {spec.repeats} searches has one trial, of the published values, so all of them find "
            "the same config"
        )
    if budget.trials is not None and budget.epochs is not None:
        by_trials = budget.trials * epochs
        if by_trials <= budget.epochs:
            yield (
                f"budget.epochs: {budget.epochs}{_of_search(spec)} is never reached, because budget.trials ends the "
                f"search after {budget.trials} trials, which are {by_trials} epochs at most"
            )
        elif rungs(spec, study):
            yield (
                f"budget.trials: {budget.trials}{_of_search(spec)} is reached only if early stopping saves epochs; "
                f"without it budget.epochs ends the search after {most} trials"
            )
        else:
            yield (
                f"budget.trials: {budget.trials}{_of_search(spec)} is never reached, because budget.epochs ends the "
                f"search after {most} trials"
            )
    if (count := size(space)) < most:
        yield f"budget: the space holds {count} configs, fewer than the {most} trials of the budget{_of_search(spec)}"
    if confirms(spec) and spec.confirm.top > (bound := min(most_begun(spec, study), count)):
        yield f"confirm.top: {spec.confirm.top} is more than the {bound} configs that {_a_search(spec)} tries"


def _scheduler(spec: SweepSpec, study: Study) -> Iterator[str]:
    scheduler, config = spec.scheduler, spec.config_for(study)
    if isinstance(scheduler, NoScheduler) or not spec.space_of(study) or rungs(spec, study):
        return
    needs = make_scheduler(scheduler).needs
    if (most := _compared(spec, study)) < needs.trials:
        of_limits = steps_of(spec) > 1 and _searches_students(spec, study)
        most_of, where = ("about", " at each limit of the target") if of_limits else ("at most", "")
        yield (
            f"scheduler.{needs.setting}: {needs.words}, and {_a_search(spec)} has {most_of} {most} trial"
            f"{'' if most == 1 else 's'}{where}, so none is stopped early"
        )
    else:
        every, last = config.evaluate_every, _last_evaluation(config)
        delays = make_scheduler(scheduler).delays(every)
        setting = next(setting for setting, epoch in delays.items() if epoch > last)
        evaluated = f", evaluated every {every}" if every > 1 else ""
        yield (
            f"scheduler.{setting}: {getattr(scheduler, setting)} leaves no evaluation before the last of the "
            f"{config.epochs} epochs{evaluated}, so no trial is stopped early"
        )


def _recipe(spec: SweepSpec, study: Study) -> Iterator[str]:
    config, space = spec.config_for(study), spec.space_of(study)
    if config.views is not None and config.views >= config.epochs and "views" not in space:
        yield f"train.views: {config.views} is not below the {config.epochs} epochs, so no view is repeated"
    if config.ema.half_life > (longest := config.ema.longest(config.epochs)) and "ema.half_life" not in space:
        yield (
            f"train.ema.half_life: {config.ema.half_life:g} gives the same as {longest:.2g}, the longest half-life "
            f"that the warm-up of the average allows in {config.epochs} epochs"
        )
    if config.schedule.warmup_epochs >= config.epochs:
        yield (
            f"train.schedule.warmup_epochs: {config.schedule.warmup_epochs:g} is not below the {config.epochs} epochs, "
            "so the learning rate never reaches optimizer.lr"
        )
    first_stage = config.used_stages.features * config.epochs
    if early := [rung for rung in rungs(spec, study) if rung <= first_stage]:
        yield (
            f"stages.features: trials are compared after epoch {early[0]}, but the first stage lasts {first_stage:g} "
            "epochs and does not train the task; let the scheduler compare them later, or shorten the stage"
        )
    weights = {term.name: term.weight for term in config.terms}
    for path in (*study.set, *space):
        if path.startswith("stages") and not any(term.compares_features for term in config.terms):
            yield f"{path}: has no effect, because no term compares inner layers of student and teacher"
        _, _, rest = path.partition("terms.")
        term, _, field = rest.partition(".")
        decided = {f"terms.{term}.{unit}" for unit in (WEIGHT, PULL)}
        if weights.get(term) == 0 and field not in (WEIGHT, PULL) and not decided & space.keys():
            yield f"{path}: has no effect, because the weight of {term} is 0"
    if spec.purpose == "search":
        for unused in study.terms or ():
            decided = {f"terms.{unused.name}.{unit}" for unit in (WEIGHT, PULL)}
            if 0 in (unused.weight, unused.pull) and not decided & {*study.set, *space}:
                yield f"terms.{unused.name}: is not computed, because its weight is 0"
    for path, (switch, values) in _NEEDS.items():
        given = path in study.set or path in space or _is_given(spec.train, path)
        if given and not _values(config, space, switch) & set(values):
            yield f"{path}: only {switch}: {values[0]} looks at it"


def _is_given(recipe: Mapping[str, object], path: str) -> bool:
    group, _, field = path.partition(".")
    part = recipe.get(group)
    return isinstance(part, Mapping) and field in part


def _values(config: TrainConfig, space: Mapping[str, object], path: str) -> set[object]:
    """The values that a field has in the trials of a study."""
    domain = space.get(path)
    group, _, field = path.partition(".")
    return set(domain.choices) if isinstance(domain, Choice) else {getattr(getattr(config, group), field)}
