"""An empty figure in the look of the report: it reads on white and on black, and on a narrow screen.

Backgrounds are transparent and every color is a middle tone. A study has one color in all figures. A figure draws a
frame that was computed elsewhere.
"""

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    import plotly.graph_objects as go

Colors = dict[str, str]
"""The color of every study, by its name."""

BASELINE, TEACHER = "#868c96", "#c48a00"
INK, GRID = "#7b818b", "rgba(128,134,145,0.25)"
_CYCLE = (
    *("#3f7fd6", "#2a9d7f", "#c4559b", "#d9542f", "#8a68d4", "#2ba3bd"),
    *("#8f9a2b", "#a9714b", "#d98aa8", "#5f8f4e", "#6d7fb3", "#9c4a6b"),
)


def colors(studies: pd.DataFrame) -> Colors:
    """One color per study, in the order of the table; the baseline is gray. Many studies share colors."""
    others = [study for study, base in zip(studies["study"], studies["is_baseline"], strict=True) if not base]
    chosen = {study: _CYCLE[position % len(_CYCLE)] for position, study in enumerate(others)}
    return {study: chosen.get(study, BASELINE) for study in studies["study"]}


def canvas(height: int, x: str = "", y: str = "") -> "go.Figure":
    """A figure without traces: transparent, without a legend, its axes named ``x`` and ``y``."""
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 8, "r": 14, "t": 8, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"size": 12, "color": INK, "family": "system-ui, sans-serif"},
        showlegend=False,
        hovermode="closest",
        dragmode=False,
    )
    axis = {
        "automargin": True,
        "gridcolor": GRID,
        "zeroline": False,
        "ticklen": 4,
        "tickcolor": "rgba(0,0,0,0)",
    }
    figure.update_xaxes(title={"text": x, "standoff": 8}, showline=True, linecolor=GRID, **axis)
    figure.update_yaxes(title={"text": y, "standoff": 6}, **axis)
    return figure


def add(figure: "go.Figure", **options: object) -> None:
    """Add a scatter trace whose hover shows its ``text`` alone."""
    figure.add_scatter(**{"hoverinfo": "text", **options})


def vertical_line(figure: "go.Figure", x: float, color: str, label: str) -> None:
    """A dotted vertical line with its name above it."""
    figure.add_vline(x=x, line={"color": color, "width": 1.5, "dash": "dot"})
    figure.add_annotation(x=x, y=1, yref="paper", yanchor="bottom", text=label, showarrow=False)
    figure.update_layout(margin={"t": 26})
