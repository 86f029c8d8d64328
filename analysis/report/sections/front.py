"""The best student below each limit of cost, and whether it is on the front."""

from analysis.formats import MISSING, missing, points, text
from analysis.report import html as page
from analysis.report.findings import Findings
from analysis.report.front_lines import chance_in_words, limit_name, mean_in_words
from analysis.report.html import TableCell, number
from analysis.search.front import front
from analysis.tables.json_columns import read_limits


def section(findings: Findings) -> str:
    """The best student below each limit; nothing for a sweep without several limits."""
    limits = read_limits(findings.tables)
    if limits is None:
        return ""
    rows = []
    for _, row in front(findings.tables).iterrows():
        limit = number(limit_name(limits, row["limit"]), row["limit"])
        if not text(row["student"]):
            rows.append([limit, TableCell("no trial is complete"), *[TableCell(MISSING)] * 4])
            continue
        same = "" if missing(row["same_as"]) else f"as below {limit_name(limits, row['same_as'])}"
        interval = mean_in_words(row).partition(" ")[2]
        seeds = f"n={int(row['n'])}" if row["confirmed"] else "in the search"
        rows.append(
            [
                limit,
                TableCell(str(row["student"]), small=same),
                TableCell(html=page.key(row["study"], findings.palette[row["study"]]), small=row["config_id"]),
                number(limit_name(limits, row["cost"]), row["cost"]),
                number(points(row["mean"]), row["mean"], f"{interval} {seeds}".strip()),
                number(chance_in_words(row["p_front"]), row["p_front"]),
            ]
        )
    columns = ["Limit", "Student", "Study", "Cost", "mIoU", "On the front (no verdict)"]
    note = (
        "Cost as measured before the first trial; mean over fresh seeds with its 95 % interval. The last column is the "
        "share of redraws of all means in which no other student that is as cheap or cheaper is better; it takes the "
        "costs and the students that were trained on fresh seeds as given."
    )
    return page.figure(page.table(columns, rows), "The best student below each limit.", note)
