"""An empty figure in the look of the report: it reads on white and on black, and on a narrow screen."""

import plotly.graph_objects as go

BASELINE, TEACHER = "#868c96", "#c48a00"
INK, GRID = "#7b818b", "rgba(128,134,145,0.25)"


def canvas(height: int, x: str = "", y: str = "") -> go.Figure:
    """A figure without traces: transparent, without a legend, its axes named ``x`` and ``y``."""
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


def add(figure: go.Figure, **options: object) -> None:
    """Add a scatter trace whose hover shows its ``text`` alone."""
    figure.add_trace(go.Scatter(**{"hoverinfo": "text", **options}))


def upright(figure: go.Figure, x: float, color: str, label: str) -> None:
    """A dotted vertical line with its name above it."""
    figure.add_vline(x=x, line={"color": color, "width": 1.5, "dash": "dot"})
    figure.add_annotation(x=x, y=1, yref="paper", yanchor="bottom", text=label, showarrow=False)
    figure.update_layout(margin={"t": 26})
