"""What a sweep has to measure before its pulls become weights: untaught trainings, and the terms to look at in each.

Studies with another student, augmentation, batch size or images without labels have a calibration of their own; one
that searches these has the calibration of its default. Nothing is measured in a sweep without a pull.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kdtrain.config import Ema, TrainConfig
from kdtrain.errors import InputError
from kdtrain.methods import Term
from kdtrain.methods.base import LARGEST_PULL, LEAST_PULL
from kdtrain.methods.stages import Stages
from kdtrain.space import Scalar
from sweeps.spec.paths import extremes
from sweeps.spec.pulls import PULL, Ratio, Star, axes_of, key_of, share_of, stand_in, weighted
from sweeps.spec.spec import UNKNOWN_TEACHER, SweepSpec
from sweeps.spec.study import Study

Measured = Mapping[str, Mapping[str, float]]
"""By the `config_id` of an untaught training, and then by `key_of` a term, the term's pull at weight 1."""
_UNTAUGHT = Study(name="none", method="none")
_OWN = ("student", "augment", "batch_size", "unlabelled")
"""Fields of a study's config that its untaught training has, too."""


@dataclass(frozen=True)
class Measurement:
    """What one calibration measures: an untaught training, and terms by their `key_of`."""

    config: TrainConfig
    terms: Mapping[str, Term]

    def without(self, measured: Measured) -> "Measurement":
        """What is left to be measured."""
        known = measured.get(self.config.config_id, {})
        return Measurement(self.config, {key: term for key, term in self.terms.items() if key not in known})


@dataclass(frozen=True)
class Point:
    """A term of a study with one option at a level, or with those of the default."""

    study: str
    term: Term
    """With the weight of the default."""
    calibration: str
    """The `config_id` of the untaught training."""
    option: str | None
    level: Scalar
    is_default: bool

    @property
    def key(self) -> str:
        """Its options."""
        return key_of(self.term)


@dataclass(frozen=True)
class DefaultPull:
    """How strongly a term of a study pulls at its default."""

    study: str
    term: str
    weight: float
    pull: float

    @property
    def share(self) -> float:
        """Of the gradient of the term and the task."""
        return share_of(self.pull)

    @property
    def text(self) -> str:
        """Term, weight, pull and share."""
        return f"{self.term} x {self.weight:.3g} pulls {self.pull:.2g} ({100 * self.share:.2g} %)"

    @property
    def warning(self) -> str | None:
        """What is wrong with so small or so large a pull; none otherwise."""
        if self.weight == 0 or LEAST_PULL <= self.pull <= LARGEST_PULL:
            return None
        few = self.pull < LEAST_PULL
        return (
            f"{self.study}: {self.term} pulls {self.pull:.2g} times as hard as cross-entropy at its default of weight "
            f"{self.weight:g}, {'less than 0.1 %' if few else 'more than 95 %'} of the gradient, so the student hardly "
            f"learns from {'it' if few else 'the labels'}"
        )


def uses_pulls(spec: SweepSpec) -> bool:
    """Whether any weight of a sweep comes from a pull."""
    return any(pulled(spec, study) for study in spec.studies)


def pulled(spec: SweepSpec, study: Study) -> list[str]:
    """The terms of a study whose weights come from pulls, by name."""
    space = spec.space_of(study)
    terms = spec.config_for(study).terms
    return [term.name for term in terms if term.pull is not None or f"terms.{term.name}.{PULL}" in space]


def points(spec: SweepSpec, teacher: str | None = UNKNOWN_TEACHER) -> list[Point]:
    """All that is measured for the studies of a sweep, whether it has pulls or not.

    Args:
        spec: The sweep.
        teacher: The teacher's digest.
    """
    return [point for study in spec.studies for point in _points_of(spec, study, teacher)]


def calibrations(spec: SweepSpec, teacher: str | None = UNKNOWN_TEACHER) -> list[Measurement]:
    """The calibrations of a sweep; none without a pull. The arguments are those of `points`."""
    return _collected(spec, points(spec, teacher), teacher) if uses_pulls(spec) else []


def calibrations_of_defaults(spec: SweepSpec, teacher: str | None = UNKNOWN_TEACHER) -> list[Measurement]:
    """The same for the defaults alone, also in a sweep without a pull."""
    return _collected(spec, [point for point in points(spec, teacher) if point.is_default], teacher)


def ratios(spec: SweepSpec, teacher: str | None, measured: Measured) -> Ratio:
    """The pulls of a sweep's terms at weight 1.

    Args:
        spec: The sweep.
        teacher: The teacher's digest.
        measured: What its calibrations found.
    """
    by_name = {study.name: study for study in spec.studies}
    stars: dict[tuple[str, str], tuple[Star, Mapping[str, float]]] = {}

    def ratio(study: str, term: Term) -> float:
        if (study, term.name) not in stars:
            config = _taught(spec, by_name[study], teacher)
            default = next((each for each in config.terms if each.name == term.name), term)
            star = Star(default, axes_of(term.name, spec.space_of(by_name[study])))
            stars[study, term.name] = (star, measured.get(_untaught(spec, config, teacher).config_id, {}))
        star, of_training = stars[study, term.name]
        return star.ratio(term, of_training)

    return ratio


