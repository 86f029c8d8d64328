"""The spec of a sweep: one YAML file, or the same object in Python."""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from analysis.selection.halving import all_seeds
from kdtrain.config import TrainConfig
from kdtrain.config_base import Strict
from kdtrain.data import DataConfig, Unlabelled
from kdtrain.errors import InputError
from kdtrain.explain import kind_and_line, sentence
from kdtrain.foreign import references, require_trust
from kdtrain.methods import Term
from kdtrain.methods.base import LATEST_RANGES, Ranges, Units
from kdtrain.models import Network, without_inherited_normalization
from kdtrain.space import Domain, Scalar, contains
from sweeps.spec import consistency
from sweeps.spec.field_types import fitted
from sweeps.spec.overrides import parse_changed
from sweeps.spec.paths import Space, extremes, lookup, replaced
from sweeps.spec.pulls import PULL, WEIGHT, Ratio, stand_in, weighted, with_weights
from sweeps.spec.schedulers import NoScheduler, Scheduler
from sweeps.spec.settings import (
    Budget,
    Cell,
    Confirm,
    Count,
    Name,
    ReplaySettings,
    Resources,
    Sampler,
    Score,
    TeacherSource,
    TrackerSource,
    WarmStart,
    WatcherSource,
)
from sweeps.spec.strict_yaml import dump_yaml, read_mapping
from sweeps.spec.study import Study, parse_domains
from sweeps.spec.target import Target

UNKNOWN_TEACHER = "0" * 16
"""Stands for the teacher's digest until it is fitted or loaded."""
SEEDS_OF_SEARCH = 10**6
"""How far apart the seeds of a study's searches lie; between them lie fresh and final seeds."""


