"""What quality costs: training time, size and latency of every config on fresh seeds."""

from analysis.figures import search as plots
from analysis.formats import count, duration, latency, points, share
from analysis.report import html as page
from analysis.report.findings import Findings
from analysis.report.html import TableCell, number
from analysis.search.pareto import LIKELY, pareto


def section(findings: Findings) -> str:
    """What quality costs: training time, size and latency of every config on fresh seeds."""
    frame = pareto(findings.tables)
    if len(frame) < 2 or frame["cost_s"].isna().any():
        return ""
    rows = [
        [
            TableCell(html=page.key(row["study"], findings.palette[row["study"]]), small=row["config_id"]),
            number(points(row["mean"]), row["mean"], f"n={row['n']}"),
            number(duration(row["cost_s"]), row["cost_s"]),
            number(count(row["params"]), row["params"]),
            number(latency(row["latency_ms"]), row["latency_ms"]),
            number(share(row["p_front"]), row["p_front"]),
        ]
        for _, row in frame.iterrows()
    ]
    likely = int((frame["p_front"] > LIKELY).sum())
    rest = (
        "Filled marks are on the front: no other config is better in everything. Means over few seeds "
        f"make the front uncertain: the last column is the share of redraws in which a config is on it; {likely} of "
        f"{len(frame)} configs are on it in more than {share(LIKELY)}."
    )
    columns = ["Study", "mIoU", "One training", "Parameters", "Latency", "On the front (no verdict)"]
    drawing = plots.pareto(frame, findings.palette).draw()
    return page.figure(drawing + page.table(columns, rows), "What quality costs.", rest)
