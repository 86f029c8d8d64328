"""The spec of a sweep: one YAML file, or the same object in Python."""

import contextlib
import hashlib
import itertools
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializeAsAny, ValidationError, field_validator, model_validator

from analysis.selection.halving import all_seeds
from kdtrain.config import TrainConfig
from kdtrain.config_base import Strict
from kdtrain.data import DataConfig, Unlabelled
from kdtrain.errors import InputError
from kdtrain.explain import did_you_mean, kind_and_line, sentence
from kdtrain.foreign import is_reference, references, require_trust
from kdtrain.methods import Term, get_method, parse_term
from kdtrain.models import Network, without_inherited_normalization
from kdtrain.space import Choice, Domain, Range, Scalar, parse_domain
from sweeps.spec.field_types import fitted
from sweeps.spec.overrides import overlap, parse_changed
from sweeps.spec.paths import Space, contains, extremes, lookup, replaced
from sweeps.spec.settings import (
    Budget,
    Cell,
    Confirm,
    Count,
    Name,
    ReplaySettings,
    Resources,
    Sampler,
    Scheduler,
    TeacherSource,
    WatcherSource,
)
from sweeps.spec.strict_yaml import dump_yaml, read_mapping

UNKNOWN_TEACHER = "0" * 16
"""Stands for the teacher's digest until it is fitted or loaded."""
_DECIDED_ELSEWHERE = ("data", "student", "teacher", "terms", "seed")
"""Fields of a TrainConfig that the spec decides elsewhere than under `train`."""
SEEDS_OF_SEARCH = 10**6
"""How far apart the seeds of a study's searches lie; between them lie fresh and final seeds."""
_MOST_CORNERS = 64
"""Corners of a space that are tried for a value that is not valid alone."""
_FIXED = ("data", "teacher", "seed", "data_seed")
"""Fields that no study may change, or trials could not be compared."""


