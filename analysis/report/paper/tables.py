"""Tables for a paper: comparison and ablation as Markdown, LaTeX (booktabs) and CSV, from one sheet each."""

import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.ablation.effects import estimators
from analysis.conditions.hardware import mixed
from analysis.formats import MISSING, each, interval, missing, plural, points, share, signed, spreadsheet_text, text
from analysis.report.captions import BOLD, SELECTION_ALONE
from analysis.report.findings import Findings
from analysis.report.held_out import held_out
from analysis.report.paper.figures import ablation_figure, comparison_figure
from analysis.report.sections.methods import ESTIMATOR, METHOD_CLAIM
from analysis.report.wording import cell_role, not_the_reference, refusal, wording_of
from analysis.search.method_claim import method_claim
from analysis.stats.words import ENOUGH_SEEDS
from analysis.tables.atomic_write import write_atomically
from analysis.tables.controls import subject_of_group
from analysis.tables.json_columns import read_frozen_selection, read_levels
from analysis.tables.states import Control


@dataclass(frozen=True)
class Sheet:
    """A table as text, ready to be set.

    Attributes:
        name: File name without its ending.
        caption: What the table is about.
        columns: Names of the columns; the first is text, all others are numbers.
        rows: Cells, best first.
        note: Below the table: estimator, n, role, budget, correction.
        bold: Rows whose first two cells are set in bold, see ``Findings.bold``.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    bold: frozenset[int] = frozenset()


def write_paper(folder: Path, findings: Findings) -> list[Path]:
    """Write every sheet as ``.md``, ``.tex`` and ``.csv``, and what can be drawn of it as ``.pdf``.

    Args:
        folder: Where to; made if missing.
        findings: From ``read_findings``; of an ablation there are no files of a comparison, as on the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    marks = " ".join(mix.sentence for mix in mixed(findings.tables))
    compared = () if findings.is_ablation else (comparison_sheet(findings, marks),)
    sheets = (*final_sheets(findings, marks), *compared, *ablation_sheets(findings, marks))
    written = []
    for sheet in sheets:
        for ending, render in (("md", markdown), ("tex", latex), ("csv", comma_separated)):
            written.append(write_atomically(folder / f"{sheet.name}.{ending}", render(sheet).encode()))
    written += comparison_figure(folder / "comparison.pdf", findings) if compared else []
    for design, frame in findings.ablation.groupby("design", sort=False):
        written += ablation_figure(folder / f"{_file(design)}.pdf", str(design), frame)
    return written


def comparison_sheet(findings: Findings, marks: str = "") -> Sheet:
    """The comparison of the studies; ``marks`` are sentences that its note must carry."""
    frame, beaten = findings.comparison, findings.bold()
    caption = (
        f"Best config of each study, {findings.score}, in points: mean over fresh seeds (n), difference to the "
        "baseline, share of the gap to the teacher that is closed."
        if findings.confirmed
        else f"Not confirmed: best single-seed score of each study's search, {findings.score}, in points, optimistic "
        "by an unknown amount."
    )
    scores = ("mIoU (n)", "Over baseline", "Verdict", "Gap closed", "Seeds", "In search", "Failed")
    columns = ("Study", *scores, "Searched", "Trials", "Epochs", "Hours")
    rows = tuple(
        (
            _named(row["study"], "baseline" if row["is_baseline"] else "control" if text(row["control"]) else ""),
            f"{points(row['mean'])} ({row['n']}{', unstable' if row['failed_seeds'] else ''})",
            _difference(row),
            _word(row),
            share(row["gap_closed"]),
            each(row["scores"]),
            points(row["screen_score"]),
            f"{row['search_broken'] + row['fresh_broken']} of {row['search_runs'] + row['fresh_runs']}",
            str(row["searched_parameters"]),
            str(row["search_trials"]),
            str(row["search_epochs"]),
            f"{(row['search_s'] + row['confirm_s']) / 3600:.2f}",
        )
        for _, row in frame.iterrows()
    )
    if read_frozen_selection(findings.tables) is not None:
        marks = f"{SELECTION_ALONE}{marks}"
    bold = frozenset(place for place, study in enumerate(frame["study"]) if study in beaten)
    return Sheet("comparison", caption, columns, rows, f"{_estimator(findings)}{marks}".strip(), bold)


