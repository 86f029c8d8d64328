"""The result of an ablation in one line."""

import pandas as pd

from analysis.ablation.factorial import factorial_effects
from analysis.formats import each, interval, missing, plural, points, signed
from analysis.report.headline import Headline
from analysis.report.line import Line
from analysis.stats.judge import WORDS
from analysis.tables.files import Tables


def ablation_line(tables: Tables, frame: pd.DataFrame, finished: bool) -> Line:
    """The effects of an ablation in a sentence: how many are separated from 0, and the largest.

    Args:
        tables: The tables of the sweep.
        frame: From ``analysis.ablation.effects.ablate``.
        finished: Whether the sweep has finished; no effect is tested before.
    """
    cells = frame[(frame["role"] == "cell") & frame["difference"].notna()].assign(what=lambda rows: rows["cell"])
    if cells.empty:
        return Line("Ablation", f"{Headline.ABLATION_UNPAIRED} yet.", "amber")
    tested = _tested(tables, cells) if finished else cells.iloc[:0]
    if tested.empty:
        hardest = cells.sort_values("difference", kind="stable").iloc[0]
        if hardest["difference"] >= 0:
            return Line("Ablation", f"{Headline.ABLATION_NO_LOSS} on average.", "amber")
        seeds = f"seed by seed {each(hardest['differences'], sign=True)}"
        against = f"{signed(hardest['difference'])} points against the reference, {Headline.ABLATION_UNTESTED}; {seeds}"
        return Line("Ablation", f"{hardest['what']} is lowest: {against}.", "amber")
    unseen = "" if missing(least := tested["mde"].max()) else f"; smallest detectable effect {points(least)}"
    apart = tested[tested["word"] == WORDS[0]]
    if apart.empty:
        none = f"None of {plural(len(tested), 'effect')} {Headline.ABLATION_NONE}"
        return Line("Ablation", f"{none}{unseen}.", "amber")
    share_apart = f"{len(apart)} of {plural(len(tested), 'effect')} {Headline.ABLATION_SEPARATED}"
    most = apart.iloc[int(apart["difference"].abs().argmax())]
    largest = f"{most['what']} by most: {signed(most['difference'])} points {interval(most['low'], most['high'])}"
    return Line("Ablation", f"{share_apart}, {largest}{unseen}.")


def _tested(tables: Tables, cells: pd.DataFrame) -> pd.DataFrame:
    """The effects of all designs that a test has judged: cells against their reference, factors of a factorial."""
    effects = factorial_effects(tables).rename(columns={"effect": "what"})
    columns = ["what", "difference", "low", "high", "mde", "word"]
    judged = [part.loc[part["low"].notna() & part["word"].notna(), columns] for part in (cells, effects) if len(part)]
    return pd.concat(judged, ignore_index=True)
