"""The plan of a sweep: its trials and their cost, and what a reader should know before it starts."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.formats import big, gigabytes
from kdtrain.config import Machine
from kdtrain.data.census import Seen
from kdtrain.models import Network, normalization_remarks
from kdtrain.space import Choice
from sweeps.check import Checked, check, foreign_notice
from sweeps.cost import cost_of, disk_of_trial, macs_of
from sweeps.driver import warm_start
from sweeps.driver.allocation import GOOD_SPLIT, confirms, count_final_runs, is_good_split
from sweeps.driver.idle_settings import idle_settings
from sweeps.driver.space_check import check_space
from sweeps.spec.calibrations import outside_of_space, pulled
from sweeps.spec.spec import SweepSpec
from sweeps.study_plan import StudyPlan, study_lines, study_plan

if TYPE_CHECKING:
    from sweeps.designs.forecast import Forecast

_OPTIONS = "student.options."
"""What the paths of options of an architecture begin with, which change no normalization."""


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
    bytes_of_trial: int
    """What a trial takes on the disk."""
    macs: float | None
    """Multiply-accumulates of all training, forward and backward, the teacher's forward included."""
    final_runs: int
    """Trainings on final seeds after the selection is frozen; not among the trials."""
    ablation: "Forecast | None" = None
    """The effects that an ablation could find."""
    target: str | None = None
    """What the student may cost."""
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
        saved = (study.runs_after_first_look + study.audits + study.trials - study.unstopped for study in self.studies)
        return self.trials - sum(saved)

    @property
    def disk_bytes(self) -> int:
        """What all trials take on the disk, at most."""
        return self.trials * self.bytes_of_trial

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

    def _gigabytes(self) -> str:
        most = gigabytes(self.disk_bytes, 2)
        least = gigabytes(self.least_trials * self.bytes_of_trial, 2)
        return most if least == most else f"{least} to {most}"

    def render(self) -> str:
        """The plan as text."""
        lines = [f"sweep {self.name} on {self.data}; teacher: {self.teacher}", "", *study_lines(self.studies)]
        lines += ["", f"target: {self.target}"] if self.target else []
        lines += ["", *self.warm_start] if self.warm_start else []
        parts = [
            f"{self._at_least()}at most {self.trials} trials and {self.epochs} epochs of "
            f"{self.checked.images['train']} images"
        ]
        if self.teacher_epochs:
            parts.append(f"before them {self.teacher_epochs} epochs of the teacher")
        if self.final_runs:
            parts.append(f"after the selection is frozen {self.final_runs} runs on final seeds at most")
        lines += ["", "; ".join(parts)]
        if self.search_share is not None and not is_good_split(self.search_share):
            lines.append(
                f"of the epochs of the studies that search, {self.search_share:.0%} are for the search and "
                f"{1 - self.search_share:.0%} for fresh seeds ({GOOD_SPLIT})"
            )
        compute = "" if self.macs is None else f"; about {big(self.macs)} multiply-accumulates in all trials"
        lines.append(f"disk: about {self._gigabytes()} GB{compute}")
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
    studies = tuple(study_plan(spec, study) for study in spec.studies)
    fit = spec.teacher_config
    images = ", ".join(f"{count} {role}" for role, count in checked.images.items())
    student = cost_of(spec.student, checked)
    teacher = cost_of(checked.teacher, checked) if checked.teacher else None
    normalizations, differing = _normalizations(spec, checked.teacher)
    return Plan(
        name=spec.name,
        data=f"{spec.data.name}, {images} images, {len(checked.classes)} classes",
        teacher=_teacher_text(spec),
        teacher_epochs=fit.epochs if fit else 0,
        studies=studies,
        checked=checked,
        warnings=(*differing, *checked.one_sided, *_warnings(spec, checked)),
        bytes_of_trial=disk_of_trial(spec, student),
        macs=macs_of(spec, studies, checked, student, teacher),
        final_runs=count_final_runs(spec),
        ablation=_forecast(spec),
        normalizations=normalizations,
        target=spec.target.in_words if spec.target else None,
        warm_start=tuple(warm_start.lines_about(spec)),
    )


def _forecast(spec: SweepSpec) -> "Forecast | None":
    if not spec.cells:
        return None
    from sweeps.designs.forecast import forecast  # imports pandas

    return forecast(spec)


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
            if path.startswith("student.") and not path.startswith(_OPTIONS) and isinstance(domain, Choice)
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
        if not pulled(spec, study) and (sentence := outside_of_space(spec, study)) is not None:
            yield sentence
        if (sentence := check_space(spec, study, checked.config).sentence()) is not None:
            yield sentence