class SweepSpec(Strict):
    """A sweep: data, teacher, student, recipe, studies, and one budget for every study."""

    name: Name
    """Of the sweep, in reports."""
    data: DataConfig
    """The images and their labels, with the roles train, select and test."""
    student: Network = Field(default_factory=Network)
    """The network that all trials train."""
    teacher: TeacherSource | None = None
    """Where the teacher comes from; `null` for a sweep whose studies need none."""
    train: dict[str, object] = Field(default_factory=dict)
    """Fields of TrainConfig that differ from their defaults, for all trials."""
    studies: tuple[Study, ...] = Field(min_length=1)
    """What is compared: methods by name, or studies with terms, settings and ranges of their own."""
    space: dict[str, Domain] = Field(default_factory=dict)
    """Nuisance parameters that every study searches, such as optimizer.lr; `student: {encoder: [...]}` is short for
    `student.encoder: [...]`."""
    units: Units = "pull"
    """What the defaults of methods are: `pull`, losses that depend on neither map nor batch size and ranges of pulls;
    `weight`, the published losses and ranges of weights. A begun sweep keeps its units."""
    ranges: Ranges = LATEST_RANGES
    """Which ranges of pulls are the defaults of methods: those of former versions (`narrow`, then `wide`) are
    narrower, see `kdsweep methods dist`. A begun sweep keeps its ranges."""
    budget: Budget
    """What every study may spend."""
    repeats: Count = Field(default=1, ge=1)
    """Independent searches of every study that searches anything: each with seeds and a race of its own, and with an
    even share of the study's budget."""
    sampler: Sampler = Field(default_factory=Sampler)
    """How the parameters of trials are chosen."""
    warm_start: WarmStart | None = None
    """Earlier sweeps, as `runs/a` or a list of them: their good values are priors for the sampler `prior`."""
    scheduler: Scheduler = Field(default_factory=NoScheduler)
    """How bad trials are stopped before their end."""
    score: Score = Field(default_factory=Score)
    """What a trial is worth."""
    confirm: Confirm = Field(default_factory=Confirm)
    """The training of the best configs on fresh seeds, and the final seeds."""
    resources: Resources = Field(default_factory=Resources)
    """What one trial takes of the machine."""
    replay: ReplaySettings = Field(default_factory=ReplaySettings)
    """The store of samples and teacher maps that all trials share."""
    watchers: tuple[WatcherSource, ...] = ()
    """Functions that are called with every event of the sweep: `live_page`, or third-party watchers."""
    trackers: tuple[TrackerSource, ...] = ()
    """Where the sweep is shown while it runs: `tensorboard`, `mlflow`, `wandb`, `trackio`, `optuna`, or others."""
    target: Target | None = None
    """What the student may cost on the device that it is for; students above a limit are not trained."""
    retries: Count = Field(default=1, ge=0)
    """How often a trial that crashed is tried again."""
    seed: int = Field(default=0, ge=0, le=2**52)
    """Seeds of the confirm phase and final seeds count up from it."""
    purpose: Literal["search", "ablation"] = "search"
    """What the sweep is for; `kdsweep ablate` writes ablations."""
    design: str | None = None
    """The design of an ablation."""
    cells: tuple[Cell, ...] = ()
    """The part of each study in the design of an ablation."""
    notes: tuple[str, ...] = ()
    """Remarks on the design for the readers of the results."""
    smallest_effect: float = Field(default=0.3, ge=0)
    """The smallest difference that matters, in points of mIoU; declared before anything runs."""

    @field_validator("space", mode="before")
    @classmethod
    def _parse_space(cls, value: Any) -> Any:
        return parse_domains(value)

    @field_validator("watchers", "trackers", "notes", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | Mapping) else value

    @model_validator(mode="after")
    def _consistent(self) -> "SweepSpec":
        consistency.check_fields(self)
        consistency.check_trackers(self)
        consistency.check_controls(self)
        _parse_config(self.train, "train")  # before the teacher, whose recipe builds on it
        _ = self.teacher_config
        for study in self.studies:
            consistency.check_paths(self, study)
        for study in self.studies:
            consistency.check_search(self, study)
            consistency.check_repeats(self, study)
            consistency.check_score(self, study)
        consistency.check_baseline(self)
        return self

    @property
    def baseline(self) -> Study | None:
        """The untaught student that every method is compared with."""
        marked = (study for study in self.studies if study.baseline)
        untaught = (study for study in self.untaught if study.control is not True)
        return next(marked, None) or next(untaught, None)

    @property
    def untaught(self) -> list[Study]:
        """The studies without a teacher."""
        return [study for study in self.studies if not self.config_for(study).uses_teacher]

    @property
    def digest(self) -> str:
        """Hash of the whole spec."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:16]

    def repeats_of(self, study: Study) -> int:
        """How many searches a study has; one that searches nothing has a single config and needs no second search."""
        return self.repeats if self.space_of(study) else 1

    @property
    def search_budget(self) -> Budget:
        """What each search of a study may spend: an even share of the study's budget, rounded down."""
        return self.budget.share(self.repeats)

    def search_seed(self, search: int) -> int:
        """The seed on which a search trains its configs: one seed for all trials of the search, which it compares.

        Searches of a study on one seed would share the luck of that seed, and so would not be independent.
        """
        return self.seed + (search - 1) * SEEDS_OF_SEARCH

    @property
    def confirm_seeds(self) -> tuple[int, ...]:
        """Seeds that the search never saw, in the order of the rounds of the confirm phase."""
        return tuple(range(self.seed + 1, self.seed + 1 + all_seeds(self.confirm.rounds)))

    @property
    def teacher_config(self) -> TrainConfig | None:
        """How the teacher is trained, where the sweep trains it: its recipe and what differs from it."""
        if self.teacher is None or self.teacher.fit is None:
            return None
        changes = {key: value for key, value in self.teacher.fit.items() if key != "network"}
        recipe = {key: value for key, value in self.train.items() if key != "unlabelled"}
        content = {
            "seed": self.seed,
            "data": self.data,
            **merged(recipe, changes),
            "student": self.teacher.fit["network"],
        }
        network = self.teacher.fit["network"]
        try:
            Network.model_validate(network)
        except ValidationError as error:
            raise InputError(sentence(error, Network, "teacher.fit.network")) from None
        return _parse_config(content, "teacher.fit")

    @cached_property
    def epochs(self) -> dict[str, int]:
        """The epochs of a trial, by study."""
        return {study.name: self.config_for(study).epochs for study in self.studies}

    @property
    def unlabelled(self) -> tuple[Unlabelled, ...]:
        """The images without labels that trainings use, one for each folder."""
        fit = self.teacher_config
        configs = [self.config_for(study) for study in self.studies] + ([fit] if fit is not None else [])
        by_folder = {c.unlabelled.images: c.unlabelled for c in configs if c.unlabelled is not None}
        return tuple(by_folder.values())

    def study(self, name: str) -> Study:
        """The study of a name."""
        return next(study for study in self.studies if study.name == name)

    def space_of(self, study: Study) -> Space:
        """The whole space of a study, by dotted path; fields of whole numbers have ranges of whole numbers.

        Raises:
            InputError: If a range does not fit its field.
        """
        return self._spaces[study.name]

    @cached_property
    def _spaces(self) -> dict[str, Space]:
        """The spaces by study."""
        return {study.name: self._fitted_space(study) for study in self.studies}

    def _fitted_space(self, study: Study) -> Space:
        config, written = self.config_for(study), self.space_as_written(study)
        try:
            return {path: fitted(path, domain, config) for path, domain in written.items()}
        except InputError as error:
            raise InputError(f"studies.{study.name}: {error}") from None

    def space_as_written(self, study: Study) -> Space:
        """The whole space of a study before its ranges are fitted to their fields."""
        return {**self.space, **study.study_space(self.units, self.space, self.ranges)}

    def base_terms(self, study: Study) -> tuple[Term, ...]:
        """The terms of a study before anything is set or searched."""
        return study.base_terms(self.units, self.space)

    def config_for(
        self,
        study: Study,
        params: Mapping[str, Any] | None = None,
        seed: int | None = None,
        teacher: str | None = UNKNOWN_TEACHER,
        ratio: Ratio = stand_in,
    ) -> TrainConfig:
        """The config of one trial.

        Args:
            study: Its study.
            params: The values that the search chose, by dotted path; other parameters keep the default of the method or
                recipe.
            seed: The seed of the trial; by default that of the sweep.
            teacher: The teacher's digest; left out of the config where no term looks at the teacher, as are images
                without labels.
            ratio: The pulls of terms at weight 1, by which pulls become weights; the stand-in serves to check a config.

        Raises:
            InputError: If there is no such path, or a value is not allowed there.
        """
        at = f"studies.{study.name}"
        recipe = {
            **self.train,
            "data": self.data,
            "student": self.student,
            "teacher": teacher or UNKNOWN_TEACHER,
        }
        recipe |= {"seed": self.seed if seed is None else seed}
        terms = [weighted(study.name, term, stand_in) for term in self.base_terms(study)]
        base = _parse_config({**recipe, "terms": terms}, "train")
        changes = {**study.set, **(params or {})}
        try:
            content = replaced(base.model_dump(), changes)
        except InputError as error:
            raise InputError(f"{self._place(study, str(error).partition(':')[0])}.{error}") from None
        fields = [path.removeprefix("student.") for path in changes if path.startswith("student.")]
        if isinstance(student := content["student"], Mapping):
            content["student"] = without_inherited_normalization(self.student, student, fields)
        _pull_alone(content["terms"], changes)
        try:
            config = _parse_config(content, at)
        except InputError as error:
            raise InputError(self._blamed(study, base, changes) or str(error)) from None
        config = with_weights(study.name, config, ratio)
        return config if config.uses_teacher else config.model_copy(update={"teacher": None, "unlabelled": None})

    def _place(self, study: Study, path: str) -> str:
        """Where a spec sets or searches a path of a study."""
        at = f"studies.{study.name}"
        if path in study.set:
            return f"{at}.set"
        of_study = study.study_space(self.units, self.space, self.ranges)
        return "space" if path in self.space and path not in of_study else f"{at}.space"

    def _blamed(self, study: Study, base: TrainConfig, changes: Mapping[str, Any]) -> str | None:
        """What is wrong with the first change that is not allowed even alone; none if only several together are not."""
        for path, value in changes.items():
            try:
                TrainConfig.model_validate(replaced(base.model_dump(), {path: value}))
            except ValidationError as error:
                text = sentence(error, TrainConfig)
                text = text.partition(f"{path.rpartition('.')[2]}: ")[2] or text
                return f"{self._place(study, path)}.{path}: {text}"
        return None

    def defaults(self, study: Study, ratio: Ratio = stand_in) -> dict[str, Scalar] | None:
        """The published values of the parameters that a study searches; none if a value lies outside of the space.

        Args:
            study: The study.
            ratio: The pulls of terms at weight 1, by which published weights become pulls.
        """
        return None if self.published_outside(study, ratio) else self._published(study, ratio)

    def published_outside(self, study: Study, ratio: Ratio = stand_in) -> dict[str, Scalar]:
        """The published values that lie outside of the space of a study, by path; `ratio` as for `defaults`."""
        values, space = self._published(study, ratio), self.space_of(study)
        return {path: values[path] for path, domain in space.items() if not contains(domain, values[path])}

    def _published(self, study: Study, ratio: Ratio) -> dict[str, Any]:
        """The published values of the parameters that a study searches, inside the space or not."""
        config = self.config_for(study, ratio=ratio)
        content = config.model_dump()
        values = {path: lookup(content, path) for path in self.space_of(study)}
        for term in config.terms:
            if (path := f"terms.{term.name}.{PULL}") in values and term.pull is None:
                values[path] = term.weight * ratio(study.name, term) if term.weight > 0 else 0.0
        return values

    def space_with_priors(self, study: Study, ratio: Ratio | None = None) -> Space:
        """The whole space of a study, each domain with a prior.

        That is the given one, else that of earlier sweeps, else the published value; none where that lies outside.

        Args:
            study: The study.
            ratio: As for `defaults`; without it, pulls that follow from published weights are not known.
        """
        space, published = self._warm_space(study), self._published(study, ratio or stand_in)
        known = {path for path, domain in space.items() if contains(domain, published[path]) and not domain.has_prior}
        known -= self.pulls_of_weights(study) if ratio is None else set()
        return {
            path: domain.model_copy(update={"prior": published[path]}) if path in known else domain
            for path, domain in space.items()
        }

    def _warm_space(self, study: Study) -> Space:
        """The whole space of a study, with the priors that are given or come from earlier sweeps."""
        taken = ((self.warm_start and self.warm_start.priors) or {}).get(study.name, {})
        return {
            path: domain.model_copy(update={"prior": taken[path].value, "confidence": taken[path].confidence})
            if path in taken and not domain.has_prior and contains(domain, taken[path].value)
            else domain
            for path, domain in self.space_of(study).items()
        }

    def pulls_of_weights(self, study: Study) -> set[str]:
        """The searched pulls whose published value is that of a weight, so that it is known once pulls are measured."""
        pulls = {f"terms.{term.name}.{PULL}" for term in self.config_for(study).terms if term.pull is None}
        return pulls & self.space_of(study).keys()

    def typical(self, study: Study) -> dict[str, Scalar]:
        """Values of the parameters that a study searches: published ones, or an end of the range that lacks them."""
        space, published = self.space_of(study), self._published(study, stand_in)
        values = {
            path: published[path] if contains(domain, published[path]) else extremes(domain)[0]
            for path, domain in space.items()
        }
        with contextlib.suppress(InputError):
            self.config_for(study, values)
            return values
        return {}  # these ends are not valid together

    def dump(self) -> str:
        """The spec as YAML, with the defaults of all fields that were left out."""
        return dump_yaml(self.model_dump(mode="json"))