def final_sheets(findings: Findings, marks: str = "") -> Iterator[Sheet]:
    """The chosen config and the baseline on final seeds, once the selection is frozen: the numbers to publish."""
    found = held_out(findings.tables)
    if found is None or not found.chosen.scores:
        return
    difference, gap, word, note = found.difference, "", "", ""
    if difference is not None:
        limits = "" if difference.withheld else interval(difference.low, difference.high)
        gap = f"{signed(difference.mean)} {limits}".strip()
        word = "" if found.said is None else found.said.in_table
        note = (
            f"No verdict: {difference.withheld}."
            if difference.withheld
            else "Brackets: 95 % interval over seeds of the difference seed by seed."
        )
    configs = [(found.chosen, found.chosen.study, gap, word)]
    if found.baseline is not None:
        configs.append((found.baseline, f"{found.baseline.study} (baseline)", "", ""))
    yield Sheet(
        "final",
        f"Held out: mIoU (points) on role {found.chosen.role} over {found.chosen.planned} seeds that chose nothing.",
        ("Study", "mIoU (n)", "Over baseline", "Verdict", "Seeds"),
        tuple(
            (name, f"{points(config.mean)} ({len(config.scores)})", gap, word, each(config.scores))
            for config, name, gap, word in configs
        ),
        f"{note} {marks}".strip(),
    )


def methods_sheets(findings: Findings) -> Iterator[Sheet]:
    """The claim about methods of a finished sweep that searched its studies several times."""
    if not findings.finished or not (findings.tables["studies"]["repeats"] > 1).any():
        return
    claim = method_claim([findings.tables])
    every = [*claim.frame.to_dict("records"), *([] if claim.baseline is None else [claim.baseline.to_dict()])]
    rows = tuple(
        (
            str(row["study"]),
            str(row["searches"]),
            points(row["mean"]),
            "" if missing(row["difference"]) else f"{signed(row['difference'])} {interval(row['low'], row['high'])}",
            text(row["word"]),
            points(row["search_sd"]),
            points(row["seed_sd"]),
        )
        for row in every
    )
    columns = ("Study", "Searches", "mIoU", "Over baseline", "Verdict", "Spread of searches", "Spread of seeds")
    caption = (
        f"Methods, each searched several times, {findings.score}, in points: mean over searches, difference to the "
        "baseline."
    )
    note = " ".join([METHOD_CLAIM, ESTIMATOR, *claim.notes])
    yield Sheet("methods", caption, columns, rows, note)


def ablation_sheets(findings: Findings, marks: str = "") -> Iterator[Sheet]:
    """One sheet per ablation design: which part is on in which cell, and what the change costs or brings."""
    cells = findings.tables["cells"].drop_duplicates("cell").set_index("cell")
    for design, frame in findings.ablation.groupby("design", sort=False):
        group = findings.tables["cells"][findings.tables["cells"]["design"] == design]
        cell_levels = {
            cell: read_levels(cells.loc[cell, "levels_json"]) for cell in frame["cell"] if cell in cells.index
        }
        of_subject = cell_levels.get(subject_of_group(group) or "", {})  # a placebo has all its parts
        cell_levels |= dict.fromkeys(frame.loc[frame["control"] == Control.PLACEBO, "cell"], of_subject)
        factors = list(dict.fromkeys(name for its_levels in cell_levels.values() for name in its_levels))
        rows = tuple(
            (
                _named(row["cell"], cell_role(row)),
                *(_tick(row, factor, cell_levels.get(row["cell"], {})) for factor in factors),
                f"{points(row['mean'])} ({row['n']})",
                f"{_difference(row)}{not_the_reference(row, frame)}",
                text(row["word"]) if interval(row["low"], row["high"]) else "",
                each(row["differences"], sign=True) if len(row["differences"]) else "",
            )
            for _, row in frame.iterrows()
        )
        caption = f"Ablation ({design}): {findings.score}, in points, mean (n), and difference to the reference."
        columns = ("Cell", *factors, "mIoU (n)", "Over reference", "Verdict", "Seed by seed")
        tested = frame[frame["low"].notna()]
        judged = [estimators(frame), _detectable(frame), *_few(tested["n"])] if len(tested) else []
        note = " ".join([*(["Brackets: 95 % interval over seeds."] if judged else []), *judged, marks])
        yield Sheet(_file(design), caption, columns, rows, " ".join(note.split()))


def _named(name: str, role: str) -> str:
    return f"{name} ({role})" if role else name


def _word(row: pd.Series) -> str:
    said = wording_of(row)
    return "refused" if refusal(row) else "" if said is None else said.in_table


def _file(design: object) -> str:
    return f"ablation-{re.sub(r'[^A-Za-z0-9]+', '-', str(design))}"


def _difference(row: pd.Series) -> str:
    limits = interval(row.get("low"), row.get("high"))
    return "" if refusal(row) or missing(row["difference"]) else f"{signed(row['difference'])} {limits}".strip()


