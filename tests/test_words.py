"""Words that code and docs do not use, since the field has plainer ones, and what is written instead."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PHRASES = {
    r"but came\b": "got",
    r"gone on with": "resumed",
    r"to be had here": "available",
    r"\blest\b": "so that ... does not",
    r"for want of": "because there is no",
    r"colour": "color",
    r"is no teacher folder": "is not a teacher folder",
    r"asked anew": "computed live",
    r"That of the driver": "the driver's environment record",
    r"Those scores": "scores on the role",
}
NAMES = {
    "World": "ProcessGroup",
    "Wanted": "TeacherRequest",
    "Taught": "DistillBatch",
    "Form": "TensorSpec",
    "Shelf": "ReplayStore",
    "Track": "ArrayFile",
    "_Desk": "TuneBridge",
    "Departure": "StopRequest",
    "Left": "Interrupted",
}
FOLDERS = ("kdtrain", "sweeps", "analysis", "benchmarks", "docs")
TEXT = {".py", ".md", ".yaml", ".toml", ".cff", ".sh", ".html", ".css", ".js"}
FILES = [
    path
    for path in (*ROOT.glob("*"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*")))
    if path.suffix in TEXT and path.is_file()
]
CODE = {path: path.read_text() for path in FILES if path.suffix == ".py"}


def places(pattern: str, texts: dict[Path, str]) -> list[str]:
    """The lines in which a pattern stands, a phrase that runs over the end of a line included."""
    spaced = re.compile(pattern.replace(" ", r"\s+"))
    found = [(path, text, match.start()) for path, text in texts.items() for match in spaced.finditer(text)]
    return [f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, start) + 1}" for path, text, start in found]


@pytest.mark.parametrize(("phrase", "instead"), PHRASES.items())
def test_a_phrase_with_a_plainer_word_is_not_used(phrase, instead):
    texts = {path: path.read_text() for path in FILES}
    assert places(phrase, texts) == [], f"write {instead!r}"


@pytest.mark.parametrize(("name", "instead"), NAMES.items())
def test_a_class_is_called_what_the_field_calls_it(name, instead):
    assert places(rf"\b(?:class|import) {name}\b", CODE) == [], f"the name is {instead}"


@pytest.mark.parametrize("package", ["kdtrain", "sweeps", "analysis"])
def test_a_name_means_one_class_of_its_package(package):
    texts = [text for path, text in CODE.items() if ROOT / package in path.parents]
    names = [name for text in texts for name in re.findall(r"^class ([A-Z]\w*)", text, re.MULTILINE)]
    assert len(names) > 10
    assert sorted(name for name, count in Counter(names).items() if count > 1) == []