def parse_spec(content: Mapping[str, Any]) -> SweepSpec:
    """Read a spec from plain values.

    Raises:
        InputError: In one sentence, with the field named; also if the spec names code that is not trusted.
    """
    require_trust(references(content), "the spec ")
    try:
        return SweepSpec.model_validate(content)
    except ValidationError as error:
        raise InputError(sentence(error, SweepSpec)) from None


def load_spec(
    path: Path | str, overrides: Mapping[str, Any] | None = None, begun: Mapping[str, Any] | None = None
) -> SweepSpec:
    """Read a spec from a YAML file.

    Args:
        path: The file.
        overrides: Values that replace those of the file, by dotted path, as in `budget.trials`; see
            `sweeps.spec.overrides`.
        begun: Fields of the sweep that the spec continues, see `sweeps.spec.overrides.overridden`.

    Raises:
        InputError: In one sentence, with file and field named.
    """
    content = read_mapping(path, "spec", "a mapping with name, data, studies and budget")
    return parse_changed(parse_spec, content, overrides or {}, str(path), begun)


def is_spec(content: Mapping[str, Any]) -> bool:
    """Whether the content of a file is a sweep's spec and not one training's config."""
    return "studies" in content


def _parse_config(content: Mapping[str, Any], at: str) -> TrainConfig:
    try:
        return TrainConfig.model_validate(content)
    except ValidationError as error:
        raise InputError(sentence(error, TrainConfig, at)) from None
    except (InputError, MemoryError, OSError):
        raise
    except Exception as error:  # a validator of third-party code may raise anything
        raise InputError(f"{at}: {kind_and_line(error)}") from error


def _pull_alone(terms: Any, changes: Mapping[str, Any]) -> None:
    """Let the weight of a term be its pull, until that is known, unless its weight is among the changes."""
    for term in terms if isinstance(terms, list | tuple) else ():
        if not isinstance(term, dict) or term.get(PULL) is None:
            continue
        if f"terms.{term.get('name')}.{WEIGHT}" in changes:
            term[PULL] = None
        else:
            term[WEIGHT] = term[PULL]


def merged(base: Mapping[str, object], over: Mapping[str, object]) -> dict[str, object]:
    """Nested mappings, the second over the first."""
    result = dict(base)
    for key, value in over.items():
        under = result.get(key)
        if isinstance(under, Mapping) and isinstance(value, Mapping):
            value = merged(under, value)
        result[key] = value
    return result
