"""What was spent, what the result must be read with, and what cannot be concluded from it."""

from collections.abc import Sequence

import pandas as pd

from analysis.conditions.hardware import mixed
from analysis.conditions.one_sided import single_class
from analysis.conditions.time_spent import recording
from analysis.formats import duration, plural
from analysis.report.held_out import HeldOut
from analysis.report.line import Line
from analysis.report.wording import wording_of
from analysis.tables.files import Tables
from analysis.tables.json_columns import read_spec, score_in_words

WARNINGS = "Warnings"
"""The label of the line of warnings."""


def budget(tables: Tables, comparison: pd.DataFrame) -> str:
    """What was granted to each study and what was spent in all."""
    granted = comparison.iloc[0]
    limits = [
        plural(int(granted[f"budget_{unit}"]), unit.removesuffix("s"))
        for unit in ("trials", "epochs")
        if pd.notna(granted[f"budget_{unit}"])
    ]
    teacher = tables["teachers"]["seconds"].sum()
    trials, epochs = comparison["search_trials"].sum(), comparison["search_epochs"].sum()
    parts = [f"{trials} trials and {epochs} epochs of search ({duration(comparison['search_s'].sum())})"] * bool(trials)
    parts.append(f"{duration(comparison['confirm_s'].sum())} on fresh seeds")
    if teacher:
        parts.append(f"{duration(teacher)} to fit the teacher")
    if recorded := recording(tables)[["record", "record_teacher"]].sum():
        parts.append(f"{duration(recorded)} to record samples and teacher maps, once for all trials")
    repeats = int(tables["studies"]["repeats"].max())
    shared = f", shared evenly by its {repeats} searches" if repeats > 1 else ""
    grant = f"{' and '.join(limits)} granted to each study{shared}. " if limits else ""
    return f"{grant}Spent: {', '.join(parts)}."


def warnings(tables: Tables, comparison: pd.DataFrame, controls: Sequence[str] = (), beaten: bool = False) -> Line:
    """The doubts about the studies, those that all of them share once.

    Args:
        tables: The tables of the sweep.
        comparison: From ``compare``.
        controls: Sentences about controls that are above the methods.
        beaten: Whether a control is separated from the method, and better.
    """
    doubts = [(row["study"], doubt) for _, row in comparison.iterrows() for doubt in row["warnings"]]
    common = set.intersection(*map(set, comparison["warnings"]))
    one_class = single_class(tables)
    parts = [
        *one_class,
        *controls,
        *sorted(common),
        *(f"{study}: {doubt}" for study, doubt in doubts if doubt not in common),
    ]
    if not parts:
        return Line(WARNINGS, "None were raised.")
    severe = one_class or beaten or not comparison["chosen"].any() or any(mix.kind == "code" for mix in mixed(tables))
    return Line(WARNINGS, "; ".join(parts) + ".", "red" if severe else "amber")


def not_claimed(
    tables: Tables, winner: pd.Series, comparison: pd.DataFrame, finished: bool, found: HeldOut | None
) -> str:
    """What cannot be concluded from the result.

    Args:
        tables: The tables of the sweep.
        winner: The chosen config's row of ``comparison``.
        comparison: From ``compare``.
        finished: Whether the selection is complete.
        found: What the final seeds say; None before a freeze.
    """
    sentences = ["No significance was computed: read the seeds, not only the mean."]
    if finished and any(wording_of(row) is not None for _, row in comparison.iterrows()):
        sentences = ["Intervals are about retraining these configs on new seeds, not about the methods in general."]
    if comparison["searched_parameters"].any():
        sentences.append(f"{_luck(tables)}.")
        if any(read_spec(text).shares_recipe for text in tables["sweeps"]["spec_json"]):
            sentences.append("The searches shared what they learnt about the recipe, so studies are not independent.")
    is_ablation = tables["sweeps"]["purpose"].iloc[0] == "ablation"
    if comparison["finalists"].sum() > 1 and found is None and not is_ablation:
        sentences.append(
            f"The first of {comparison['finalists'].sum()} finalists still has a slightly optimistic score."
        )
    if found is not None and found.chosen.scores:
        sentences.append(f"The headline's scores are mIoU on role {found.chosen.role}, on seeds that chose nothing.")
    else:
        sentences.append(f"Scores are {score_in_words(tables)}, never the best epoch.")
    if not len(winner["test_scores"]) and (found is None or not found.chosen.test):
        seen = "The search saw these images; the" if comparison["searched_parameters"].any() else "The"
        sentences.append(f"{seen} held-out role test was not read.")
    if any(mix.kind == "code" for mix in mixed(tables)):
        sentences.insert(0, "Which study is best is not claimed: they ran on different code.")
    return " ".join(sentences)


def _luck(tables: Tables) -> str:
    searches = tables["trials"]["search"].max() if "search" in tables["trials"] else 1
    if pd.notna(searches) and searches > 1:
        return f"The headline is about configs, each the best of {int(searches)} searches of its study"
    return "Each study was searched once, so the luck of a search is not measured"
