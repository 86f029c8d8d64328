"""Whether more fresh seeds would decide a comparison: the words of a planned look, and what is done after it.

A sweep with planned looks (``analysis.stats.looks``) trains the best config of every study on more seeds until the best
study's word against the baseline is said, or until more seeds would hardly lead to one.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import special

from analysis.formats import missing, share, text
from analysis.selection.compare import compare
from analysis.selection.said import Decision, Said
from analysis.stats.judge import NO_NOISE
from analysis.stats.looks import Looks, alpha_at, looks_of, planned_looks
from analysis.stats.power import first_step
from analysis.stats.seed_contrasts import smallest_effect
from analysis.stats.words import ENOUGH_SEEDS, WORDS
from analysis.tables.files import Tables

FUTILE = 0.1
"""Below this chance of a word at the last planned look no more seeds are trained. With 3, 5, 8 and at most 12 seeds
that saves 54 of 100 trainings where there is no gain, 21 and 29 where the gain is one and two standard deviations, for
10 points and 1 point of the power of 12 seeds (simulated)."""


def decide(tables: Tables) -> Decision:
    """Read the words of a sweep as if it had finished now, and decide whether more seeds are trained.

    Success: the first study beside the baseline, by the mean of its fresh seeds, is separated from the baseline or
    equivalent to it, on ``ENOUGH_SEEDS`` seeds or more. Futility: for no study is the chance of a word at the last
    planned look ``FUTILE`` or more, see ``chance_of_a_word``.
    """
    sweeps = tables["sweeps"].assign(finished=True)
    comparison = compare({**tables, "sweeps": sweeps})
    confirmed = comparison[comparison["confirmed"].astype(bool)]
    baselines, others = confirmed[confirmed["is_baseline"]], confirmed[~confirmed["is_baseline"]]
    others = others.sort_values("control", key=lambda kind: kind.notna(), kind="stable")  # controls decide nothing
    if baselines.empty or others.empty:
        return Decision(False, "no study on fresh seeds can be compared with a baseline, and more seeds do not help")
    baseline, said = baselines.iloc[0]["study"], said_of(others, "study")
    methods = others[others["control"].isna()] if others["control"].isna().any() else others
    differences = [each for each in methods["differences"] if len(each)]
    if not differences or (not said and others["refused"].map(len).all()):
        why = next((reason for reasons in others["refused"] for reason in reasons), "they share no seed with it")
        return Decision(False, f"no study is compared with the baseline {baseline}, and more seeds do not help: {why}")
    most, now = int(sweeps["confirm_most"].iloc[0]), max(map(len, differences))
    level = first_step(final_alpha(now, most, looks_of(sweeps)), len(others))
    decision = follows(said, str(baseline), differences, most, smallest_effect(sweeps), level)
    return with_silent(decision, methods, "study")


def follows(
    said: tuple[Said, ...],
    baseline: str,
    differences: Sequence[Sequence[float]],
    most: int,
    smallest: float,
    level: float,
) -> Decision:
    """What follows from the words.

    Args:
        said: Of every study, the first one first; of studies that lack a planned seed nothing is said.
        baseline: What they are compared with.
        differences: To it, seed by seed, of every study whose gain is of interest.
        most: Seeds at the last planned look.
        smallest: The practical threshold (fraction).
        level: Two-sided level of each comparison at that look.
    """
    first = said[0] if said else None
    if first is not None and first.word != WORDS[1] and first.n >= ENOUGH_SEEDS:
        to = "to" if first.word == WORDS[2] else "from"
        return Decision(False, f"{first.study} is {first.word} {to} the baseline {baseline}", said)
    if max(map(len, differences)) >= most:
        return at_the_most(most, said)
    best = max(chance_of_a_word(each, most, smallest, level) for each in differences)
    what = f"{most} seeds would separate a study from the baseline {baseline}, and as better, or show it equivalent"
    return by_chance(best, what, said)


def with_silent(decision: Decision, rows: pd.DataFrame, name: str) -> Decision:
    """A decision whose reason also says of which rows nothing was said, and why; ``name`` is the column of names."""
    silent = rows[~rows["word"].map(text).astype(bool) & rows["withheld"].map(text).astype(bool)]
    reasons = [f"; no verdict on {row[name]}: {text(row['withheld'])}" for _, row in silent.iterrows()]
    return replace(decision, reason="".join([decision.reason, *reasons]))


def at_the_most(most: int, said: tuple[Said, ...]) -> Decision:
    """What follows where nothing is decided on as many seeds as were planned."""
    return Decision(False, f"not decided on {most} seeds, the most that were planned", said)


def by_chance(best: float, what: str, said: tuple[Said, ...]) -> Decision:
    """Whether more seeds are trained, by the chance that they decide."""
    if best < FUTILE:
        return Decision(
            False, f"more seeds would hardly decide: the chance that {what}, is {share(best)} at most", said
        )
    return Decision(True, f"not decided yet: the chance that {what}, is {share(best)}", said)


def chance_of_a_word(
    differences: Sequence[float], most: int, smallest: float, level: float, either: bool = False
) -> float:
    """The chance that a config is separated, and better, or equivalent at the last look, from its seeds so far.

    Predictive probability (Spiegelhalter et al. 1986) with a flat prior for the difference: the mean over all seeds,
    given the mean over those so far, has Student's t distribution; the spread so far stands for that at the end.

    Args:
        differences: To the baseline, seed by seed.
        most: Seeds at the last look.
        smallest: The practical threshold (in the unit of the differences).
        level: Two-sided level of the comparison at the last look.
        either: Whether it may also be separated as worse.
    """
    n = len(differences)
    if n < 2:
        return 1.0
    if n >= most:
        return 0.0
    mean, sd = float(np.mean(differences)), float(np.std(differences, ddof=1))
    half = float(special.stdtrit(most - 1, 1 - level / 2)) * sd / most**0.5
    spread = sd * ((most - n) / (most * n)) ** 0.5
    if sd < NO_NOISE:
        return 0.0  # no noise was measured, which is no evidence, and more of the same is none either
    separated = special.stdtr(n - 1, (mean - max(smallest, half)) / spread)
    if either:
        separated += special.stdtr(n - 1, (-mean - max(smallest, half)) / spread)
    room = smallest - half
    equivalent = special.stdtr(n - 1, (room - mean) / spread) - special.stdtr(n - 1, (-room - mean) / spread)
    return float(separated + max(0.0, equivalent if room > 0 else 0.0))


def final_alpha(now: int, most: int, looks: Looks) -> float:
    """The familywise error rate of the words at the last planned look, if all looks up to it are taken."""
    for seeds in planned_looks(now, most)[:-1]:
        looks = looks.after(seeds)
    return alpha_at(most, looks)


def said_of(rows: pd.DataFrame, name: str) -> tuple[Said, ...]:
    """What is said of every row of a comparison or an ablation that has a word; ``name`` is the column of names."""
    return tuple(
        Said(row[name], row["word"], float(row["difference"]), float(row["low"]), float(row["high"]), int(row["n"]))
        for _, row in rows.iterrows()
        if text(row["word"]) and not missing(row["low"])
    )
