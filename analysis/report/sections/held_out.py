"""The chosen config and the baseline on final seeds: the numbers to publish."""

from analysis.formats import each, interval, plural, points, signed
from analysis.report import html as page
from analysis.report.findings import Findings
from analysis.report.held_out import HeldOut, held_out
from analysis.report.html import TableCell, number
from analysis.selection.final_seeds import FinalScores


def section(findings: Findings) -> str:
    """Both configs on the final seeds; empty before the first of them is complete."""
    found = held_out(findings.tables)
    if found is None or not found.chosen.scores:
        return ""
    rows = [_row(findings, found, found.chosen)]
    rows += [_row(findings, found, found.baseline)] if found.baseline is not None else []
    columns = ["Study", "mIoU", "Seeds", "Over baseline", "Verdict", "On role select"]
    rest = (
        f"The result of this sweep: {plural(found.chosen.planned, 'seed')} that no trial had before the freeze, role "
        f"{found.chosen.role}. The difference is one comparison of two configs, seed by seed. On role select: the mean "
        "of the same trainings on the images of the search."
    )
    return page.figure(page.table(columns, rows), "Chosen config and baseline on final seeds.", rest)


def _row(findings: Findings, found: HeldOut, config: FinalScores) -> list[TableCell]:
    difference = found.difference if config is found.chosen else None
    word, gap = TableCell(), number("", None)
    if difference is not None:
        why = difference.withheld
        word = TableCell("" if found.said is None else found.said.in_table, small=why, wide=bool(why))
        limits = "" if why else interval(difference.low, difference.high)
        gap = number(signed(difference.mean), difference.mean, limits or each(difference.each, sign=True))
    return [
        TableCell(
            html=page.key(config.study, findings.palette[config.study]),
            small="baseline" if config is found.baseline or found.is_baseline else "chosen",
        ),
        number(points(config.mean), config.mean, f"n={len(config.scores)} of {config.planned}"),
        TableCell(each(config.scores)),
        gap,
        word,
        number(points(config.select_mean), config.select_mean),
    ]
