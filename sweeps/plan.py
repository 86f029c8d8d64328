"""The plan of a sweep: its trials and their cost, and every mistake that can be found before a training starts."""

import itertools
import json
import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from analysis.selection.halving import all_seeds, trainings
from kdtrain.config import Machine, TrainConfig
from kdtrain.data import open_data
from kdtrain.data.carve import shared_groups
from kdtrain.data.census import Seen, check_presence, count_labels
from kdtrain.errors import InputError
from kdtrain.foreign import imported_references
from kdtrain.loop.device import find_device
from kdtrain.methods import Method, Term, get_method
from kdtrain.models import Network, build_network, normalization_remarks
from kdtrain.space import Choice, Range
from sweeps.attempt.replay_plan import ReplayPlan, plan_replay
from sweeps.attempt.teachers import card_of
from sweeps.designs.forecast import Forecast, forecast
from sweeps.driver import warm_start
from sweeps.driver.allocation import GOOD_SPLIT, confirms, count_final_runs, most_trials
from sweeps.driver.config_check import ConfigCheck
from sweeps.driver.idle_settings import idle_settings, most_stopped, rungs
from sweeps.driver.sampler import make_sampler, uses_priors
from sweeps.driver.scheduler import make_scheduler
from sweeps.driver.space_check import check_space
from sweeps.show.watchers import find_watchers
from sweeps.spec.calibrations import pulled
from sweeps.spec.paths import in_words
from sweeps.spec.pulls import PULL, WEIGHT
from sweeps.spec.settings import Confirm
from sweeps.spec.spec import SweepSpec
from sweeps.spec.study import Study
from sweeps.store.store import Store
from sweeps.trackers.find import find_trackers

_BACKWARD = 2
"""A backward pass costs about two forward passes."""


@dataclass(frozen=True)
class Checked:
    """What the check of a spec learned; `image_size` is (height, width) of the first image."""

    images: dict[str, int]
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    teacher: Network | None
    replay: ReplayPlan
    config: ConfigCheck
    """Checks any other config of the sweep."""
    one_sided: tuple[str, ...] = ()
    """Sentences about classes that some role does not have, and groups that two roles have."""


@dataclass(frozen=True)
class Cost:
    """Parameters and multiply-accumulates of one image; the latter is None if they cannot be counted."""

    params: int
    macs: int | None


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


