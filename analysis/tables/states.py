"""The words of the columns ``state``, ``phase`` and ``role``: where a trial stands, why it ran, which images it saw."""

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    """Where a trial stands."""

    PLANNED = "planned"
    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    FAILED = "failed"


class Phase(StrEnum):
    """What a trial was trained for: to search, to confirm finalists, or for the final seeds of a frozen selection.

    A trial that is left out was searched before the space of its study was corrected, and no longer counts. Audits are
    not in the table of trials, but in one of their own.
    """

    SEARCH = "search"
    CONFIRM = "confirm"
    FINAL = "final"
    LEFT_OUT = "left_out"
    AUDIT = "audit"


class Control(StrEnum):
    """What a study is a control for: a gain that such a study has as well is no gain of distillation."""

    NONE = "none"
    EQUAL_TIME = "none_equal_time"
    PLACEBO = "placebo"
    SMOOTHED = "smoothed"
    OTHER = "other"


class Role(StrEnum):
    """Which images of the data an evaluation looked at."""

    TRAIN = "train"
    SELECT = "select"
    TEST = "test"


class FailureScore(StrEnum):
    """At which score a training counts that failed on a fresh seed: the one that it reached, or the worst of all."""

    REACHED = "reached"
    WORST = "worst"


ENDED = (State.COMPLETE, State.PRUNED, State.DIVERGED, State.FAILED)
"""States that a trial does not leave by itself."""
BROKEN = (State.DIVERGED, State.FAILED)
"""States of trials that could not be trained to their end."""

ALLOWED: Mapping[tuple[str, str], type[StrEnum]] = {
    ("sweeps", "failures"): FailureScore,
    ("trials", "state"): State,
    ("trials", "phase"): Phase,
    ("audits", "state"): State,
    ("evaluations", "role"): Role,
    ("teachers", "role"): Role,
    ("studies", "control"): Control,
}
"""Per table and column the words that it may hold."""
EARLIER: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("trials", "phase"): {"report": Phase.FINAL},
    ("evaluations", "role"): {"report": Role.TEST},
    ("teachers", "role"): {"report": Role.TEST},
}
"""Per table and column the words of earlier versions, and what they are called now."""


def role(word: str) -> Role:
    """A data role by its name or its earlier name."""
    return Role(EARLIER["evaluations", "role"].get(word, word))


BY_METHOD = ("error",)
"""Of the kinds of failure in the column ``failure``, those that the training code itself has caused."""
