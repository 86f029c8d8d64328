"""Score against the value of every searched parameter."""

from collections.abc import Mapping

import pandas as pd

from analysis.figures.canvas import Colors
from analysis.figures.space import slice_of
from analysis.formats import count, plural
from analysis.report import html as page
from analysis.search.history import thinned
from analysis.tables.files import Tables
from analysis.tables.json_columns import read_spaces

_MOST_DOTS, _FEWEST_DOTS = 1000, 60
"""Trials that are drawn over all parameters together at most, and over one at least."""


def most_dots(parameters: int) -> int:
    """How many trials are drawn over each of so many parameters at most."""
    return max(_FEWEST_DOTS, _MOST_DOTS // max(1, parameters))


def slices(tables: Tables, frame: pd.DataFrame, palette: Colors, trials: Mapping[str, int] | None = None) -> str:
    """A figure for every searched parameter; empty without a trial that has ended.

    Args:
        tables: The tables of a sweep.
        frame: From ``history.drawn_values``.
        palette: The color of every study.
        trials: By parameter, how many trials have drawn it, where ``frame`` holds a part of them.
    """
    spaces = read_spaces(tables)
    if frame.empty:
        return ""
    drawn, partly = [], ""
    names = sorted(set(frame["name"]))
    for name in names:
        dots = frame[frame["name"] == name]
        shown, drawn_by = thinned(dots, most_dots(len(names))), len(dots) if trials is None else trials[name]
        if len(shown) < drawn_by:
            partly = "Where not all trials are drawn, one in several is, evenly over their order. "
        domains = {study: space[name] for study, space in spaces.items() if name in space}
        many = f"{f'{count(len(shown))} of ' if len(shown) < drawn_by else ''}{plural(drawn_by, 'trial')}"
        note = f'<span class="aside"> {many}</span>'
        drawing = slice_of(shown, domains, palette).draw()
        drawn.append(f"<div><h3><code>{page.escape(name)}</code>{note}</h3>{drawing}</div>")
    rest = (
        f"A dot: a complete search trial, one seed; a cross: a stopped one, at the score that it reached; a triangle: "
        f"a failed one. {partly}The line at the bottom is the searched range, in the color of its study where studies "
        "differ. A search tries more values where scores were good: do not read an average off a cloud."
    )
    body = page.keys(palette) + f'<div class="grid">{"".join(drawn)}</div>'
    return page.figure(body, "Score against the value of each searched parameter.", rest)
