"""Methods over tasks: mean ranks with their critical difference."""

import pandas as pd

from analysis.figures.canvas import INK, Colors, Figure
from analysis.figures.marks import Curve, Dots, Text
from analysis.search.task_claim import CriticalDifference


def critical_difference(ranks: pd.Series, critical: CriticalDifference, palette: Colors) -> Figure:
    """Mean ranks on a line, the best on the left; a bar joins methods that are not told apart (Demsar 2006).

    Args:
        ranks: Mean rank by study, best first.
        critical: What the ranks are told apart by.
        palette: The color of every study.
    """
    bars = len(critical.groups)
    figure = Figure(110 + 26 * len(ranks) + 16 * bars, x="mean rank over the tasks (1 is best)")
    for place, (study, rank) in enumerate(ranks.items()):
        figure.add(Dots([rank], [-place], palette[str(study)], 11))
        right = place > len(ranks) / 2
        figure.add(Text(rank, -place, f"{study} {rank:.2f}", "end" if right else "start", -10 if right else 10))
    for place, group in enumerate(critical.groups, start=1):
        ends = [ranks[group[0]], ranks[group[-1]]]
        figure.add(Curve(ends, [0.4 + 0.5 * place] * 2, INK, 5, title=", ".join(group)))
    top = 0.9 + 0.5 * (bars + 1)
    figure.add(Curve([1, 1 + critical.difference], [top] * 2, INK))
    figure.add(Text(1, top, f"critical difference {critical.difference:.2f}", "start", down=-11))
    figure.x.low, figure.x.high = 0.7, len(ranks) + 0.3
    figure.y.shown, figure.y.grid = False, False
    figure.y.low, figure.y.high = -len(ranks), top + 0.8
    return figure
