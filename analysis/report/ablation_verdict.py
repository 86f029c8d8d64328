"""The result of an ablation: first whether its config beats the controls, then which of its parts matter."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.ablation.control_contrasts import ablation_contrasts
from analysis.ablation.effects import CONTROLS
from analysis.ablation.factorial import factorial_effects
from analysis.formats import each, interval, missing, plural, points, signed
from analysis.report.control_lines import controls_clauses, controls_line, unsupported
from analysis.report.evidence_lines import what_would_decide
from analysis.report.headline import Headline
from analysis.report.line import Line, Mark, worst
from analysis.selection.control_contrasts import ControlContrast, lacking
from analysis.stats.words import ENOUGH_SEEDS, WORDS
from analysis.tables.controls import distills, subject_of_group
from analysis.tables.files import Tables
from analysis.tables.json_columns import read_config

_NAMES = ("effect", "contrast")


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
    absent = lacking(contrasts) if contrasts or distills(tables) else []
    lines = [parts]
    if contrasts:
        lines.insert(0, controls_line(contrasts, absent))
    elif absent:
        lines.append(Line("Controls", f"None was run: {unsupported(absent)}.", "amber"))
    short = f"{parts.text.split(';')[0].removesuffix('.')}{failed}"
    clauses = [*controls_clauses(contrasts), f"{'parts: ' if contrasts else ''}{short[0].lower()}{short[1:]}"]
    headline = f"{'Ablation' if finished else 'ablation'} of {_subject(tables, frame)}: {'; '.join(clauses)}"
    decide = _decide(tables, frame, contrasts) if finished else ""
    return AblationVerdict(headline, tuple(lines), worst(*(line.mark for line in lines)), contrasts, decide)


def _subject(tables: Tables, frame: pd.DataFrame) -> str:
    """The config that is taken apart, by its losses; without losses by its study."""
    groups = tables["cells"].groupby("design", sort=False)
    subject = next(filter(None, (subject_of_group(group) for _, group in groups)), str(frame["cell"].iloc[0]))
    configs = tables["trials"].loc[tables["trials"]["study"] == subject, "config_json"]
    terms = read_config(configs.iloc[0]).terms if len(configs) else ()
    return " + ".join(terms) or subject


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
        (f"{each.name} against {each.subject}", each.difference, each.word, each.seeds)
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
    cells = parts[parts["difference"].notna()].assign(what=lambda rows: rows["cell"] + " minus " + rows["against"])
    factorial = factorial_effects(tables)
    references = frame[frame["role"] == "reference"].set_index("design")["n"]
    named = [f"{effect} ({how})" if how else effect for effect, how in zip(*map(factorial.get, _NAMES), strict=True)]
    factorial = factorial.assign(n=factorial["design"].map(references), what=named)
    tested = _tested(factorial, cells) if finished else cells.iloc[:0]
    if finished and tested.empty and (reasons := _reasons(parts)):
        return Line("Ablation", f"{Headline.ABLATION_UNJUDGED.capitalize()}: {reasons}.", "red")
    if cells.empty and factorial.empty:
        return Line("Ablation", f"{Headline.ABLATION_UNPAIRED.capitalize()} yet.", "amber")
    if tested.empty:
        hardest = cells.sort_values("difference", kind="stable").iloc[0]
        if hardest["difference"] >= 0:
            return Line("Ablation", f"{Headline.ABLATION_NO_LOSS.capitalize()} on average.", "amber")
        seeds = f"seed by seed {each(hardest['differences'], sign=True)}"
        mean = f"{signed(hardest['difference'])} points, {Headline.ABLATION_UNTESTED}"
        return Line("Ablation", f"The lowest: {hardest['what']}, {mean}; {seeds}.", "amber")
    unseen = "" if missing(least := tested["mde"].max()) else f"; {_missed(least)}"
    withheld = cells.loc[cells["withheld"].fillna("") != "", "cell"]
    silent = f" ({Headline.NO_WORD} on {', '.join(withheld)})" if len(withheld) else ""
    apart = tested[tested["word"] == WORDS[0]]
    if apart.empty:
        alone = f"The only effect {Headline.ABLATION_NOT}"
        none = alone if len(tested) == 1 else f"None of {len(tested)} effects {Headline.ABLATION_NONE}"
        return Line("Ablation", f"{none}{silent}{unseen}.", "amber")
    least_n, most_n = int(apart["n"].min()), int(apart["n"].max())
    on = plural(most_n, "seed") if least_n == most_n else f"{least_n} to {most_n} seeds"
    few = f" on {on} alone" if least_n < ENOUGH_SEEDS else ""
    share_apart = f"{len(apart)} of {plural(len(tested), 'effect')} {Headline.ABLATION_SEPARATED}{few}{silent}"
    most = apart.iloc[int(apart["difference"].abs().argmax())]
    largest = f"{most['what']}, {signed(most['difference'])} points {interval(most['low'], most['high'])}"
    begin = ": " if len(apart) == 1 else ", the largest: "
    return Line("Ablation", f"{share_apart}{begin}{largest}{unseen}.", "amber" if few else "")


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
    columns = ["what", "difference", "low", "high", "mde", "word", "n"]
    judged = [part.loc[part["low"].notna() & part["word"].notna(), columns] for part in (cells, effects) if len(part)]
    return pd.concat(judged, ignore_index=True) if judged else pd.DataFrame(columns=columns)