def check_measured(spec: SweepSpec, ratio: Ratio) -> None:
    """Raise InputError if a pull of a study makes no weight at its default options."""
    for study in spec.studies:
        config = spec.config_for(study)
        for name in pulled(spec, study):
            try:
                ratio(study.name, next(term for term in config.terms if term.name == name))
            except InputError as error:
                raise InputError(f"studies.{study.name}: {error}") from None


def default_pulls(spec: SweepSpec, measured: Measured, teacher: str | None = UNKNOWN_TEACHER) -> list[DefaultPull]:
    """The pull of every term of a sweep at its default; terms that are not measured are left out."""
    ratio = ratios(spec, teacher, measured)
    found = []
    for point in points(spec, teacher):
        at_weight_1 = measured.get(point.calibration, {}).get(point.key)
        if point.is_default and at_weight_1 is not None:
            weight = weighted(point.study, point.term, ratio).weight
            found.append(DefaultPull(point.study, point.term.name, weight, weight * at_weight_1))
    return found


def lines_about(spec: SweepSpec, teacher: str | None, measured: Measured) -> list[str]:
    """The pulls of the defaults on one line, and warnings. The arguments are those of `ratios`."""
    by_study: dict[str, list[str]] = {}
    pulls = default_pulls(spec, measured, teacher)
    for pull in pulls:
        by_study.setdefault(pull.study, []).append(pull.text)
    studies = "; ".join(f"{study}: {', '.join(texts)}" for study, texts in by_study.items())
    lines = [f"pulls of the defaults (share of the gradient): {studies}"] if studies else []
    warnings = [pull.warning for pull in pulls if pull.warning is not None]
    return lines + [f"warning: {text}" for text in (*warnings, *_outside(spec, ratios(spec, teacher, measured)))]


def _outside(spec: SweepSpec, ratio: Ratio) -> Iterator[str]:
    """A sentence for every study with a pull whose published values lie outside of its space."""
    for study in spec.studies:
        if pulled(spec, study) and (sentence := outside_of_space(spec, study, ratio)) is not None:
            yield sentence


def outside_of_space(spec: SweepSpec, study: Study, ratio: Ratio = stand_in) -> str | None:
    """A sentence that names the published values of a study that lie outside of its space; none if there are none."""
    if not (outside := spec.published_outside(study, ratio)):
        return None
    values = ", ".join(f"{path} = {value}" for path, value in outside.items())
    return f"{study.name}: its published values lie outside of its space and will not be tried: {values}"


def _points_of(spec: SweepSpec, study: Study, teacher: str | None) -> Iterator[Point]:
    config, by_pull = _taught(spec, study, teacher), pulled(spec, study)
    calibration = _untaught(spec, config, teacher).config_id
    weights = {term.name: term for term in spec.config_for(study).terms}
    for term in config.terms:
        if term.name not in by_pull and not (term.needs_teacher and term.weight > 0):
            continue
        axes = axes_of(term.name, spec.space_of(study)) if term.name in by_pull else {}
        for option, level, point in Star(weights[term.name], axes).points():
            yield Point(study.name, point, calibration, option, level, option is None)


def _collected(spec: SweepSpec, found: list[Point], teacher: str | None) -> list[Measurement]:
    """The points by calibration."""
    configs: dict[str, TrainConfig] = {}
    for study in spec.studies:
        config = _untaught(spec, _taught(spec, study, teacher), teacher)
        configs.setdefault(config.config_id, config)
    collected = []
    for config_id, config in configs.items():
        terms = {point.key: point.term for point in found if point.calibration == config_id}
        if terms:
            collected.append(Measurement(config, terms))
    return collected


def _taught(spec: SweepSpec, study: Study, teacher: str | None) -> TrainConfig:
    """The study's config with all of its searched terms switched on."""
    pulls = {path: extremes(domain)[-1] for path, domain in spec.space_of(study).items() if path.endswith(f".{PULL}")}
    return spec.config_for(study, pulls, teacher=teacher)


def _untaught(spec: SweepSpec, config: TrainConfig, teacher: str | None) -> TrainConfig:
    """The recipe of a sweep with cross-entropy alone, and what the calibrations of studies differ in."""
    own = {name: getattr(config, name) for name in _OWN}
    changes = {**own, "teacher": teacher if spec.teacher else None}
    changes |= {"ema": Ema(), "stages": Stages()}  # gradients are those of the weights, while the task is learned
    return spec.config_for(_UNTAUGHT).model_copy(update=changes)
