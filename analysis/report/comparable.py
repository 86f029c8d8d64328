"""Whether sweeps can be compared, and what differs between them, in words."""

import json
from collections.abc import Iterable, Mapping, Sequence

from analysis.errors import AnalysisError
from analysis.formats import plural
from analysis.report.findings import Findings
from analysis.tables.json_columns import SpecField, read_spec
from analysis.tables.states import Role

_SHOWN = 3
"""Names of classes and files in a sentence."""
_LONGEST = 60
"""Characters of a value in a sentence."""


def check_comparable(first: Findings, second: Findings, labels: tuple[str, str]) -> None:
    """Check that two sweeps have the same classes, the same images of role select, and mean the same by a score.

    Raises:
        AnalysisError: They have not; the sentence says what differs.
    """
    one, other = (list(findings.tables["sweeps"]["classes"].iloc[0]) for findings in (first, second))
    if one != other:
        raise AnalysisError(
            f"sweeps with other classes cannot be compared: {_classes(one, other, labels)}{_settings(first, second)}"
        )
    digests, others = _digests(first), _digests(second)
    if digests and others and digests != others:
        raise AnalysisError(
            f"scores on other images cannot be compared: role select of {labels[0]} and of {labels[1]} differ: "
            f"{_images(first, second, labels)}{_settings(first, second)}"
        )
    if first.score != second.score:
        raise AnalysisError(
            f"scores that mean different things cannot be compared: {labels[0]} has {first.score}, and {labels[1]} "
            f"{second.score}"
        )


def differences(specs: Sequence[Mapping[str, object]]) -> list[str]:
    """The dotted paths at which specs differ, each with the values of all of them, in plain values."""
    found: dict[str, list[object]] = {}
    leaves = [dict(_leaves(spec)) for spec in specs]
    for path in dict.fromkeys(path for each in leaves for path in each):
        values = [each.get(path) for each in leaves]
        if any(value != values[0] for value in values):
            found[path] = values
    return [f"{path} ({', '.join(map(_short, values))})" for path, values in found.items()]


def _classes(one: list[str], other: list[str], labels: tuple[str, str]) -> str:
    parts = [f"{label} has {len(names)}" for label, names in zip(labels, (one, other), strict=True)]
    for label, mine, theirs in ((labels[0], one, other), (labels[1], other, one)):
        if only := [name for name in mine if name not in theirs]:
            parts.append(f"only {label} has {_listed(only)}")
    if sorted(one) == sorted(other):
        place = next(index for index, (mine, theirs) in enumerate(zip(one, other, strict=True)) if mine != theirs)
        parts.append(f"the same in another order, from id {place} on ({one[place]}, {other[place]})")
    return "; ".join(parts)


def _images(first: Findings, second: Findings, labels: tuple[str, str]) -> str:
    one, other = _image_ids(first), _image_ids(second)
    parts = []
    for label, mine, theirs in ((labels[0], one, other), (labels[1], other, one)):
        if only := sorted(mine - theirs):
            parts.append(f"{plural(len(only), 'image')} of {len(mine)} only in {label} ({_listed(only)})")
    if not one or not other:
        every = [findings.tables["evaluations"] for findings in (first, second)]
        counts = [set(evaluations.loc[evaluations["role"] == Role.SELECT, "n_images"]) for evaluations in every]
        return (
            f"{' and '.join('/'.join(map(str, sorted(each))) for each in counts)} images, whose names are not recorded"
        )
    return (
        "; ".join(parts) or f"their {plural(len(one), 'image')} have the same names, but other pixels, labels or sizes"
    )


def _image_ids(findings: Findings) -> set[str]:
    """The images of one evaluation on role select whose images are recorded."""
    evaluations = findings.tables["evaluations"]
    for eval_id in evaluations.loc[evaluations["role"] == Role.SELECT, "eval_id"]:
        if len(rows := findings.rows("confusion", "eval_id", [eval_id])):
            return set(rows["image_id"])
    return set()


def _settings(first: Findings, second: Findings) -> str:
    """The fields of the data that differ in the specs."""
    specs = [
        {"data": read_spec(findings.tables["sweeps"]["spec_json"].iloc[0]).fields[SpecField.DATA]}
        for findings in (first, second)
    ]
    differing = differences(specs)
    return f"; the specs differ in {', '.join(differing)}" if differing else ""


def _digests(findings: Findings) -> set[str]:
    evaluations = findings.tables["evaluations"]
    return set(evaluations.loc[evaluations["role"] == Role.SELECT, "data_digest"])


def _leaves(value: object, path: str = "") -> Iterable[tuple[str, object]]:
    """All values that are no mappings, by dotted path; a list of named items counts as a mapping."""
    if isinstance(value, list) and value and all(isinstance(item, Mapping) and "name" in item for item in value):
        value = {str(item["name"]): item for item in value}
    if not isinstance(value, Mapping) or not value:
        yield path, value
        return
    for key, each in value.items():
        yield from _leaves(each, f"{path}.{key}" if path else str(key))


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
