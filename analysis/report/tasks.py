"""Sweeps sorted into tasks. A task is a data set with a student and a teacher; its sweeps are measured alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.report.comparable import check_comparable
from analysis.report.findings import Findings
from analysis.tables.json_columns import SpecField, read_spec

_PLACES = ("folders", "shards", "annotations")
"""Fields of a data set that say where the user's images lie."""


@dataclass(frozen=True)
class Task:
    """Sweeps that ask about the same data, student and teacher.

    Attributes:
        name: In words; another one for each task.
        findings: Of its sweeps.
        labels: Names of its sweeps.
    """

    name: str
    findings: tuple[Findings, ...]
    labels: tuple[str, ...]


def tasks_of(all_findings: Sequence[Findings], labels: Sequence[str]) -> list[Task]:
    """The tasks of sweeps, in the order of their first sweeps.

    Raises:
        AnalysisError: Sweeps with the same data, student and teacher have other classes or images of role select.
    """
    groups: list[list[int]] = []
    for place, findings in enumerate(all_findings):
        group = next((group for group in groups if _same(all_findings[group[0]], findings)), None)
        if group is None:
            groups.append([place])
            continue
        check_comparable(all_findings[group[0]], findings, (labels[group[0]], labels[place]))
        group.append(place)
    names = _names([all_findings[group[0]] for group in groups])
    return [
        Task(name, tuple(all_findings[place] for place in group), tuple(labels[place] for place in group))
        for name, group in zip(names, groups, strict=True)
    ]


def _same(one: Findings, other: Findings) -> bool:
    mine, theirs = _fields(one), _fields(other)
    same_teacher = mine[SpecField.TEACHER] == theirs[SpecField.TEACHER] or (
        bool(_teachers(one)) and _teachers(one) == _teachers(other)
    )
    return same_teacher and mine[SpecField.STUDENT] == theirs[SpecField.STUDENT] and _data(one) == _data(other)


def _fields(findings: Findings) -> Mapping[SpecField, object]:
    return read_spec(findings.tables["sweeps"]["spec_json"].iloc[0]).fields


def _data(findings: Findings) -> tuple[str, object]:
    """Which data set: its name and its places. The same images at another size are no other data set."""
    data = _fields(findings)[SpecField.DATA]
    content = data if isinstance(data, dict) else {}
    places = [content.get(field) for field in _PLACES]
    return str(findings.tables["sweeps"]["data_name"].iloc[0]), places


def _teachers(findings: Findings) -> frozenset[str]:
    return frozenset(findings.tables["teachers"]["digest"])


def _names(firsts: Sequence[Findings]) -> list[str]:
    """The data set, then the student, then the teacher, as far as they tell the tasks apart; else the sweep's name."""
    data = [str(findings.tables["sweeps"]["data_name"].iloc[0]) for findings in firsts]
    students = [_network(_fields(findings)[SpecField.STUDENT]) for findings in firsts]
    teachers = [", ".join(dict.fromkeys(map(str, findings.tables["teachers"]["name"]))) for findings in firsts]
    parts = [column for column in (data, students, teachers) if len(set(column)) > 1]
    names = [" / ".join(filter(None, row)) for row in zip(*parts, strict=True)] if parts else [""] * len(firsts)
    sweeps = [str(findings.tables["sweeps"]["name"].iloc[0]) for findings in firsts]
    if len(set(names)) < len(names):
        names = [f"{name} ({sweep})".strip() for name, sweep in zip(names, sweeps, strict=True)]
    if len(set(names)) < len(names):
        names = [f"{name} {place}" for place, name in enumerate(names, start=1)]
    return names


def _network(student: object) -> str:
    if not isinstance(student, dict):
        return ""
    return " ".join(str(student[key]) for key in ("arch", "encoder") if student.get(key))