@dataclass(frozen=True)
class Plan:
    """The whole sweep; epochs and trials are upper bounds, early stopping saves some of them."""

    name: str
    data: str
    teacher: str
    teacher_epochs: int
    studies: tuple[StudyPlan, ...]
    checked: Checked
    warnings: tuple[str, ...]
    disk_bytes: int
    macs: float | None
    """Multiply-accumulates of all training, forward and backward, the teacher's forward included."""
    final_runs: int
    """Trainings on final seeds after the selection is frozen; not among the trials."""
    ablation: Forecast | None = None
    """The effects that an ablation could find."""
    warm_start: tuple[str, ...] = ()
    """What is taken over from earlier sweeps."""
    normalizations: tuple[str, ...] = ()
    """A line for every network whose images are not normalized with ImageNet's statistics."""

    @property
    def trials(self) -> int:
        """Trials of search and confirm phase, and audits."""
        return sum(study.trials + study.confirm_runs + study.audits for study in self.studies)

    @property
    def epochs(self) -> int:
        """Epochs of search and confirm phase, and of audits."""
        return sum(
            study.search_epochs + study.confirm_runs * study.epochs + study.audit_epochs for study in self.studies
        )

    @property
    def least_trials(self) -> int:
        """Trials where no trial is stopped early, and the first look ends the confirm phase."""
        return self.trials - sum(study.runs_after_first_look + study.audits for study in self.studies)

    @property
    def search_share(self) -> float | None:
        """The share of the search in all epochs of the studies that search; none if no study searches."""
        searching = [study for study in self.studies if study.space]
        search = sum(study.search_epochs for study in searching)
        return search / (search + sum(study.confirm_runs * study.epochs for study in searching)) if search else None

    def _at_least(self) -> str:
        return f"at least {self.least_trials} and " if self.least_trials < self.trials else ""

    def __str__(self) -> str:
        return self.render()

    def render(self) -> str:
        """The plan as text."""
        lines = [f"sweep {self.name} on {self.data}", f"teacher: {self.teacher}", ""]
        for study in self.studies:
            mark = " (baseline)" if study.is_baseline else ""
            lines.append(f"{study.name}{mark}: {study.title}")
            lines.append(f"  terms: {', '.join(study.terms)}")
            lines += [f"  set {path} = {value}" for path, value in study.fixed.items()]
            lines += [f"  search {path} in {domain}" for path, domain in study.space.items()]
            if study.trials:
                lines.append(f"  search: {_of_searches(study)}, at most {study.search_epochs} epochs")
            if study.rungs:
                lines.append(f"  early stopping: {study.early_stopping}")
            if study.audits:
                lines.append(
                    f"  audit: about {study.audits} stopped trials at most are trained to the end after the search, "
                    f"{study.audit_epochs} epochs beside the budget"
                )
            if study.confirm_runs:
                lines.append(f"  confirm: {study.confirm_runs} runs x {study.epochs} epochs on {study.confirm_text}")
            if study.looks:
                looks = ", ".join(map(str, study.looks))
                lines.append(
                    f"    at least {study.confirm_runs - study.runs_after_first_look} of them: looks at {looks} seeds, "
                    "until the comparison is decided or more seeds would hardly decide it"
                )
        lines += ["", *self.warm_start] if self.warm_start else []
        lines += [
            "",
            f"{self._at_least()}at most {self.trials} trials and {self.epochs} epochs of "
            f"{self.checked.images['train']} images",
        ]
        if self.search_share is not None:
            lines.append(
                f"of the epochs of the studies that search, {self.search_share:.0%} are for the search and "
                f"{1 - self.search_share:.0%} for fresh seeds ({GOOD_SPLIT})"
            )
        if self.final_runs:
            lines.append(f"after the selection is frozen: {self.final_runs} runs on final seeds at most")
        if self.teacher_epochs:
            lines.append(f"before them {self.teacher_epochs} epochs of the teacher")
        if self.macs is not None:
            lines.append(f"compute: about {self.macs:.2g} multiply-accumulates in all trials")
        lines.append(f"disk: about {self.disk_bytes / 1e9:.2g} GB")
        lines += [*self.normalizations, *self.checked.replay.lines()]
        if notice := foreign_notice():
            lines.append(notice)
        if self.ablation is not None:
            lines += ["", *self.ablation.lines()]
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])


def plan(spec: SweepSpec, machine: Machine, seen: Seen = lambda role, done, total: None) -> Plan:
    """Make the plan of a sweep; `seen` is told how far the label maps are counted.

    Raises:
        InputError: As `check`.
    """
    checked = check(spec, machine, seen)
    studies = tuple(_study_plan(spec, study) for study in spec.studies)
    fit = spec.teacher_config
    images = ", ".join(f"{count} {role}" for role, count in checked.images.items())
    student = _cost(spec.student, checked)
    teacher = _cost(checked.teacher, checked) if checked.teacher else None
    normalizations, differing = _normalizations(spec, checked.teacher)
    return Plan(
        name=spec.name,
        data=f"{spec.data.name}, {images} images, {len(checked.classes)} classes",
        teacher=_teacher_text(spec),
        teacher_epochs=fit.epochs if fit else 0,
        studies=studies,
        checked=checked,
        warnings=(*differing, *checked.one_sided, *_warnings(spec, checked)),
        disk_bytes=_disk(spec, studies, student),
        macs=_macs(spec, studies, checked, student, teacher),
        final_runs=count_final_runs(spec),
        ablation=forecast(spec) if spec.cells else None,
        normalizations=normalizations,
        warm_start=tuple(warm_start.lines_about(spec)),
    )


