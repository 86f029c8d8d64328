"""One self-contained HTML page: typography, tables which need no script, figures which carry their data."""

import base64
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import plotly.graph_objects as go

STYLE = """
:root { color-scheme: light dark;
  --paper: #fbfaf7; --card: #ffffff; --ink: #1d2026; --soft: #5c626c; --line: #e5e2da; --warn: #8a5300; --stop: #b3261e;
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, "Book Antiqua", Georgia, serif;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14161a; --card: #1a1d22; --ink: #e9e7e2; --soft: #a4a9b2; --line: #2d3138;
  --warn: #e0b066; --stop: #ff8a7e; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 var(--sans); }
main { max-width: 1080px; margin: 0 auto; padding: clamp(20px, 4vw, 56px) clamp(16px, 4vw, 40px) 80px; }
h1, h2 { font-family: var(--serif); font-weight: 600; line-height: 1.2; letter-spacing: -0.01em;
  text-wrap: balance; }
h1 { font-size: clamp(1.65rem, 4.6vw, 2.6rem); margin: 0.15em 0 0.5em; }
h2 { font-size: 1.45rem; margin: 0 0 0.5rem; }
h3 { font-size: 0.95rem; margin: 0 0 0.2rem; font-weight: 600; }
h3 .aside { font-weight: 400; font-size: 0.84rem; }
h3 code { font-size: 0.82rem; font-weight: 500; }
.scroll + h3, figure + h3 { margin-top: 1.6rem; }
section { margin-top: 56px; padding-top: 22px; border-top: 1px solid var(--line); }
p { max-width: 68ch; margin: 0.4rem 0 0.9rem; }
a { color: inherit; text-underline-offset: 3px; text-decoration-color: var(--soft); }
code { font: 0.88em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px 16px;
  overflow-x: auto; }
.eyebrow { color: var(--soft); font-size: 0.86rem; margin: 0; max-width: none; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 0.9rem; color: var(--soft);
  margin-top: 22px; }
.verdict { background: var(--card); border: 1px solid var(--line);
  border-left: 4px solid var(--mark, var(--soft)); border-radius: 10px; padding: 8px 24px 12px; margin: 0; }
.verdict > div { display: grid; grid-template-columns: 11.5rem 1fr; gap: 0 16px; padding: 9px 0;
  border-top: 1px solid var(--line); }
.verdict > div:first-child { border-top: 0; }
.verdict dt { color: var(--soft); font-size: 0.9rem; padding-top: 0.08rem; }
.verdict dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
dd.amber b { color: var(--warn); } dd.red b { color: var(--stop); }
.aside { color: var(--soft); font-size: 0.9rem; }
.aside.below { margin-top: 14px; max-width: 86ch; }
.scroll { overflow-x: auto; margin: 0 0 8px; -webkit-overflow-scrolling: touch; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 8px 14px 8px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--soft); font-weight: 500; font-size: 0.82rem; white-space: nowrap; cursor: pointer;
  vertical-align: bottom; user-select: none; }
th[aria-sort="ascending"]::after { content: " \\2191"; }
th[aria-sort="descending"]::after { content: " \\2193"; }
.n { text-align: right; white-space: nowrap; }
td small { display: block; color: var(--soft); font-size: 0.8rem; line-height: 1.4; }
td.n small { white-space: normal; text-wrap: balance; }
td:first-child { min-width: 6.5rem; }
td.wide { min-width: 12rem; }
tr.bold td { font-weight: 600; } tr.bold td small { font-weight: 400; }
.key { display: inline-block; width: 0.7em; height: 0.7em; border-radius: 50%; background: var(--c);
  margin-right: 0.45em; vertical-align: 0.02em; }
.key.square { border-radius: 2px; outline: 1px solid var(--line); }
.keyed { white-space: nowrap; }
.keys { display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 0.86rem; color: var(--soft);
  margin: 6px 0; }
ul.doubts { margin: 4px 0 14px; padding-left: 1.1rem; max-width: 86ch; }
.stale { color: var(--stop); max-width: none; }
.warn { color: var(--warn); font-size: 0.82rem; line-height: 1.4; font-weight: 400; }
.drawing { display: block; width: 100%; max-width: 760px; } .bar { display: block; margin-top: 7px; }
.strip { display: block; width: 132px; height: 22px; overflow: visible; }
figure { margin: 18px 0 6px; min-width: 0; }
figcaption { color: var(--soft); font-size: 0.88rem; max-width: 78ch; margin-top: 6px; }
figcaption b { color: var(--ink); font-weight: 600; }
.grid { display: grid; gap: 10px 26px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); }
.grid > div { min-width: 0; }
.pictures { display: grid; gap: 10px; grid-template-columns: repeat(var(--n), minmax(150px, 1fr));
  overflow-x: auto; margin-bottom: 14px; }
.pictures img { display: block; width: 100%; border-radius: 5px; image-rendering: auto; }
.pictures span { color: var(--soft); font-size: 0.8rem; overflow-wrap: anywhere; }
details summary { cursor: pointer; color: var(--soft); margin: 8px 0; }
footer { margin-top: 64px; color: var(--soft); font-size: 0.84rem; }
.main-svg > g:not(.hoverlayer) text { fill: var(--soft) !important; }
.hoverlayer text { font-family: var(--sans) !important; }
@media (max-width: 640px) {
  section { margin-top: 40px; }
  .verdict { padding: 4px 16px 8px; } .verdict > div { grid-template-columns: 1fr; }
  th:first-child, td:first-child { position: sticky; left: 0; background: var(--paper); z-index: 1; }
}
@media print { nav, details summary { display: none; } section { break-inside: avoid; } }
"""

