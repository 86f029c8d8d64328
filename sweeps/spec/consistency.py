"""What the parts of a spec demand of each other: each check raises an error that names the field to change."""

import contextlib
import itertools
import math
from typing import TYPE_CHECKING, Any

from kdtrain.errors import InputError
from kdtrain.explain import did_you_mean
from kdtrain.redact import has_secret
from sweeps.spec.overrides import overlap
from sweeps.spec.paths import extremes
from sweeps.spec.pulls import PULL, counterpart
from sweeps.spec.study import Study

if TYPE_CHECKING:
    from sweeps.spec.spec import SweepSpec

TRACKERS_SETTING = "KDSWEEP_TRACKERS"
"""The environment variable that adds trackers to those of a spec."""
DECIDED_ELSEWHERE = ("data", "student", "teacher", "terms", "seed")
"""Fields of a TrainConfig that the spec decides elsewhere than under `train`."""
_FIXED = ("data", "teacher", "seed", "data_seed")
"""Fields that no study may change, or trials could not be compared."""
_MOST_CORNERS = 64
"""Corners of a space that are tried for a value that is not valid alone."""


def check_fields(spec: "SweepSpec") -> None:
    """Refuse a recipe with fields of the sweep, two studies of a name or two baselines, and cells without a study."""
    for key in DECIDED_ELSEWHERE:
        if key in spec.train:
            raise ValueError(f"train.{key}: belongs to the sweep, not to its recipe")
    names = [study.name for study in spec.studies]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"studies: the names must differ, but {', '.join(twice)} comes twice")
    if sum(study.baseline for study in spec.studies) > 1:
        raise ValueError("studies: only one study can be the baseline")
    if unknown := [cell.study for cell in spec.cells if cell.study not in names]:
        raise ValueError(f"cells: there is no study {unknown[0]}{did_you_mean(unknown[0], names)}")


def check_trackers(spec: "SweepSpec") -> None:
    """Refuse keys, tokens and passwords in the options of trackers, because a spec is recorded and shown."""
    for tracker in spec.trackers:
        for name, value in tracker.options.items():
            if isinstance(value, str) and has_secret(f"{name}={value}"):
                raise ValueError(
                    f"trackers.{tracker.name}.{name}: must hold no key, token or password, since a spec is recorded; "
                    f"write the tracker into the environment variable {TRACKERS_SETTING} instead, or the password into "
                    "the variable that its library reads"
                )


def check_controls(spec: "SweepSpec") -> None:
    """Refuse a control that is the baseline or a reference, and a control of a design that says that it is none."""
    declared = {cell.study for cell in spec.cells if cell.role == "control"}
    references = {cell.study for cell in spec.cells if cell.role == "reference"}
    for study in spec.studies:
        at = f"studies.{study.name}.control"
        if study.control and (study.baseline or study.name in references):
            kind = "baseline" if study.baseline else "reference of a design"
            raise ValueError(f"{at}: must be false or null for the {kind}, got true")
        if study.control is False and study.name in declared:
            raise ValueError(f"{at}: must be true or null for a cell with the role control, got false")


def check_paths(spec: "SweepSpec", study: Study) -> None:
    """Refuse paths that may not differ between trials, and paths that are both set and searched."""
    at = f"studies.{study.name}"
    given = {} if study.space == "default" else study.space
    searched = spec.space_as_written(study)
    for path in (*study.set, *searched):
        if path.split(".")[0] in _FIXED:
            raise InputError(f"{at}: {path} is the same for all trials of a sweep and can be neither set nor searched")
    for path in study.set:
        if any(overlap(path, other) for other in (*spec.space, *given)):
            raise InputError(f"{at}: {path} is both set and searched")
    for path in (decided := {**study.set, **spec.space, **given}):
        if path.endswith(f".{PULL}") and (weight := counterpart(path)) in decided:
            raise InputError(f"{at}: give {path} or {weight}, which are two units of the same number, not both")
    if {"unlabelled", "unlabelled.images"} & set(searched):
        raise InputError(f"{at}: unlabelled.images cannot be searched; set it in separate studies")
    if "epochs" in searched:
        raise InputError(f"{at}: epochs cannot be searched, because trials of different length cannot be compared")


def check_search(spec: "SweepSpec", study: Study) -> None:
    """Refuse a study whose config is not valid, or that searches a value that is valid nowhere."""
    config = spec.config_for(study)
    if config.uses_teacher and spec.teacher is None:
        term = next(term.name for term in config.active_terms if term.needs_teacher)
        raise InputError(
            f"studies.{study.name}: {term} needs a teacher, but the sweep has none; "
            "give teacher: {path: ...} or teacher: {fit: ...}"
        )
    for path, domain in spec.space_of(study).items():
        for value in extremes(domain):
            _check_searched(spec, study, path, value)


def check_repeats(spec: "SweepSpec", study: Study) -> None:
    """Refuse a budget that does not hold one trial for each search of a study."""
    repeats = spec.repeats_of(study)
    if repeats == 1:
        return
    epochs = spec.config_for(study).epochs
    for field, given, least, each in (
        ("trials", spec.budget.trials, repeats, "one trial"),
        ("epochs", spec.budget.epochs, repeats * epochs, f"one trial of {epochs} epochs"),
    ):
        if given is not None and given < least:
            raise InputError(
                f"budget.{field}: must be at least {least}, {each} for each of the {repeats} searches that repeats "
                f"asks for in the study {study.name}, got {given}; raise budget.{field} or lower repeats"
            )


def check_score(spec: "SweepSpec", study: Study) -> None:
    """Refuse a score that is the mean of more evaluations than a training of a study has."""
    config, searched = spec.config_for(study), spec.space_of(study).get("evaluate_every")
    every = config.evaluate_every if searched is None else max(extremes(searched))
    if spec.score.last > (most := math.ceil(config.epochs / every)):
        raise InputError(
            f"score.last: must be at most {most}, the evaluations of a training of the study {study.name} "
            f"({config.epochs} epochs, evaluated every {every}), got {spec.score.last}; lower it or evaluate_every"
        )


def check_baseline(spec: "SweepSpec") -> None:
    """Refuse a comparison whose only candidates for a baseline are controls, and a baseline that alone is not tuned."""
    if spec.purpose != "search":
        return
    baseline = spec.baseline
    if baseline is None and (untaught := spec.untaught):
        raise ValueError(
            f"studies.{untaught[0].name}.control: must be false or null for the baseline, the first study "
            "without a teacher, got true; leave control out, or add a study without a teacher that is no control"
        )
    if baseline is not None and not spec.space_of(baseline):
        tuned = [study.name for study in spec.studies if spec.space_of(study)]
        if tuned:
            raise ValueError(
                f"studies.{baseline.name}: the baseline searches nothing while {tuned[0]} does, which "
                "makes any gain unfair; give all studies a shared space, for instance "
                "space: {optimizer.lr: {low: 0.005, high: 0.1, log: true}}"
            )


def _check_searched(spec: "SweepSpec", study: Study, path: str, value: Any) -> None:
    """Raise InputError if a searched value is not valid, neither alone nor with other values that are searched."""
    try:
        spec.config_for(study, {path: value})
    except InputError:
        ends = {other: extremes(domain) for other, domain in spec.space_of(study).items() if other != path}
        pairs = ({other: end} for other, values in ends.items() for end in values)
        corners = (dict(zip(ends, corner, strict=True)) for corner in itertools.product(*ends.values()))
        for others in itertools.chain(pairs, itertools.islice(corners, _MOST_CORNERS)):
            with contextlib.suppress(InputError):
                spec.config_for(study, {**others, path: value})
                return
        raise
