"""Methods over tasks: mean ranks with their critical difference."""

import pandas as pd
import plotly.graph_objects as go

from analysis.figures.canvas import INK, Colors, add, canvas
from analysis.search.task_claim import CriticalDifference


def critical_difference(ranks: pd.Series, critical: CriticalDifference, palette: Colors) -> go.Figure:
    """Mean ranks on a line, the best on the left; a bar joins methods that are not told apart (Demsar 2006).

    Args:
        ranks: Mean rank by study, best first.
        critical: What the ranks are told apart by.
        palette: The color of every study.
    """
    bars = len(critical.groups)
    figure = canvas(height=110 + 26 * len(ranks) + 16 * bars, x="mean rank over the tasks (1 is best)")
    for place, (study, rank) in enumerate(ranks.items()):
        label = f"{study} {rank:.2f}"
        add(
            figure,
            x=[rank],
            y=[-place],
            mode="markers+text",
            marker={"size": 11, "color": palette[str(study)]},
            text=[label],
            textposition="middle right",
        )
    for place, group in enumerate(critical.groups, start=1):
        ends = [ranks[group[0]], ranks[group[-1]]]
        add(
            figure,
            x=ends,
            y=[0.4 + 0.5 * place] * 2,
            mode="lines",
            line={"width": 5, "color": INK},
            text=", ".join(group),
        )
    top = 0.9 + 0.5 * (bars + 1)
    add(figure, x=[1, 1 + critical.difference], y=[top] * 2, mode="lines", line={"width": 2, "color": INK})
    figure.add_annotation(
        x=1, y=top, text=f"critical difference {critical.difference:.2f}", showarrow=False, xanchor="left", yshift=10
    )
    figure.update_xaxes(range=[0.7, len(ranks) + 1.2])
    figure.update_yaxes(showticklabels=False, showgrid=False, range=[-len(ranks), top + 0.8])
    return figure
