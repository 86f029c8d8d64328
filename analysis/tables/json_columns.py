"""The columns of the tables that hold JSON, each read into a type. No other file of `analysis` knows their keys."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import pandas as pd

from analysis.tables import scores
from analysis.tables.domains import Space, parse_domain
from analysis.tables.files import Tables
from analysis.tables.states import FailureScore, Role, role


class SpecField(StrEnum):
    """Fields of a sweep's spec that are compared between sweeps."""

    DATA = "data"
    STUDENT = "student"
    TEACHER = "teacher"
    TRAIN = "train"
    STUDIES = "studies"
    SPACE = "space"
    UNITS = "units"
    BUDGET = "budget"
    SAMPLER = "sampler"
    SCHEDULER = "scheduler"
    SCORE = "score"
    CONFIRM = "confirm"


_LIMITED = ("latency_ms", "params", "macs")
"""Fields of a spec's target that limit the cost of a student."""


@dataclass(frozen=True)
class SpecView:
    """What `analysis` reads of a sweep's spec.

    Attributes:
        shared_space: What every study searches.
        score_evaluations: The evaluations whose mean is the score of a trial.
        smallest_effect: The smallest difference that matters (fraction of mIoU); None in a spec that declares none.
        fields: Plain values by field, for comparisons; a field that the spec lacks is None.
    """

    shared_space: Space
    score_evaluations: int
    smallest_effect: float | None
    fields: Mapping[SpecField, object]

    @property
    def shares_recipe(self) -> bool:
        """Whether a study's search draws on what those of the others have learnt, as ``gp`` and ``prior`` may."""
        sampler = self.fields.get(SpecField.SAMPLER)
        may = isinstance(sampler, Mapping) and sampler.get("name") in ("gp", "prior")
        options = sampler.get("options") if isinstance(sampler, Mapping) and may else None
        return isinstance(options, Mapping) and options.get("share") is True


def read_spec(spec_json: str) -> SpecView:
    """A spec from the column ``spec_json`` of the table ``sweeps``."""
    content = json.loads(spec_json or "{}")
    effect = content.get("smallest_effect")
    fields = {field: content.get(field) for field in SpecField} | {SpecField.UNITS: content.get("units", "weight")}
    score = {"last": 1, **content.get("score", {})}
    fields[SpecField.SCORE] = score
    if isinstance(confirm := fields[SpecField.CONFIRM], dict):
        if "report_seeds" in confirm:
            confirm = {**_without(confirm, "report_seeds"), "final_seeds": confirm["report_seeds"]}
        fields[SpecField.CONFIRM] = {"failures": FailureScore.REACHED.value, **confirm}
    shared, smallest = _space(content.get("space", {})), None if effect is None else effect / 100
    return SpecView(shared, score["last"], smallest, fields)


@dataclass(frozen=True)
class CostLimits:
    """Several limits of what a student may cost, below each of which a sweep finds the best student.

    Attributes:
        figure: What is limited: ``latency_ms``, ``params`` or ``macs``.
        values: The limits, ascending.
    """

    figure: str
    values: tuple[float, ...]


def read_limits(tables: Tables) -> CostLimits | None:
    """The limits of a sweep whose target has several; None for any other sweep."""
    for spec_json in tables["sweeps"]["spec_json"]:
        target = json.loads(spec_json or "{}").get("target") or {}
        several = {name: value for name, value in target.items() if name in _LIMITED and isinstance(value, list)}
        for figure, limits in several.items():
            return CostLimits(figure, tuple(limits))
    return None


def score_in_words(tables: Tables) -> str:
    """What a score of a sweep is, as `scores.in_words`."""
    return scores.in_words(read_spec(tables["sweeps"]["spec_json"].iloc[0]).score_evaluations)


def read_spaces(tables: Tables) -> dict[str, Space]:
    """What each study searches, its own parameters and the shared ones, from the column ``space_json``."""
    studies = tables["studies"]
    return {
        str(study): _space(json.loads(text))
        for study, text in zip(studies["study"], studies["space_json"], strict=True)
    }


def read_defaults(tables: Tables, study: str) -> dict[str, object] | None:
    """The published value of every parameter that a study searches, from ``defaults_json``; None if unknown."""
    studies = tables["studies"]
    stored = studies.loc[studies["study"] == study, "defaults_json"].dropna()
    return None if stored.empty else dict(json.loads(stored.iloc[0]))


@dataclass(frozen=True)
class ConfigId:
    """A config of a study."""

    study: str
    config_id: str