_SIGNS = {
    "amber": '<b aria-label="to be read with care">\u25b2</b> ',
    "red": '<b aria-label="not to be used as it stands">\u25a0</b> ',
}

SCRIPT = """
for (const data of document.querySelectorAll("script.figure")) {
  const { data: traces, layout } = JSON.parse(data.textContent);
  Plotly.newPlot(data.previousElementSibling, traces, layout, { responsive: true, displayModeBar: false });
}
for (const head of document.querySelectorAll("th")) {
  head.tabIndex = 0;
  head.addEventListener("click", () => sort(head));
  head.addEventListener("keydown", event => { if (event.key === "Enter") sort(head); });
}
function sort(head) {
  const rows = [...head.closest("table").tBodies[0].rows], at = head.cellIndex;
  const up = head.getAttribute("aria-sort") === "descending";
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const value = row => { const cell = row.cells[at], text = cell.dataset.sort ?? cell.textContent;
    return text === "" || isNaN(text) ? text : Number(text); };
  const order = (a, b) => typeof a === "number" && typeof b === "number" ? a - b
    : typeof a === typeof b ? String(a).localeCompare(b) : typeof a === "number" ? 1 : -1;
  rows.sort((a, b) => order(value(a), value(b)) * (up ? 1 : -1));
  head.closest("table").tBodies[0].append(...rows);
}
"""


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

    def draw(self) -> str:
        """The ``<td>``."""
        classes = " ".join(name for name, on in (("n", self.number), ("wide", self.wide)) if on)
        attribute = f' class="{classes}"' if classes else ""
        if self.sort is not None:
            attribute += f' data-sort="{self.sort:.10g}"' if self.sort == self.sort else ' data-sort=""'
        small = f"<small>{escape(self.small)}</small>" if self.small else ""
        return f"<td{attribute}>{self.html or escape(self.text)}{small}</td>"


def number(text: str, sort: float | None, small: str = "") -> TableCell:
    """A cell of a column of numbers; ``sort`` is the number that ``text`` shows. An interval is not broken in two."""
    small = re.sub(r"\[[^]]*\]", lambda interval: interval[0].replace(" ", "\u00a0"), small)
    return TableCell(text, small=small, sort=float("nan") if sort is None else float(sort), number=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[TableCell]], bold: Collection[int] = ()) -> str:
    """A table that reads without a script and sorts with one; the rows ``bold`` are set in bold."""
    aligned = [all(row[place].number for row in rows) and bool(rows) for place in range(len(columns))]
    head = "".join(
        f'<th scope="col"{" class=n" if right else ""}>{escape(name)}</th>'
        for name, right in zip(columns, aligned, strict=True)
    )
    body = "".join(
        f"<tr{' class=bold' if place in bold else ''}>{''.join(cell.draw() for cell in row)}</tr>"
        for place, row in enumerate(rows)
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def plot(drawing: "go.Figure") -> str:
    """A drawing with its data; it appears once the page's script runs."""
    data = drawing.to_json().replace("</", "<\\/")
    height = drawing.layout.height
    return (
        f'<div class="plot" style="min-height:{height}px"></div>'
        f'<script type="application/json" class="figure">{data}</script>'
    )


def figure(body: str, claim: str, rest: str) -> str:
    """A figure with its caption: the claim first, then n, what the score is, how to read it."""
    caption = f"<b>{escape(claim)}</b> {escape(rest)}"
    return f"<figure>{body}<figcaption>{caption}</figcaption></figure>"


def warnings(sentences: Iterable[str]) -> str:
    """Sentences that a reader must not miss, each a paragraph."""
    return "".join(f'<p class="warn">{escape(sentence)}</p>' for sentence in sentences)


def key(label: str, color: str, square: bool = False) -> str:
    """A name with its color."""
    shape = "key square" if square else "key"
    return f'<span class="keyed"><i class="{shape}" style="--c:{escape(color)}"></i>{escape(label)}</span>'


def keys(entries: dict[str, str], square: bool = False) -> str:
    """A line of names with their colors."""
    return f'<div class="keys">{"".join(key(*entry, square=square) for entry in entries.items())}</div>'


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


def section(anchor: str, title: str, *parts: str) -> str:
    """A section of the page."""
    return f'<section id="{anchor}"><h2>{escape(title)}</h2>{"".join(parts)}</section>'


def verdict(lines: Iterable[tuple[str, str, str]], color: str = "") -> str:
    """The box on top: label, sentence and mark (``amber``, ``red`` or none) of each line."""
    drawn = "".join(
        f'<div><dt>{escape(label)}</dt><dd class="{mark}">{_SIGNS.get(mark, "")}{_marked_up(sentence)}</dd></div>'
        for label, sentence, mark in lines
    )
    style = f' style="--mark:{escape(color)}"' if color else ""
    return f'<dl class="verdict"{style}>{drawn}</dl>'


def _marked_up(sentence: str) -> str:
    """A sentence as HTML; what stands between backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(sentence))


def document(title: str, body: str, figures: bool = True, refresh: int | None = None) -> str:
    """The whole page.

    Args:
        title: Shown on the browser's tab.
        body: What is in it.
        figures: Whether to embed the plotting library, once, at its end.
        refresh: The page loads itself again after so many seconds.
    """
    again = f'<meta http-equiv="refresh" content="{refresh}">' if refresh else ""
    library = ""
    if figures:
        from plotly.offline import get_plotlyjs

        library = f"<script>{get_plotlyjs()}</script>"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{again}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>{body}</main>"
        f"{library}<script>{SCRIPT}</script></body></html>\n"
    )
