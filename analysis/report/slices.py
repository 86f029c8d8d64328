"""Score against the value of every searched parameter."""

import pandas as pd

from analysis.figures.canvas import Colors
from analysis.figures.space import slice_of
from analysis.formats import count, plural
from analysis.report import html as page
from analysis.tables.files import Tables
from analysis.tables.json_columns import read_spaces

MANY_DOTS = 800


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
    for name in sorted(set(frame["name"])):
        dots = frame[frame["name"] == name]
        shown = dots.iloc[:: -(-len(dots) // MANY_DOTS)]
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