def _tick(row: pd.Series, factor: str, levels: Mapping[str, str]) -> str:
    """The level of a factor; cross-entropy has none of the parts that are switched on and off."""
    level = levels.get(factor, "off" if text(row["control"]) else MISSING)
    return {"on": "\N{CHECK MARK}", "off": ""}.get(level, level)


def _estimator(findings: Findings) -> str:
    if not findings.confirmed:
        return ""
    sentences = [
        "Brackets: 95 % interval over seeds of the difference seed by seed, adjusted for the number of studies and of "
        "looks."
        if "low" in findings.comparison and findings.comparison["low"].notna().any()
        else "No interval: too few seeds, or the sweep has not finished."
    ]
    sentences += filter(None, [_detectable(findings.comparison)])
    rows = [row for _, row in findings.comparison.iterrows()]
    sentences += _few([said.seeds for row in rows if (said := wording_of(row)) is not None])
    if findings.finished and read_frozen_selection(findings.tables) is None:
        sentences.append("Provisional: the seeds also chose the configs.")
    sentences += [f"{row['study']}: {withheld}." for row in rows if (withheld := text(row["withheld"]))]
    sentences += [f"{row['study']} is unstable: {why}." for row in rows if (why := text(row["unstable"]))]
    sentences += ["Failed: trainings of the search and on fresh seeds; the mean counts those on fresh seeds."]
    sentences += [BOLD] if findings.bold() else []
    return " ".join([*sentences, "Hours: search and fresh seeds. "])


def _few(seeds: Collection[int]) -> list[str]:
    """A warning where verdicts rest on few seeds."""
    fewest = min(seeds, default=ENOUGH_SEEDS)
    return [f"Verdicts on {plural(int(fewest), 'seed')} alone: read them with care."] if fewest < ENOUGH_SEEDS else []


def _detectable(frame: pd.DataFrame) -> str:
    """True differences that are mostly detected, from row to row; rows whose seeds vary more need larger ones."""
    detectable = frame["mde"].dropna() if "mde" in frame else pd.Series(dtype=float)
    if detectable.empty:
        return ""
    least, most = points(detectable.min()), points(detectable.max())
    until = least if least == most else f"{least} to {most}"
    rows = "" if least == most else " (by row)"
    return f"A true difference of {until} points{rows} would be missed in 20 of 100 such sweeps."


def markdown(sheet: Sheet) -> str:
    """A pipe table under its caption, above its note."""
    rows = [
        tuple(f"**{cell}**" for cell in row[:2]) + row[2:] if place in sheet.bold else row
        for place, row in enumerate(sheet.rows)
    ]
    lines = [
        " | ".join(sheet.columns),
        " | ".join(["---", *["---:"] * (len(sheet.columns) - 1)]),
        *(" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows),
    ]
    note = ["", sheet.note] if sheet.note else []
    return "\n".join([sheet.caption, "", *(f"| {line} |" for line in lines), *note, ""])


_FITTED = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n"


def latex(sheet: Sheet) -> str:
    """A ``table`` that needs the packages booktabs, graphicx and amssymb; it is made smaller where it is too wide."""
    escaped = [[_tex(cell) for cell in row] for row in sheet.rows]
    for place in sheet.bold:
        escaped[place][:2] = [f"\\textbf{{{cell}}}" for cell in escaped[place][:2]]
    body = pd.DataFrame(escaped, columns=[_tex(name) for name in sheet.columns], dtype=object)
    below = f"\n\\par\\smallskip\\footnotesize {_tex(sheet.note)}" if sheet.note else ""
    written = body.style.hide(axis="index").to_latex(
        caption=_tex(sheet.caption),
        column_format=f"l{'r' * (len(sheet.columns) - 1)}",
        hrules=True,
        position_float="centering",
    )
    fitted = written.replace("\\begin{tabular}", f"{_FITTED}\\begin{{tabular}}").replace(
        "\\end{tabular}", "\\end{tabular}}"
    )
    return fitted.replace("\n\\end{table}", f"{below}\n\\end{{table}}")


def comma_separated(sheet: Sheet) -> str:
    """The cells as CSV; a missing value is empty, and no cell is a formula."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(spreadsheet_text, sheet.columns))
    writer.writerows([("" if cell == MISSING else spreadsheet_text(cell)) for cell in row] for row in sheet.rows)
    return file.getvalue()


_SPECIAL = {"\\": r"\textbackslash{}", MISSING: "--", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_SPECIAL |= {"\N{CHECK MARK}": r"\checkmark"} | {character: f"\\{character}" for character in "&%$#_{}"}


def _tex(content: str) -> str:
    """Escaped; signed numbers in math mode, so that minus is a minus."""
    escaped = "".join(_SPECIAL.get(character, character) for character in content)
    return re.sub(r"(?<![\w.])([+-]\d+\.\d+)", r"$\1$", escaped)
