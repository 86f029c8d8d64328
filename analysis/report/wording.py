"""What is said of one config beside another: the word of the test and its numbers, in one clause for all sentences."""

from dataclasses import dataclass

import pandas as pd

from analysis.formats import interval, missing, plural, points, share, signed, text
from analysis.stats.words import ENOUGH_SEEDS, WORDS

SEPARATED, NOT_SEPARATED, EQUIVALENT = WORDS


@dataclass(frozen=True)
class Wording:
    """A word with its numbers. Scores are fractions 0..1.

    Attributes:
        word: One of ``analysis.stats.judge.WORDS``.
        difference: To the config that it is compared with.
        low: Lower end of its interval.
        high: Upper end.
        seeds: On how many seeds.
        weakened: Why failed trainings took a stronger word; empty where they did not.
    """

    word: str
    difference: float
    low: float
    high: float
    seeds: int
    weakened: str = ""

    @property
    def better(self) -> bool:
        """Whether it is separated from the other and better."""
        return self.word == SEPARATED and self.difference > 0

    @property
    def worse(self) -> bool:
        """Whether it is separated from the other and worse."""
        return self.word == SEPARATED and self.difference < 0

    @property
    def few(self) -> bool:
        """Whether the seeds are too few for a word without a reservation."""
        return self.seeds < ENOUGH_SEEDS

    @property
    def reservation(self) -> str:
        """On how few seeds a word other than *not separated* rests; empty if they are enough."""
        return f" on {plural(self.seeds, 'seed')} alone" if self.few and self.word != NOT_SEPARATED else ""

    @property
    def in_table(self) -> str:
        """The word in a cell of a table."""
        return f"{self.word}, worse" if self.worse else self.word

    @property
    def numbers(self) -> str:
        """The difference with its interval."""
        return f"{signed(self.difference)} points {interval(self.low, self.high)}"

    def clause(self, of: str) -> str:
        """The word, the difference, its interval and the seeds: ``separated from the baseline none: +1.20 points ...``.

        Args:
            of: The config that it is compared with.
        """
        sides = f"{self.word} {'to' if self.word == EQUIVALENT else 'from'} {of}{', and worse' if self.worse else ''}"
        seeds = plural(self.seeds, "seed")
        if self.reservation:
            return f"{sides}{self.reservation}: {self.numbers}"
        failed = ", since trainings failed" if self.weakened else ""
        return f"{sides}: {self.numbers} over {seeds}{failed}"


def wording_of(row: pd.Series) -> Wording | None:
    """What a row of ``compare`` says of its config beside the baseline; None where it says nothing."""
    word = text(row.get("word"))
    if not word or not interval(row.get("low"), row.get("high")):
        return None
    seeds = len(row["differences"]) or int(row["n"])
    return Wording(word, row["difference"], row["low"], row["high"], seeds, text(row.get("withheld")).rstrip("."))


def missed(row: pd.Series) -> str:
    """How often a difference would be missed on as many seeds, as a clause; empty where that is not known."""
    least = row.get("mde")
    if missing(least):
        return ""
    return f"a true difference of {points(least)} points would be missed in 20 of 100 sweeps"


def success(row: pd.Series) -> str:
    """How many fresh seeds of a config were trained without a failure, as a sentence; empty before the first."""
    if missing(row.get("success")) or not row["confirmed"]:
        return ""
    trained, low, high = round(row["success"] * row["n"]), share(row["success_low"]), share(row["success_high"])
    return f" {trained} of {plural(int(row['n']), 'seed')} without a failure (chance of success {low} to {high})."


def cell_role(row: pd.Series) -> str:
    """What a cell of an ablation is beside a config with a change: the reference, a control, or both; else empty."""
    return ", ".join(["reference"] * (row["role"] == "reference") + ["control"] * bool(text(row["control"])))


def not_the_reference(row: pd.Series, design: pd.DataFrame) -> str:
    """What the difference of a cell is to, in brackets, where that is not the reference of its design."""
    references = set(design.loc[design["role"] == "reference", "cell"])
    return f" (minus {row['against']})" if text(row["against"]) and row["against"] not in references else ""


def refusal(row: pd.Series) -> str:
    """Why a study may not be compared with the baseline; empty if it may."""
    reasons = row.get("refused")
    if isinstance(reasons, str):
        return reasons
    return "; ".join(reasons) if isinstance(reasons, list | tuple) else ""
