"""Every finalist with the score of every seed."""

import pandas as pd

from analysis.figures import results as plots
from analysis.formats import missing, plural, points
from analysis.report import html as page
from analysis.report.findings import Findings
from analysis.selection.compare import teacher_miou

MANY_FINALISTS = 40


def section(findings: Findings) -> str:
    """Every finalist with every seed."""
    if findings.ranked.empty:
        return ""
    baseline = findings.baseline()
    mark = float("nan") if baseline is None else baseline["mean"]
    shown = findings.ranked.head(MANY_FINALISTS)
    teacher, far = teacher_miou(findings.tables), ""
    values = [score for scores in shown["scores"] for score in scores]
    if not missing(teacher) and teacher - max(values) > max(max(values) - min(values), 0.02):
        teacher, far = float("nan"), f" The teacher, at {points(teacher)}, is off the scale."
    drawing = plots.seeds(shown, findings.palette, mark, teacher)
    claim = (
        "Dots are fresh seeds of a config, crosses failed ones, bars their mean, hollow diamonds its search score."
        if findings.confirmed
        else "Best search trial of each study: one seed each, and so optimistic."
    )
    partly = f"The first {len(shown)} of " if len(shown) < len(findings.ranked) else ""
    rest = (
        f"{partly}{plural(len(findings.ranked), 'finalist')}, {seed_counts(findings.ranked)} each. "
        f"The line runs from minimum to maximum; it is no interval.{far}"
    )
    return page.figure(page.keys(findings.palette) + drawing.draw(), claim, rest)


def seed_counts(ranked: pd.DataFrame) -> str:
    """How many seeds finalists have, in words: ``n=3 seeds``, ``n=2 to 5 seeds``."""
    counts = sorted({len(scores) for scores in ranked["scores"]})
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"n={n} {'seed' if counts[-1] == 1 else 'seeds'}"
