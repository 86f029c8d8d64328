"""One line of a verdict, with its severity."""

from typing import Literal, NamedTuple

Mark = Literal["", "amber", "red"]
"""The severity of a line: red if the result must not be used, amber if it must be read with care."""


class Line(NamedTuple):
    """One line of the verdict."""

    label: str
    text: str
    mark: Mark = ""


def worst(*marks: Mark) -> Mark:
    """The most severe of some marks."""
    return max(marks, key=("", "amber", "red").index)