@dataclass(frozen=True)
class FrozenSelection:
    """The selection that nothing can change any more.

    Attributes:
        chosen: The chosen config.
        baseline: The baseline's; None in a sweep without a baseline.
        why: Why this config was chosen.
        seeds: The final seeds.
        role: The role that the final scores are measured on.
        at: When it was frozen (ISO 8601, UTC).
    """

    chosen: ConfigId
    baseline: ConfigId | None
    why: str
    seeds: tuple[int, ...]
    role: Role
    at: str


def read_frozen_selection(tables: Tables) -> FrozenSelection | None:
    """The frozen selection of a sweep, from ``frozen_json``; None as long as nothing is frozen."""
    stored = tables["sweeps"]["frozen_json"].dropna()
    if stored.empty:
        return None
    content = json.loads(stored.iloc[0])
    baseline = content["baseline"]
    return FrozenSelection(
        chosen=_config_id(content["chosen"]),
        baseline=None if baseline is None else _config_id(baseline),
        why=content["why"],
        seeds=tuple(content["seeds"]),
        role=role(content.get("role", Role.TEST)),
        at=content["at"],
    )


@dataclass(frozen=True)
class ConfigView:
    """What `analysis` reads of a trial's config.

    Attributes:
        content: All of it, in plain values.
        uses_teacher: Whether a teacher was shown the images.
        images_per_labelled: Images in a batch, with and without labels, for each that has labels.
        eval_scale: Factor on the size of images at an evaluation.
        crop_area: Pixels of a training crop; None where images are not cropped.
        terms: The names of its losses.
        student: The network, in plain values.
    """

    content: Mapping[str, object]
    uses_teacher: bool
    images_per_labelled: float = 1.0
    eval_scale: float = 1.0
    crop_area: float | None = None
    terms: tuple[str, ...] = ()
    student: Mapping[str, object] = field(default_factory=dict)

    @property
    def student_title(self) -> str:
        """The network in words: architecture and encoder, its options, and its scale where it has one."""
        options = self.student.get("options")
        names = [str(self.student[key]) for key in ("arch", "encoder") if self.student.get(key)]
        given = [f"{name}={value}" for name, value in options.items()] if isinstance(options, Mapping) else []
        scale = [f"scale={self.student['scale']}"] if "scale" in self.student else []
        return " ".join([*names, *given, *scale])


def read_config(config_json: str) -> ConfigView:
    """A config from the column ``config_json`` of the tables ``trials`` and ``selections``."""
    content = json.loads(config_json)
    unlabelled = (content.get("unlabelled") or {}).get("per_batch", 0) / content.get("batch_size", 1)
    crop = (content.get("augment") or {}).get("crop")
    return ConfigView(
        content,
        uses_teacher=content.get("teacher") is not None,
        images_per_labelled=1.0 + unlabelled,
        eval_scale=float(content.get("eval_scale", 1.0)),
        crop_area=float(crop[0] * crop[1]) if crop else None,
        terms=tuple(term.get("name") or term["loss"] for term in content.get("terms", ())),
        student=content.get("student") or {},
    )


def read_value(value_json: str) -> object:
    """The value of a parameter, from ``value_json``: a number, a text, true, false, null or a list."""
    value: object = json.loads(value_json)
    return value


def read_parts(trials: pd.DataFrame) -> pd.DataFrame:
    """Seconds by part, one column each, of trials with a ``parts_json``; missing where a trial lacks a part."""
    return pd.DataFrame([json.loads(text) for text in trials["parts_json"]], index=trials.index, dtype="float64")


def read_versions(versions_json: str) -> dict[str, str]:
    """The versions of installed packages by name, from the column ``versions_json`` of ``environments``."""
    return dict(json.loads(versions_json))


@dataclass(frozen=True)
class CodeVersion:
    """One version of a part of the training code.

    Attributes:
        digest: Of the whole part.
        modules: The digest of every module of it, by name; None where only the whole is known.
    """

    digest: str
    modules: Mapping[str | None, str | None] | None


def read_code(code_json: str) -> dict[str, dict[str, CodeVersion]]:
    """The parts of every version of the code, by its digest and the part's name, from ``code_json`` of ``sweeps``."""
    return {
        code_digest: {part: CodeVersion(version["digest"], version["modules"]) for part, version in parts.items()}
        for code_digest, parts in json.loads(code_json).items()
    }


def read_levels(levels_json: object) -> dict[str, str]:
    """The level of every factor of a design's cell, from ``levels_json``; empty where it is missing."""
    if not isinstance(levels_json, str):
        return {}
    return {name: str(level) for name, level in json.loads(levels_json).items()}


def _space(content: Mapping[str, object]) -> Space:
    return {name: parse_domain(domain) for name, domain in content.items()}


def _config_id(content: Mapping[str, str]) -> ConfigId:
    return ConfigId(content["study"], content["config_id"])


def _without(content: Mapping[str, object], key: str) -> dict[str, object]:
    return {name: value for name, value in content.items() if name != key}
