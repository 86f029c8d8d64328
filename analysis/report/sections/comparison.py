"""The comparison of the studies, each represented by its best config."""

import pandas as pd

from analysis.conditions.hardware import mixed
from analysis.formats import count, duration, each, interval, missing, plural, points, share, signed, text
from analysis.report import html as page
from analysis.report.captions import BOLD, CONFIG_CLAIM, SELECTION_ALONE
from analysis.report.findings import Findings
from analysis.report.html import TableCell, number
from analysis.report.wording import NOT_SEPARATED, missed, refusal, wording_of
from analysis.tables.json_columns import read_frozen_selection

INTERVALS = "Intervals: 95 %, over seeds, differences seed by seed, adjusted for the number of studies and looks."


def section(findings: Findings) -> str:
    """Every study by its best config, beside the baseline."""
    frame, baseline = findings.comparison, findings.baseline()
    all_scores = [score for scores in frame["scores"] for score in scores]
    low, high = (min(all_scores), max(all_scores)) if all_scores else (0.0, 1.0)
    mark = float("nan") if baseline is None else baseline["mean"]
    columns = ["Study", "mIoU", "Seeds", "Success", "Over baseline", "Verdict", "Gap closed", "In the search", "Budget"]
    tied = findings.tied()
    rows = []
    for _, row in frame.iterrows():
        color = findings.palette[row["study"]]
        about = ["baseline"] if row["is_baseline"] else []
        about += [row["method"]] if row["method"] != row["study"] else []
        about += ["control, never chosen"] if text(row["control"]) else []
        about += ["in the tie set"] if row["study"] in tied and len(tied) > 1 else []
        drawn = page.strip(row["scores"], low, high, color, mark) if row["n"] else ""
        correction = "" if missing(row["optimism"]) else f"then {signed(-row['optimism'])}"
        limits = interval(row.get("low"), row.get("high")) if findings.finished else ""
        rows.append(
            [
                TableCell(html=page.key(row["study"], color), small=" · ".join(about)),
                number(points(row["mean"]), row["mean"], f"n={row['n']}"),
                TableCell(html=drawn, small=_seeds(row), sort=row["maximum"]),
                _success(row),
                number(signed(row["difference"]), row["difference"], limits or _seedwise(row["differences"])),
                _word(findings, row),
                number(share(row["gap_closed"]), row["gap_closed"], _shares(row)),
                number(points(row["screen_score"]), row["screen_score"], correction),
                _spent(row),
            ]
        )
    bold = [place for place, study in enumerate(frame["study"]) if study in findings.bold()]
    marks = page.warnings(mix.sentence for mix in mixed(findings.tables))
    note = f'<p class="aside">{_how_to_read(findings)}</p>'
    return page.table(columns, rows, bold) + marks + note


def _how_to_read(findings: Findings) -> str:
    if not findings.confirmed:
        return (
            "Nothing is confirmed on fresh seeds yet: every mIoU here is the best of several single-seed "
            "scores, hence too high, and a difference between two of them says little."
        )
    tie = (
        " In the tie set: within one standard error of the best; a config outside of it may still be as good."
        if len(findings.tied()) > 1
        else ""
    )
    bold = f" {BOLD}" if findings.bold() else ""
    verdicts = f" {INTERVALS}" if "word" in findings.comparison and findings.finished else ""
    role = SELECTION_ALONE if read_frozen_selection(findings.tables) is not None else ""
    return (
        f"{role}{CONFIG_CLAIM} Every study is represented by its best config. mIoU is the mean over fresh seeds, which "
        "the search never used, failed trainings included; the dots are those seeds, the dotted line is the baseline. "
        "Success: the share of them that did not fail, with its interval. Over baseline: the mean "
        f"difference, with its interval below.{verdicts} In the search: the single-seed score that made the "
        "config a finalist, then the step from there to the fresh mean. Budget: the search (trials, epochs, "
        f"time, parameters searched); after the plus, the time of the fresh seeds.{tie}{bold}"
    )


def _word(findings: Findings, row: pd.Series) -> TableCell:
    if reason := refusal(row):
        return TableCell(html=f'<span class="warn">refused</span><small>{page.escape(reason)}</small>', wide=True)
    if not findings.finished:
        return TableCell(small="" if row.get("is_baseline") else "none before the sweep ends")
    said = wording_of(row)
    if said is None:
        return TableCell(small="" if row["is_baseline"] or not row["n"] else text(row.get("withheld")) or "no test")
    notes = [said.reservation.strip()]
    notes += [missed(row)] if said.word == NOT_SEPARATED else []
    notes += [said.weakened]
    return TableCell(said.in_table, small="; ".join(filter(None, notes)), wide=bool(said.weakened))


def _seeds(row: pd.Series) -> str:
    """Every score of a config, and which of its seeds failed."""
    unstable = text(row.get("unstable"))
    return f"{each(row['scores'])}{f'; unstable: {unstable}' if unstable else ''}"


def _success(row: pd.Series) -> TableCell:
    """The share of the config's fresh seeds that did not fail, and the failures of the whole study."""
    broken, runs = (int(row[f"search_{name}"] + row[f"fresh_{name}"]) for name in ("broken", "runs"))
    of_study = f"{broken} of {runs} failed in the study" if broken else ""
    if missing(row["success"]) or not row["confirmed"]:
        return number("", None, of_study)
    ends = f"{share(row['success_low'])} to {share(row['success_high'])}"
    return number(share(row["success"]), row["success"], "; ".join(filter(None, (ends, of_study))))


def _spent(row: pd.Series) -> TableCell:
    """Budget of the search of one study, the time of its fresh seeds behind a plus."""
    words = f"{count(row['search_trials'])} trials, {count(row['search_epochs'])} epochs"
    time = f"{duration(row['search_s'])} + {duration(row['confirm_s'])}"
    more = f"{time}; {plural(row['searched_parameters'], 'parameter')}"
    return number(words, row["search_epochs"], more)


def _seedwise(differences: list[float]) -> str:
    return each(differences, sign=True) if len(differences) > 1 else ""


def _shares(row: pd.Series) -> str:
    low, high = row.get("gap_low"), row.get("gap_high")
    return "" if missing(low) or missing(high) else f"{share(low)} to {share(high)}"
