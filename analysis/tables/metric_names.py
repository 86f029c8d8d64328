"""The names in the table ``metrics`` and the parts of a training's seconds: written and read through this file."""

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

MIOU = "miou"
PIXEL_ACCURACY = "pixel_accuracy"
LEARNING_RATE = "lr"
PEAK_MEMORY = "peak_memory_bytes"
TEACHER_IMAGES = "teacher_images"
"""Images that the teacher was shown in the epoch."""

_TERM = "term/"

TOTAL = "total"
"""What the training itself took in an epoch."""
INSIDE = ("data", "teacher", "student", "losses", "gradients", "backward", "optimizer", "evaluate")
"""Parts of an epoch's seconds within its `TOTAL`."""
OUTSIDE = ("checkpoint", "start")
"""Parts on top of `TOTAL` that every training has."""
ONCE = ("record", "record_teacher", "wait")
"""Parts that serve all trainings: recording samples and teacher maps, waiting for other trials that record."""


class TermPart(StrEnum):
    """What is known of a loss term in an epoch."""

    RAW = "raw"
    WEIGHTED = "weighted"
    GRADIENT = "gradient"
    GRADIENT_SHARE = "gradient_share"


def term_metric(term: str, part: str) -> str:
    """The metric of one part of a loss term: ``term/kd/raw``."""
    return f"{_TERM}{term}/{part}"


def seconds_metric(part: str) -> str:
    """The metric of one part of an epoch's seconds: ``seconds/data``."""
    return f"seconds/{part}"


def is_term(names: "pd.Series") -> "pd.Series":
    """Which metrics are parts of a loss term."""
    return names.str.startswith(_TERM)


def parse_terms(names: "pd.Series") -> "pd.DataFrame":
    """The columns ``term`` and ``part`` of metrics that are parts of a loss term; missing for others."""
    return names.str.extract("^" + term_metric("(?P<term>.+)", "(?P<part>[^/]+)") + "$")
