"""One self-contained HTML page: typography, tables which need no script, figures which carry their data."""

import base64
import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib import resources

from analysis.figures.keys import key as key
from analysis.figures.keys import keys as keys

_SIGNS = {
    "amber": '<b aria-label="to be read with care">\u25b2</b> ',
    "red": '<b aria-label="not to be used as it stands">\u25a0</b> ',
}


@dataclass(frozen=True)
class TableCell:
    """One cell of a table.

    Attributes:
        text: Plain text (escaped when drawn).
        small: A second line, plain text.
        html: Ready HTML in place of ``text``.
        sort: What the column sorts by; missing sorts first.
        number: Whether to align to the right.
        wide: Whether the cell may take a readable width of its own.
    """

    text: str = ""
    small: str = ""
    html: str = ""
    sort: float | None = None
    number: bool = False
    wide: bool = False

    def draw(self, label: str = "") -> str:
        """The ``<td>``; ``label``: what a narrow screen shows before it, where rows become blocks."""
        classes = " ".join(name for name, on in (("n", self.number), ("wide", self.wide)) if on)
        attribute = f' class="{classes}"' if classes else ""
        if self.sort is not None:
            attribute += f' data-sort="{self.sort:.10g}"' if self.sort == self.sort else ' data-sort=""'
        attribute += f' data-label="{escape(label)}"' if label else ""
        small = f"<small>{escape(self.small)}</small>" if self.small else ""
        return f"<td{attribute}>{self.html or escape(self.text)}{small}</td>"


def number(text: str, sort: float | None, small: str = "") -> TableCell:
    """A cell of a column of numbers; ``sort`` is the number that ``text`` shows. An interval is not broken in two."""
    small = re.sub(r"\[[^]]*\]", lambda interval: interval[0].replace(" ", "\u00a0"), small)
    return TableCell(text, small=small, sort=float("nan") if sort is None else float(sort), number=True)


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[TableCell]],
    bold: Collection[int] = (),
    attributes: Sequence[str] = (),
    name: str = "",
) -> str:
    """A table that reads without a script and sorts with one.

    Args:
        columns: The heads.
        rows: The cells of every row.
        bold: Positions of the rows that are set in bold.
        attributes: Of every row, as HTML.
        name: The class of the table, of which a narrow screen shows the first columns; without one it shows each row as
            a block with all of its cells.
    """
    labels = [""] * len(columns) if name else ["", *columns[1:]]
    aligned = [all(row[place].number for row in rows) and bool(rows) for place in range(len(columns))]
    head = "".join(
        f'<th scope="col"{" class=n" if right else ""}>{_breakable(name)}</th>'
        for name, right in zip(columns, aligned, strict=True)
    )
    body = "".join(
        f"<tr{' class=bold' if place in bold else ''}{attributes[place] if attributes else ''}>"
        f"{''.join(cell.draw(label) for label, cell in zip(labels, row, strict=True))}</tr>"
        for place, row in enumerate(rows)
    )
    kind = f' class="{name}"' if name else ""
    return f'<div class="scroll"><table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _breakable(head: str) -> str:
    """The head of a column; the path of a parameter may go on in a second line behind its points and underscores."""
    return re.sub(r"(?<=\w)([._])(?=\w)", r"\1<wbr>", escape(head))


def figure(body: str, claim: str, rest: str) -> str:
    """A figure with its caption: the claim first, then n, what the score is, how to read it."""
    caption = f"<b>{prose(claim)}</b> {prose(rest)}"
    return f"<figure>{body}<figcaption>{caption}</figcaption></figure>"


def warnings(sentences: Iterable[str]) -> str:
    """Sentences that a reader must not miss, each a paragraph."""
    return "".join(f'<p class="warn">{prose(sentence)}</p>' for sentence in sentences)


def strip(values: Sequence[float], low: float, high: float, color: str, mark: float) -> str:
    """Values as dots on a common scale ``low..high``, with a thin upright line at ``mark``."""

    def place(value: float) -> float:
        return 4 + 124 * (value - low) / (high - low) if high > low else 66.0

    dots = "".join(f'<circle cx="{place(v):.1f}" cy="11" r="4" fill="{color}" fill-opacity="0.75"/>' for v in values)
    line = f'<path d="M{place(mark):.1f} 2V20" stroke="#868c96" stroke-dasharray="2 2"/>' if mark == mark else ""
    axis = '<path d="M4 11H128" stroke="#868c96" stroke-opacity="0.35"/>'
    return f'<svg class="strip" viewBox="0 0 132 22" aria-hidden="true">{axis}{line}{dots}</svg>'


def image(png: bytes, label: str) -> str:
    """A PNG, embedded."""
    data = base64.b64encode(png).decode()
    return f'<img alt="{escape(label)}" src="data:image/png;base64,{data}">'


def embedded(content: object, name: str) -> str:
    """Data for the page's script, in which no name of a user can end the block."""
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return f'<script type="application/json" class="{name}">{data.replace("<", chr(92) + "u003c")}</script>'


def section(anchor: str, title: str, *parts: str, folded: bool = False) -> str:
    """A section of the page.

    Args:
        anchor: Its id.
        title: Its heading.
        parts: The HTML below the heading.
        folded: Whether a narrow screen shows the heading alone until a reader opens it; a wide one shows all of it.
    """
    head, body = f"<h2>{escape(title)}</h2>", "".join(parts)
    inside = f'<details class="fold"><summary>{head}</summary>{body}</details>' if folded else f"{head}{body}"
    return f'<section id="{anchor}">{inside}</section>'


def verdict(lines: Iterable[tuple[str, str, str]], color: str = "") -> str:
    """The box on top: label, sentence and mark (``amber``, ``red`` or none) of each line."""
    drawn = "".join(
        f'<div><dt>{escape(label)}</dt><dd class="{mark}">{_SIGNS.get(mark, "")}{prose(sentence)}</dd></div>'
        for label, sentence, mark in lines
    )
    style = f' style="--mark:{escape(color)}"' if color else ""
    return f'<dl class="verdict"{style}>{drawn}</dl>'


def prose(sentence: str) -> str:
    """A sentence as HTML; what stands between backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(sentence))


def document(title: str, body: str, more_scripts: Sequence[str] = (), refresh: int | None = None) -> str:
    """The whole page.

    Args:
        title: Shown on the browser's tab.
        body: What is in it.
        more_scripts: Files of this package that run after the scripts of every page.
        refresh: The page loads itself again after so many seconds.
    """
    again = f'<meta http-equiv="refresh" content="{refresh}">' if refresh else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{again}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_beside('page.css')}</style></head><body><main>{body}</main>"
        f"<script>{script(more_scripts)}</script></body></html>\n"
    )


def script(more_scripts: Sequence[str] = ()) -> str:
    """The text of the script of a page."""
    return "".join(_beside(name) for name in ("page.js", "explorer.js", *more_scripts))


@cache
def _beside(name: str) -> str:
    """A text file of this package."""
    return resources.files("analysis.report").joinpath(name).read_text(encoding="utf-8")
