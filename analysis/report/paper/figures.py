"""Figures for a paper as PDF: every seed of every study, and the forest of an ablation's effects."""

import io
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure

from analysis.figures.canvas import BASELINE
from analysis.formats import missing
from analysis.report.findings import Findings
from analysis.tables.atomic_write import write_atomically

WIDTH = 5.5
"""Inches: the text of a single-column paper."""
FONT_SIZE = 8
"""Points."""


def comparison_figure(path: Path, findings: Findings) -> list[Path]:
    """Every fresh seed of each study's best config, the mean as a bar, the difference's interval beside it.

    The interval is that of the difference to the baseline, drawn around the study's mean so that it may be read
    against the baseline's line. Nothing is drawn of a sweep that is not confirmed.
    """
    shown = findings.comparison[findings.comparison["confirmed"].eq(True)].iloc[::-1]
    if shown.empty:
        return []
    baseline = findings.baseline()
    figure, axes = _axes(len(shown), "mIoU on role select (points)", shown["study"])
    mean = float("nan") if baseline is None else 100 * baseline["mean"]
    if not missing(mean):
        axes.axvline(mean, color=BASELINE, linestyle=":", linewidth=1)
    for place, (_, row) in enumerate(shown.iterrows()):
        _row(axes, place, row, findings.palette[row["study"]], 100 * row["mean"], mean, row["scores"])
    return _saved(figure, path)


def ablation_figure(path: Path, design: str, cells: pd.DataFrame) -> list[Path]:
    """Every cell's difference to the reference: seeds as dots, the mean as a bar with its interval."""
    shown = cells[(cells["role"] != "reference") & cells["difference"].notna()].iloc[::-1]
    if shown.empty:
        return []
    figure, axes = _axes(len(shown), f"difference to the reference (points), {design}", shown["cell"])
    axes.axvline(0, color=BASELINE, linestyle=":", linewidth=1)
    for place, (_, row) in enumerate(shown.iterrows()):
        _row(axes, place, row, "#3f7fd6", 100 * row["difference"], 0.0, row["differences"])
    return _saved(figure, path)


def _row(axes: Axes, place: int, row: pd.Series, color: str, mean: float, origin: float, dots: Iterable[float]) -> None:
    low, high = float(row.get("low", "nan")), float(row.get("high", "nan"))
    if not missing(low) and not missing(high) and not missing(origin):
        axes.plot([origin + 100 * low, origin + 100 * high], [place, place], color=color, linewidth=1)
    values = [100 * value for value in dots]
    axes.plot(values, [place] * len(values), "o", color=color, markersize=4, alpha=0.6, markeredgewidth=0)
    axes.plot([mean], [place], "|", color=color, markersize=11, markeredgewidth=2)


def _axes(rows: int, label: str, names: Iterable[object]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, 0.7 + 0.28 * rows), layout="constrained")
    axes = figure.add_subplot()
    axes.set_yticks(range(rows), [str(name) for name in names], fontsize=FONT_SIZE)
    axes.set_xlabel(label, fontsize=FONT_SIZE)
    axes.tick_params(labelsize=FONT_SIZE, length=2)
    axes.set_ylim(-0.6, rows - 0.4)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", linewidth=0.3)
    return figure, axes


def _saved(figure: Figure, path: Path) -> list[Path]:
    """Without a date, so that the same tables give the same file."""
    FigureCanvasPdf(figure)
    file = io.BytesIO()
    figure.savefig(file, format="pdf", metadata={"CreationDate": None, "Creator": "kdsweep"})
    return [write_atomically(path, file.getvalue())]
