"""What is said of the studies at a planned look, and what follows from it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Said:
    """What was said of a study at a look; differences are fractions.

    Attributes:
        study: The study.
        word: One of ``analysis.stats.words.WORDS``.
        difference: To the baseline.
        low: Lower end of its interval.
        high: Upper end.
        n: Seeds.
    """

    study: str
    word: str
    difference: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, object]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, object]) -> "Said":
        """From plain values."""
        return cls(**content)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Decision:
    """What follows from a look.

    Attributes:
        goes_on: Whether more seeds are trained.
        reason: Why, in words.
        said: What was said of every study that was compared.
    """

    goes_on: bool
    reason: str
    said: tuple[Said, ...] = ()