def check(
    spec: SweepSpec,
    machine: Machine,
    seen: Seen = lambda role, done, total: None,
    reads_test: bool = False,
) -> Checked:
    """Check data, teacher, networks and layers, as far as that is possible without training.

    Args:
        spec: The sweep.
        machine: Where the data are, and the cache in which counts of classes are remembered.
        seen: Told how far the label maps are counted.
        reads_test: Whether the role test will be read, because a selection is frozen.

    Raises:
        InputError: If something does not fit: missing data, a class that the data do not have, a teacher with other
            classes, an unknown encoder or layer, layers that a loss cannot compare.
    """
    find_watchers(spec)
    find_trackers(spec)
    make_sampler(spec.sampler)
    source = open_data(spec.data, machine.data_root)
    roles = ("train", "select", "test") if reads_test and spec.data.has_test else ("train", "select")
    ids = {role: source.ids(role) for role in roles}
    image, _ = source.read("train", ids["train"][0])
    size = (image.shape[0], image.shape[1])
    teacher = _teacher_network(spec, source.classes)
    config_check = ConfigCheck(len(source.classes), len(ids["train"]), size, teacher, spec.resources.processes)
    if spec.teacher_config is not None:
        config_check.network(spec.teacher_config.student, spec.teacher_config.augment.crop)
    configs = []
    teacher_shapes: dict[str, tuple[int, ...]] = {}
    kernels: dict[str, dict[str, int]] = {}
    for study in spec.studies:
        for config in _layer_variants(spec, study):
            configs.append(config)
            try:
                used = config_check(config)
            except InputError as error:
                raise InputError(f"studies.{study.name}: {error}") from None
            teacher_shapes |= used.shapes
            for term, kernel in used.kernels.items():
                facts = json.dumps([kernel.layer, kernel.size, kernel.facts], sort_keys=True)
                kernels.setdefault(term, {})[facts] = 8 * math.prod(kernel.parts) * config.images_per_step
    ids |= {
        f"unlabelled:{further.images}": further.open(machine.data_root, spec.data).ids() for further in spec.unlabelled
    }
    images = {role: len(image_ids) for role, image_ids in ids.items()}
    counts = count_labels(source, roles, machine.cache, seen)
    one_sided = (*check_presence(spec.data, counts), *shared_groups(source), *_taught_by_select(spec))
    bytes_of = {term: sum(sizes.values()) for term, sizes in kernels.items()}
    if _searches_kernels(spec, kernels):
        bytes_of = {}
    crop, half = configs[0].augment.crop or size, _computes_in_half(spec, machine)
    replay = plan_replay(spec, configs, images["train"], crop, teacher_shapes, bytes_of, half)
    return Checked(images, tuple(source.classes), size, teacher, replay, config_check, one_sided)


def _computes_in_half(spec: SweepSpec, machine: Machine) -> bool:
    """Whether trials compute in half precision, also where only the nodes of a cluster have a GPU."""
    if machine.amp != "auto":
        return machine.amp != "off"
    return spec.resources.gpus_alone > 0 or find_device(machine).type == "cuda"


def foreign_notice() -> str | None:
    """A line about the third-party objects that the checked spec has imported; None if there are none."""
    names = imported_references()
    return f"imports third-party code: {', '.join(names)}" if names else None


def _teacher_network(spec: SweepSpec, classes: tuple[str, ...]) -> Network | None:
    if spec.teacher is None:
        return None
    if spec.teacher.path is None:
        assert spec.teacher_config is not None
        return spec.teacher_config.student
    card = card_of(Store(spec.teacher.path))
    if card.classes != tuple(classes):
        raise InputError(
            f"teacher: {spec.teacher.path} has {len(card.classes)} classes "
            f"({', '.join(card.classes[:4])}, ...), but the data {spec.data.name} has {len(classes)} "
            f"({', '.join(classes[:4])}, ...)"
        )
    return card.network


def _taught_by_select(spec: SweepSpec) -> Iterator[str]:
    """A sentence about a teacher that was trained on the same data set with other roles."""
    if spec.teacher is None or spec.teacher.path is None:
        return
    trained_on, here = card_of(Store(spec.teacher.path)).trained_on, spec.data.name_with_roles
    if trained_on != here and re.split(r"[ ,]", trained_on)[0] == spec.data.name:
        yield (
            f"the teacher {spec.teacher.path} was trained on {trained_on}, and the data of this sweep are {here}: "
            "images of select may be among those that it was trained on, so its score there is too high; fit a teacher "
            "to these data"
        )


