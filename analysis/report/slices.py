"""Score against the value of every searched parameter."""

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


def slices(tables: Tables, frame: pd.DataFrame, palette: Colors) -> str:
    """A figure for every searched parameter; empty without a trial that has ended.

    Args:
        tables: The tables of a sweep.
        frame: From ``history.drawn_values``.
        palette: The color of every study.
    """
    spaces = read_spaces(tables)
    if frame.empty:
        return ""
    drawn, partly = [], ""
    names = sorted(set(frame["name"]))
    for name in names:
        dots = frame[frame["name"] == name]
        shown = thinned(dots, max(_FEWEST_DOTS, _MOST_DOTS // len(names)))
        if len(shown) < len(dots):
            partly = "Where not all trials are drawn, one in several is, evenly over their order. "
        domains = {study: space[name] for study, space in spaces.items() if name in space}
        many = f"{f'{count(len(shown))} of ' if len(shown) < len(dots) else ''}{plural(len(dots), 'trial')}"
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
