"""Tables for a paper: comparison and ablation as Markdown, LaTeX (booktabs) and CSV, from one sheet each."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from analysis.formats import MISSING, each, points, share, signed


@dataclass(frozen=True)
class Sheet:
    """A table as text, ready to be set.

    Attributes:
        name: File name without its ending.
        caption: What the numbers are.
        columns: Names of the columns; the first is text, all others are numbers.
        rows: Cells, best first.
        best: Index of the row to set in bold, None for no row.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: int | None = None


def write_paper(
    folder: Path, comparison: pd.DataFrame, ablation: pd.DataFrame, marks: Sequence[str] = ()
) -> list[Path]:
    """Write every sheet as ``.md``, ``.tex`` and ``.csv``.

    Args:
        folder: Where to; made if missing.
        comparison: From ``compare``.
        ablation: From ``ablate``; no file is written for an empty one.
        marks: Sentences that every caption must carry.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for plain in (comparison_sheet(comparison), *ablation_sheets(ablation)):
        sheet = replace(plain, caption=" ".join((plain.caption, *marks)))
        for ending, render in (("md", markdown), ("tex", latex), ("csv", comma_separated)):
            path = folder / f"{sheet.name}.{ending}"
            path.write_text(render(sheet), encoding="utf-8")
            written.append(path)
    return written


def comparison_sheet(comparison: pd.DataFrame) -> Sheet:
    """The comparison of the studies."""
    confirmed = bool(comparison["confirmed"].any())
    caption = (
        "Best config of each study, mIoU (points) on the select split at the last epoch: mean over fresh "
        "seeds, every seed, difference to the baseline paired by seed, share of the gap to the teacher that "
        "is closed, the single-seed score of the search, and the budget (hours: search and fresh seeds). "
        "No significance was computed."
        if confirmed
        else "Not confirmed: best single-seed score of each study's search, mIoU (points) on the select "
        "split at the last epoch, optimistic by an unknown amount."
    )
    scores = ("mIoU", "n", "Seeds", "Over baseline", "Gap closed", "In search")
    columns = ("Study", *scores, "Searched", "Trials", "Epochs", "Hours")
    rows = tuple(
        (
            f"{row['study']} (baseline)" if row["is_baseline"] else row["study"],
            points(row["mean"]),
            str(row["n"]),
            each(row["scores"]),
            signed(row["difference"]),
            share(row["gap_closed"]),
            points(row["screen_score"]),
            str(row["searched_parameters"]),
            str(row["search_trials"]),
            str(row["search_epochs"]),
            f"{(row['search_s'] + row['confirm_s']) / 3600:.2f}",
        )
        for _, row in comparison.iterrows()
    )
    best = int(comparison["chosen"].argmax()) if comparison["chosen"].any() else None
    return Sheet("comparison", caption, columns, rows, best)


def ablation_sheets(ablation: pd.DataFrame) -> Iterator[Sheet]:
    """One sheet per ablation design."""
    for design, frame in ablation.groupby("design", sort=False):
        rows = tuple(
            (
                f"{row['cell']} ({row['role']})" if row["role"] != "cell" else row["cell"],
                points(row["mean"]),
                str(row["n"]),
                each(row["scores"]),
                signed(row["difference"]),
                each(row["differences"], sign=True),
            )
            for _, row in frame.iterrows()
        )
        caption = (
            f"Ablation ({design}): mIoU (points) on the select split at the last epoch and difference to the "
            "reference, paired by seed. No significance was computed."
        )
        columns = ("Cell", "mIoU", "n", "Seeds", "Over reference", "Seed by seed")
        yield Sheet(f"ablation-{re.sub(r'[^A-Za-z0-9]+', '-', str(design))}", caption, columns, rows)


def markdown(sheet: Sheet) -> str:
    """A pipe table under its caption."""
    bold = [
        tuple(f"**{cell}**" for cell in row[:2]) + row[2:] if place == sheet.best else row
        for place, row in enumerate(sheet.rows)
    ]
    lines = [
        " | ".join(sheet.columns),
        " | ".join(["---", *["---:"] * (len(sheet.columns) - 1)]),
        *(" | ".join(cell.replace("|", "\\|") for cell in row) for row in bold),
    ]
    return "\n".join([sheet.caption, "", *(f"| {line} |" for line in lines), ""])


def latex(sheet: Sheet) -> str:
    """A table for the LaTeX package booktabs."""
    rows = [[_tex(cell) for cell in row] for row in sheet.rows]
    if sheet.best is not None:
        rows[sheet.best][:2] = [f"\\textbf{{{cell}}}" for cell in rows[sheet.best][:2]]
    lines = [
        r"\begin{table}",
        r"\centering",
        f"\\caption{{{_tex(sheet.caption)}}}",
        f"\\begin{{tabular}}{{l{'r' * (len(sheet.columns) - 1)}}}",
        r"\toprule",
        " & ".join(map(_tex, sheet.columns)) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def comma_separated(sheet: Sheet) -> str:
    """The cells as CSV; a missing value is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(sheet.columns)
    writer.writerows([("" if cell == MISSING else cell) for cell in row] for row in sheet.rows)
    return text.getvalue()


_SPECIAL = {"\\": r"\textbackslash{}", MISSING: "--", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_SPECIAL |= {character: f"\\{character}" for character in "&%$#_{}"}


def _tex(text: str) -> str:
    """Escaped; signed numbers in math mode, so that minus is a minus."""
    escaped = "".join(_SPECIAL.get(character, character) for character in text)
    return re.sub(r"(?<![\w.])([+-]\d+\.\d+)", r"$\1$", escaped)