def _layer_variants(spec: SweepSpec, study: Study) -> Iterator[TrainConfig]:
    """The study's config, and one for every layer that it may search."""
    typical = spec.typical(study)
    yield spec.config_for(study, typical)
    for path, domain in spec.space_of(study).items():
        if path.endswith("_layer") and isinstance(domain, Choice):
            for layer in domain.choices:
                yield spec.config_for(study, {**typical, path: layer})


def _searches_kernels(spec: SweepSpec, terms: Collection[str]) -> bool:
    """Whether hardly any two trials will share a kernel, because a number that the kernel depends on is searched."""
    spaces = [spec.space_of(study) for study in spec.studies]
    searched = {path for space in spaces for path, domain in space.items() if isinstance(domain, Range)}
    deciding = {path for path in searched if not path.endswith((f".{WEIGHT}", f".{PULL}"))}
    return any(path.startswith(f"terms.{term}.") for path in deciding for term in terms)


def _cost(network: Network, checked: Checked) -> Cost:
    built = build_network(network, len(checked.classes), bare=True).eval()
    params = sum(parameter.numel() for parameter in built.parameters())
    try:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            built.to("meta")(torch.zeros(1, 3, *checked.image_size, device="meta"))
    except Exception:  # a custom network may raise anything on meta tensors
        return Cost(params, None)
    return Cost(params, counter.get_total_flops() // 2)


def _searched(spec: SweepSpec, study: Study) -> dict[str, str]:
    """What a study searches, with the priors where the sampler looks at them."""
    if not uses_priors(spec.sampler.name):
        return {path: in_words(domain) for path, domain in spec.space_of(study).items()}
    later = dict.fromkeys(spec.pulls_of_weights(study), "of the published weight, once pulls are measured")
    return {
        path: in_words(domain) + ("" if domain.has_prior else f", prior {later.get(path, 'none')}")
        for path, domain in spec.space_with_priors(study).items()
    }


def _study_plan(spec: SweepSpec, study: Study) -> StudyPlan:
    config = spec.config_for(study)
    method = get_method(study.method) if study.method else None
    space = spec.space_of(study)
    searches, trials = spec.repeats_of(study), most_trials(spec, study)
    rounds, stops = spec.confirm.rounds, rungs(spec, study)
    scheduler, every = make_scheduler(spec.scheduler), config.evaluate_every
    audits = math.ceil(spec.scheduler.audit * searches * most_stopped(spec, study))
    return StudyPlan(
        name=study.name,
        title=_title(method) if method and not study.terms else "terms given in the spec",
        terms=tuple(_term_text(term) for term in config.active_terms),
        fixed={path: str(value) for path, value in study.set.items()},
        space=_searched(spec, study),
        epochs=config.epochs,
        trials=searches * trials,
        search_epochs=searches * trials * config.epochs,
        confirm_runs=searches * trainings(rounds, trials) if space else all_seeds(rounds),
        confirm_text=_fresh_seeds(spec.confirm, trials, searches) if space else "fresh seeds",
        is_baseline=study == spec.baseline,
        searches=searches,
        rungs=tuple(stops),
        early_stopping=scheduler.words(stops, config.epochs, every) if stops else "",
        audits=audits,
        audit_epochs=audits * (config.epochs - stops[0]) if stops else 0,
        looks=spec.confirm.looks,
        runs_after_first_look=(searches if space else 1) * rounds[-1].seeds if spec.confirm.looks else 0,
    )


def _term_text(term: Term) -> str:
    return f"{term.name} x {term.weight:g}" if term.pull is None else f"{term.name} at a pull of {term.pull:g}"


def _fresh_seeds(confirm: Confirm, configs: int, searches: int) -> str:
    rounds = [f"{min(each.alive, configs)} configs x {each.seeds}" for each in confirm.rounds]
    text = f"fresh seeds, in {len(rounds)} rounds: {', '.join(rounds)}" if len(rounds) > 1 else "fresh seeds"
    if searches == 1:
        return text
    return f"{text}, {trainings(confirm.rounds, configs)} for each of {searches} searches"


def _teacher_text(spec: SweepSpec) -> str:
    config = spec.teacher_config
    if config is not None:
        return f"{config.student.title}, fitted first in {config.epochs} epochs"
    return spec.teacher.path if spec.teacher and spec.teacher.path else "none"


def _normalizations(spec: SweepSpec, teacher: Network | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Lines about normalizations that are not ImageNet's, and warnings of those that the library states otherwise."""
    networks = {"teacher": teacher} if teacher is not None else {}
    for study in spec.studies:
        searched = {
            path: domain.choices
            for path, domain in spec.space_of(study).items()
            if path.startswith("student.") and isinstance(domain, Choice)
        }
        for values in itertools.product(*searched.values()):
            student = spec.config_for(study, dict(zip(searched, values, strict=True))).student
            if student not in networks.values():
                networks["student" if student == spec.student else f"{study.name}: {student.title}"] = student
    remarks = [normalization_remarks(name, network) for name, network in networks.items()]
    return tuple(line for lines, _ in remarks for line in lines), tuple(each for _, found in remarks for each in found)


def _warnings(spec: SweepSpec, checked: Checked) -> Iterator[str]:
    if spec.purpose == "search" and spec.baseline is None:
        yield "every study has a teacher, so the gain of distillation cannot be measured; add the study none"
    if not confirms(spec):
        yield "nothing is confirmed on fresh seeds (confirm.top or confirm.seeds is 0): scores are optimistic"
    yield from idle_settings(spec)
    crops = {study.name: spec.config_for(study).augment.crop for study in spec.studies}
    for crop in {crop: None for crop in crops.values() if crop is not None}:
        if crop[0] > checked.image_size[0] or crop[1] > checked.image_size[1]:
            yield (
                f"augment.crop: {crop[0]} x {crop[1]} is larger than images of {checked.image_size[0]} x "
                f"{checked.image_size[1]}; what lies outside is gray and has no labels"
            )
    for study in spec.studies:
        if spec.space_of(study) and not pulled(spec, study) and spec.defaults(study) is None:
            yield f"{study.name}: its published values lie outside of its space and will not be tried"
        if (sentence := check_space(spec, study, checked.config).sentence()) is not None:
            yield sentence


def _macs(
    spec: SweepSpec, studies: tuple[StudyPlan, ...], checked: Checked, student: Cost, teacher: Cost | None
) -> float | None:
    total = 0.0
    for study in studies:
        config = spec.config_for(spec.study(study.name))
        teacher_macs = teacher.macs if teacher and config.uses_teacher else 0
        if student.macs is None or teacher_macs is None:
            return None
        crop = config.augment.crop or checked.image_size
        area = crop[0] * crop[1] / (checked.image_size[0] * checked.image_size[1])
        epochs = study.search_epochs + study.confirm_runs * study.epochs + study.audit_epochs
        images = checked.images["train"] * config.images_per_step / config.batch_size
        total += epochs * images * area * (student.macs * (1 + _BACKWARD) + teacher_macs)
    return total


def _disk(spec: SweepSpec, studies: tuple[StudyPlan, ...], student: Cost) -> int:
    """Per trial the student and two checkpoints (weights, their average and the optimizer's state), all in float32."""
    trials = sum(study.trials + study.confirm_runs + study.audits for study in studies)
    config = spec.config_for(spec.studies[0])
    states = (2 if config.optimizer.name == "adamw" else 1) + (config.ema.half_life > 0)
    return trials * student.params * 4 * (1 + 2 * (1 + states))


def _title(method: Method) -> str:
    return f"{method.title} ({method.citation.rstrip('.')})" if method.citation else method.title


def _of_searches(study: StudyPlan) -> str:
    trials = study.trials // study.searches
    each = f"{trials} trial{'s' * (trials > 1)} x {study.epochs} epochs"
    return each if study.searches == 1 else f"{study.searches} independent searches x {each}"
