"""The phrases of headlines."""

from enum import StrEnum


class Headline(StrEnum):
    """Phrases of headlines beside the words of ``analysis.stats.judge``; docs/reading-a-report.md has them all."""

    NO_RESULT = "No result"
    SO_FAR = "So far"
    NOT_CONFIRMED = "not confirmed"
    NOT_FINISHED = "no verdict before the sweep has finished"
    BASELINE_WON = "Nothing beat the baseline"
    FIRST = "came out first"
    REFUSED = "not compared with the baseline"
    ABLATION_SEPARATED = "separated from 0"
    ABLATION_NONE = "is separated from 0"
    ABLATION_UNTESTED = "untested"
    ABLATION_NO_LOSS = "No cell is worse than the reference"
    ABLATION_UNPAIRED = "No cell shares a seed with its reference"
