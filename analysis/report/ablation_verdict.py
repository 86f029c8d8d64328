"""The result of an ablation: first whether its config beats the controls, then which of its parts matter."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.ablation.control_contrasts import ablation_contrasts
from analysis.ablation.effects import CONTROLS
from analysis.ablation.factorial import factorial_effects
from analysis.formats import each, interval, missing, plural, points, signed
from analysis.report.control_lines import controls_line, controls_text
from analysis.report.evidence_lines import what_would_decide
from analysis.report.headline import Headline
from analysis.report.line import Line, Mark, worst
from analysis.selection.control_contrasts import ControlContrast, lacking
from analysis.stats.judge import ENOUGH_SEEDS, WORDS
from analysis.tables.controls import distills
from analysis.tables.files import Tables


@dataclass(frozen=True)
class AblationVerdict:
    """An ablation in words.

    Attributes:
        headline: One sentence without a full stop: the controls, then the parts.
        lines: The controls, where there are any, and the parts.
        mark: How the headline is to be read.
        contrasts: The config beside the controls.
        decide: What would decide about the first doubt; empty where there is none.
    """

    headline: str
    lines: tuple[Line, ...]
    mark: Mark
    contrasts: tuple[ControlContrast, ...] = ()
    decide: str = ""


def ablation_verdict(tables: Tables, frame: pd.DataFrame, finished: bool) -> AblationVerdict:
    """Put an ablation into words.

    Args:
        tables: The tables of the sweep.
        frame: From ``analysis.ablation.effects.ablate``.
        finished: Whether the sweep has finished; nothing is tested before.
    """
    contrasts = tuple(each if finished else each.untested() for each in ablation_contrasts(tables, frame))
    parts = parts_line(tables, frame, finished)
    failed = _failed(frame) if finished else ""
    parts = parts._replace(mark=worst(parts.mark, "amber" if failed else ""))
    short = f"{parts.text.split(';')[0].removesuffix('.')}{failed}"
    absent = lacking(contrasts) if contrasts or distills(tables) else []
    decide = _decide(tables, frame, contrasts) if finished else ""
    if contrasts:
        line = controls_line(contrasts, absent)
        headline = f"{controls_text(contrasts)}; parts: {short[0].lower()}{short[1:]}"
        return AblationVerdict(headline, (line, parts), worst(line.mark, parts.mark), contrasts, decide)
    if absent:
        text = f"None was run: {', '.join(absent)}; without them a gain need not be distillation."
        lines = (parts, Line("Controls", text, "amber"))
        return AblationVerdict(short, lines, worst(parts.mark, "amber"), decide=decide)
    return AblationVerdict(short, (parts,), parts.mark, decide=decide)


def _failed(frame: pd.DataFrame) -> str:
    """How many fresh seeds of the reference and of the cells failed, in brackets; empty where none did."""
    once = frame.drop_duplicates("cell")
    rows = once[once["failed"] > 0].sort_values("role", key=lambda role: role != "reference", kind="stable")
    counts = [f"{row['failed']} of {len(row['seeds'])} of {row['cell']}" for _, row in rows.iterrows()]
    return f" (failed fresh seeds: {', '.join(counts)})" if counts else ""


def _decide(tables: Tables, frame: pd.DataFrame, contrasts: Sequence[ControlContrast]) -> str:
    """What would decide about the first control that leaves a doubt, or else about the parts."""
    cells = frame[(frame["role"] == "cell") & frame["low"].notna()].sort_values("n")
    claims = [
        (f"{each.control} against {each.subject}", each.difference, each.word, each.seeds)
        for each in contrasts
        if each.word is not None
    ]
    claims += [
        (f"{row['cell']} against {row['against']}", float(row["difference"]), str(row["word"]), int(row["n"]))
        for _, row in cells.iterrows()
    ]
    return next((text for claim in claims if (text := what_would_decide(tables, *claim))), "")


def parts_line(tables: Tables, frame: pd.DataFrame, finished: bool) -> Line:
    """The effects of an ablation in a sentence: how many are separated from 0, and the largest.

    Args:
        tables: The tables of the sweep.
        frame: From ``analysis.ablation.effects.ablate``.
        finished: Whether the sweep has finished; no effect is tested before.
    """
    parts = frame[(frame["role"] == "cell") & (frame["family"] != CONTROLS)]
    cells = parts[parts["difference"].notna()].assign(what=lambda rows: rows["cell"])
    factorial = factorial_effects(tables)
    references = frame[frame["role"] == "reference"].set_index("design")["n"]
    factorial = factorial.assign(n=factorial["design"].map(references))
    tested = _tested(factorial, cells) if finished else cells.iloc[:0]
    if finished and tested.empty and (reasons := _reasons(parts)):
        return Line("Ablation", f"{Headline.ABLATION_UNJUDGED}: {reasons}.", "red")
    if cells.empty and factorial.empty:
        return Line("Ablation", f"{Headline.ABLATION_UNPAIRED} yet.", "amber")
    if tested.empty:
        hardest = cells.sort_values("difference", kind="stable").iloc[0]
        if hardest["difference"] >= 0:
            return Line("Ablation", f"{Headline.ABLATION_NO_LOSS} on average.", "amber")
        seeds = f"seed by seed {each(hardest['differences'], sign=True)}"
        against = f"{signed(hardest['difference'])} points against the reference, {Headline.ABLATION_UNTESTED}; {seeds}"
        return Line("Ablation", f"{hardest['what']} is lowest: {against}.", "amber")
    unseen = "" if missing(least := tested["mde"].max()) else f"; {_missed(least)}"
    withheld = cells.loc[cells["withheld"].fillna("") != "", "what"]
    silent = f" ({', '.join(withheld)} {Headline.NO_WORD})" if len(withheld) else ""
    apart = tested[tested["word"] == WORDS[0]]
    if apart.empty:
        none = f"None of {plural(len(tested), 'effect')} {Headline.ABLATION_NONE}"
        return Line("Ablation", f"{none}{silent}{unseen}.", "amber")
    least_n, most_n = int(apart["n"].min()), int(apart["n"].max())
    on = plural(most_n, "seed") if least_n == most_n else f"{least_n} to {most_n} seeds"
    few = f" on {on} alone" if least_n < ENOUGH_SEEDS else ""
    share_apart = f"{len(apart)} of {plural(len(tested), 'effect')} {Headline.ABLATION_SEPARATED}{few}{silent}"
    most = apart.iloc[int(apart["difference"].abs().argmax())]
    largest = f"{most['what']} by most: {signed(most['difference'])} points {interval(most['low'], most['high'])}"
    return Line("Ablation", f"{share_apart}, {largest}{unseen}.", "amber" if few else "")


def _reasons(parts: pd.DataFrame) -> str:
    """Why no part is judged: the reason that most parts share first."""
    clauses = parts["withheld"].fillna("").str.split("; ").explode()
    reasons = list(clauses[clauses != ""].value_counts(sort=True).index)
    more = f" and {plural(len(reasons) - 1, 'other reason')}" if len(reasons) > 1 else ""
    return f"{reasons[0]}{more}" if reasons else ""


def _missed(least: float) -> str:
    return f"a true difference of {points(least)} points would be missed in up to 20 of 100 ablations like this one"


def _tested(effects: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """The effects of all designs that a test has judged: cells against their reference, factors of a factorial."""
    effects = effects.rename(columns={"effect": "what"})
    columns = ["what", "difference", "low", "high", "mde", "word", "n"]
    judged = [part.loc[part["low"].notna() & part["word"].notna(), columns] for part in (cells, effects) if len(part)]
    return pd.concat(judged, ignore_index=True) if judged else pd.DataFrame(columns=columns)