class Study(Strict):
    """One setting of the scientific parameters, and the nuisance parameters searched for it."""

    name: Name
    method: str | None = None
    """A method, as the source of the terms: one of ours, `package.module:NAME`, or one that an installed package
    offers. A study without a name is called as its method."""
    terms: tuple[SerializeAsAny[Term], ...] | None = None
    """The terms themselves, where no method has them."""
    set: dict[str, object] = Field(default_factory=dict)
    """Scientific parameters by dotted path."""
    space: dict[str, Domain] | Literal["default"] = "default"
    """Nuisance parameters by dotted path; `default` takes the ranges that the method recommends."""
    baseline: bool = False
    """Whether this is the untaught student; if no study says so, the first study without a teacher is the baseline."""
    control: bool | None = None
    """Whether this is a control, which the methods must beat and which is never the best config; `null` for the rule of
    `sweeps.spec.controls`, which knows a placebo, and cross-entropy alone, with more epochs or smoothed labels."""

    @model_validator(mode="before")
    @classmethod
    def _named_by_method(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"method": value}
        if isinstance(value, Mapping) and "name" not in value and isinstance(value.get("method"), str):
            method = value["method"]
            value = {"name": get_method(method).name if is_reference(method) else method, **value}
        return value

    @field_validator("terms", mode="before")
    @classmethod
    def _parse_terms(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        return tuple(term if isinstance(term, Term) else parse_term(term) for term in value)

    @field_validator("space", mode="before")
    @classmethod
    def _parse_space(cls, value: Any) -> Any:
        return _parse_domains(value)

    @model_validator(mode="after")
    def _method_or_terms(self) -> "Study":
        if (self.method is None) == (self.terms is None):
            raise ValueError("give either method or terms")
        if self.method is not None:
            get_method(self.method)
        return self

    @property
    def base_terms(self) -> tuple[Term, ...]:
        """The terms before anything is set or searched."""
        return get_method(self.method).terms if self.method is not None else self.terms or ()

    @property
    def study_space(self) -> Space:
        """What this study searches besides the sweep's space: a parameter that it sets is not searched by default."""
        if self.space != "default":
            return self.space
        search = get_method(self.method).search if self.method is not None else {}
        return {f"terms.{key}": domain for key, domain in search.items() if f"terms.{key}" not in self.set}


class SweepSpec(Strict):
    """A sweep: data, teacher, student, recipe, studies, and one budget for every study."""

    name: Name
    data: DataConfig
    student: Network = Field(default_factory=Network)
    teacher: TeacherSource | None = None
    train: dict[str, object] = Field(default_factory=dict)
    """Fields of TrainConfig that differ from their defaults, for all trials."""
    studies: tuple[Study, ...] = Field(min_length=1)
    space: dict[str, Domain] = Field(default_factory=dict)
    """Nuisance parameters that every study searches, such as optimizer.lr."""
    budget: Budget
    repeats: Count = Field(default=1, ge=1)
    """Independent searches of every study that searches anything: each with seeds and a race of its own, and with an
    even share of the study's budget."""
    sampler: Sampler = Field(default_factory=Sampler)
    scheduler: Scheduler = Field(default_factory=Scheduler)
    confirm: Confirm = Field(default_factory=Confirm)
    resources: Resources = Field(default_factory=Resources)
    replay: ReplaySettings = Field(default_factory=ReplaySettings)
    watchers: tuple[WatcherSource, ...] = ()
    """Functions that are called with every event of the sweep: `live_page`, or third-party watchers."""
    retries: Count = Field(default=1, ge=0)
    """How often a trial that crashed is tried again."""
    seed: int = Field(default=0, ge=0, le=2**52)
    """Seeds of the confirm phase and final seeds count up from it."""
    purpose: Literal["search", "ablation"] = "search"
    design: str | None = None
    cells: tuple[Cell, ...] = ()
    notes: tuple[str, ...] = ()
    """Remarks on the design for the readers of the results."""
    smallest_effect: float = Field(default=0.3, ge=0)
    """The smallest difference that matters, in points of mIoU; declared before anything runs."""

    @field_validator("space", mode="before")
    @classmethod
    def _parse_space(cls, value: Any) -> Any:
        return _parse_domains(value)

    @field_validator("watchers", "notes", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | Mapping) else value

    @model_validator(mode="after")
    def _consistent(self) -> "SweepSpec":
        for key in _DECIDED_ELSEWHERE:
            if key in self.train:
                raise ValueError(f"train.{key}: belongs to the sweep, not to its recipe")
        names = [study.name for study in self.studies]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"studies: the names must differ, but {', '.join(twice)} comes twice")
        if sum(study.baseline for study in self.studies) > 1:
            raise ValueError("studies: only one study can be the baseline")
        if unknown := [cell.study for cell in self.cells if cell.study not in names]:
            raise ValueError(f"cells: there is no study {unknown[0]}{did_you_mean(unknown[0], names)}")
        self._check_controls()
        _parse_config(self.train, "train")  # before the teacher, whose recipe builds on it
        _ = self.teacher_config
        for study in self.studies:
            self._check_paths(study)
        for study in self.studies:
            self._check_study(study)
            self._check_repeats(study)
        baseline = self.baseline
        if self.purpose == "search" and baseline is None and (untaught := self._untaught):
            raise ValueError(
                f"studies.{untaught[0].name}.control: must be false or null for the baseline, the first study "
                "without a teacher, got true; leave control out, or add a study without a teacher that is no control"
            )
        if self.purpose == "search" and baseline is not None and not self.space_of(baseline):
            tuned = [study.name for study in self.studies if self.space_of(study)]
            if tuned:
                raise ValueError(
                    f"studies.{baseline.name}: the baseline searches nothing while {tuned[0]} does, which "
                    "makes any gain unfair; give all studies a shared space, for instance "
                    "space: {optimizer.lr: {low: 0.005, high: 0.1, log: true}}"
                )
        return self

    def _check_controls(self) -> None:
        declared = {cell.study for cell in self.cells if cell.role == "control"}
        references = {cell.study for cell in self.cells if cell.role == "reference"}
        for study in self.studies:
            at = f"studies.{study.name}.control"
            if study.control and (study.baseline or study.name in references):
                kind = "baseline" if study.baseline else "reference of a design"
                raise ValueError(f"{at}: must be false or null for the {kind}, got true")
            if study.control is False and study.name in declared:
                raise ValueError(f"{at}: must be true or null for a cell with the role control, got false")

    def _check_paths(self, study: Study) -> None:
        at = f"studies.{study.name}"
        given = {} if study.space == "default" else study.space
        for path in (*study.set, *self._space_as_written(study)):
            if path.split(".")[0] in _FIXED:
                raise InputError(
                    f"{at}: {path} is the same for all trials of a sweep and can be neither set nor searched"
                )
        for path in study.set:
            if any(overlap(path, searched) for searched in (*self.space, *given)):
                raise InputError(f"{at}: {path} is both set and searched")
        if {"unlabelled", "unlabelled.images"} & set(self._space_as_written(study)):
            raise InputError(f"{at}: unlabelled.images cannot be searched; set it in separate studies")
        if "epochs" in self._space_as_written(study):
            raise InputError(f"{at}: epochs cannot be searched, because trials of different length cannot be compared")

    def _check_study(self, study: Study) -> None:
        at = f"studies.{study.name}"
        config = self.config_for(study)
        if config.uses_teacher and self.teacher is None:
            term = next(term.name for term in config.active_terms if term.needs_teacher)
            raise InputError(
                f"{at}: {term} needs a teacher, but the sweep has none; "
                "give teacher: {path: ...} or teacher: {fit: ...}"
            )
        for path, domain in self.space_of(study).items():
            for value in extremes(domain):
                self._check_searched(study, path, value)

    def _check_repeats(self, study: Study) -> None:
        """Raise InputError if a study's budget does not hold one trial for each of its searches."""
        repeats = self.repeats_of(study)
        if repeats == 1:
            return
        epochs = self.config_for(study).epochs
        for field, given, least, each in (
            ("trials", self.budget.trials, repeats, "one trial"),
            ("epochs", self.budget.epochs, repeats * epochs, f"one trial of {epochs} epochs"),
        ):
            if given is not None and given < least:
                raise InputError(
                    f"budget.{field}: must be at least {least}, {each} for each of the {repeats} searches that repeats "
                    f"asks for in the study {study.name}, got {given}; raise budget.{field} or lower repeats"
                )

    def _check_searched(self, study: Study, path: str, value: Any) -> None:
        """Raise InputError if a searched value is not valid, neither alone nor with other values that are searched."""
        try:
            self.config_for(study, {path: value})
        except InputError:
            ends = {other: extremes(domain) for other, domain in self.space_of(study).items() if other != path}
            pairs = ({other: end} for other, values in ends.items() for end in values)
            corners = (dict(zip(ends, corner, strict=True)) for corner in itertools.product(*ends.values()))
            for others in itertools.chain(pairs, itertools.islice(corners, _MOST_CORNERS)):
                with contextlib.suppress(InputError):
                    self.config_for(study, {**others, path: value})
                    return
            raise

    @property
    def baseline(self) -> Study | None:
        """The untaught student that every method is compared with."""
        marked = (study for study in self.studies if study.baseline)
        untaught = (study for study in self._untaught if study.control is not True)
        return next(marked, None) or next(untaught, None)

    @property
    def _untaught(self) -> list[Study]:
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
            **_merged(recipe, changes),
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
        config, written = self.config_for(study), self._space_as_written(study)
        try:
            return {path: fitted(path, domain, config) for path, domain in written.items()}
        except InputError as error:
            raise InputError(f"studies.{study.name}: {error}") from None

    def _space_as_written(self, study: Study) -> Space:
        return {**self.space, **study.study_space}

    def config_for(
        self,
        study: Study,
        params: Mapping[str, Any] | None = None,
        seed: int | None = None,
        teacher: str | None = UNKNOWN_TEACHER,
    ) -> TrainConfig:
        """The config of one trial.

        Args:
            study: Its study.
            params: The values that the search chose, by dotted path; other parameters keep the default of the method or
                recipe.
            seed: The seed of the trial; by default that of the sweep.
            teacher: The teacher's digest; left out of the config where no term looks at the teacher, as are images
                without labels.

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
        base = _parse_config({**recipe, "terms": study.base_terms}, "train")
        changes = {**study.set, **(params or {})}
        try:
            content = replaced(base.model_dump(), changes)
        except InputError as error:
            raise InputError(f"{self._place(study, str(error).partition(':')[0])}.{error}") from None
        fields = [path.removeprefix("student.") for path in changes if path.startswith("student.")]
        if isinstance(student := content["student"], Mapping):
            content["student"] = without_inherited_normalization(self.student, student, fields)
        try:
            config = _parse_config(content, at)
        except InputError as error:
            raise InputError(self._blamed(study, base, changes) or str(error)) from None
        return config if config.uses_teacher else config.model_copy(update={"teacher": None, "unlabelled": None})

    def _place(self, study: Study, path: str) -> str:
        """Where a spec sets or searches a path of a study."""
        at = f"studies.{study.name}"
        if path in study.set:
            return f"{at}.set"
        return "space" if path in self.space and path not in study.study_space else f"{at}.space"

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

    def defaults(self, study: Study) -> dict[str, Scalar] | None:
        """The published values of the parameters that a study searches; none if a value lies outside of the space."""
        content = self.config_for(study).model_dump()
        values = {path: lookup(content, path) for path in self.space_of(study)}
        return values if all(contains(domain, values[path]) for path, domain in self.space_of(study).items()) else None

    def typical(self, study: Study) -> dict[str, Scalar]:
        """Values of the parameters that a study searches: published ones, or an end of the range that lacks them."""
        content, space = self.config_for(study).model_dump(), self.space_of(study)
        published = {path: lookup(content, path) for path in space}
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


def load_spec(path: Path | str, overrides: Mapping[str, Any] | None = None) -> SweepSpec:
    """Read a spec from a YAML file.

    Args:
        path: The file.
        overrides: Values that replace those of the file, by dotted path, as in `budget.trials`; see
            `sweeps.spec.overrides`.

    Raises:
        InputError: In one sentence, with file and field named.
    """
    content = read_mapping(path, "spec", "a mapping with name, data, studies and budget")
    return parse_changed(parse_spec, content, overrides or {}, str(path))


def is_spec(content: Mapping[str, Any]) -> bool:
    """Whether the content of a file is a sweep's spec and not one training's config."""
    return "studies" in content


def _parse_domains(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    parsed: dict[str, Range | Choice] = {}
    for path, domain in value.items():
        try:
            parsed[str(path)] = parse_domain(domain)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    return parsed


def _parse_config(content: Mapping[str, Any], at: str) -> TrainConfig:
    try:
        return TrainConfig.model_validate(content)
    except ValidationError as error:
        raise InputError(sentence(error, TrainConfig, at)) from None
    except (InputError, MemoryError, OSError):
        raise
    except Exception as error:  # a validator of third-party code may raise anything
        raise InputError(f"{at}: {kind_and_line(error)}") from error


def _merged(base: Mapping[str, object], over: Mapping[str, object]) -> dict[str, object]:
    """Nested mappings, the second laid over the first."""
    result = dict(base)
    for key, value in over.items():
        under = result.get(key)
        if isinstance(under, Mapping) and isinstance(value, Mapping):
            value = _merged(under, value)
        result[key] = value
    return result
