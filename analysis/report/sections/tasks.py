"""Methods over several tasks: what share of the gap each closes, how they rank, and what can be claimed."""

from analysis.figures.canvas import Colors
from analysis.figures.tasks import critical_difference
from analysis.formats import MISSING, missing, points, share, signed
from analysis.report import html as page
from analysis.report.html import TableCell, number
from analysis.search.task_claim import TaskClaim

TASK_CLAIM = "A claim about methods on tasks like these: it holds for other data sets and pairs of teacher and student."


def tasks_section(claim: TaskClaim, palette: Colors) -> str:
    """The table of tasks, the tests over them, and the critical differences from enough tasks on."""
    studies = list(dict.fromkeys(claim.scores["study"]))
    cells = {(row["task"], row["study"]): row for row in claim.scores.to_dict("records")}
    rows = []
    for study in studies:
        of_tasks = [cells.get((task, study)) for task in claim.tasks]
        rows.append([TableCell(html=page.key(study, palette[study])), *(_cell(row) for row in of_tasks)])
    rows_of_tests = [
        [
            TableCell(html=page.key(str(row["study"]), palette[str(row["study"])])),
            number(str(row["tasks"]), row["tasks"], f"better in {row['better']}"),
            number(share(row["mean_share"]), row["mean_share"]),
            number(MISSING if missing(row["mean_rank"]) else f"{row['mean_rank']:.2f}", row["mean_rank"]),
            number(MISSING if missing(row["p_holm"]) else f"{row['p_holm']:.2g}", row["p_holm"], _word(row)),
        ]
        for row in claim.frame.to_dict("records")
    ]
    note = (
        f"{TASK_CLAIM} In every task: the mean over searches on fresh seeds that chose nothing, the difference to the "
        "baseline, the share of the gap to the teacher (none where the teacher is less than 2 points above the "
        "baseline), and the rank among the studies that all tasks have. Wilcoxon's signed rank test over the tasks, "
        "corrected by Holm."
    )
    body = page.table(["Study", *claim.tasks], rows)
    body += page.table(["Study", "Tasks", "Gap closed, mean", "Mean rank", "p (Holm)"], rows_of_tests)
    body += f'<p class="aside">{page.prose(note)}</p>'
    if claim.critical is not None:
        drawing = critical_difference(claim.ranks, claim.critical, palette).draw()
        rest = (
            f"Friedman's test that all are alike: p = {claim.critical.p:.2g}. A bar joins methods whose mean ranks "
            "differ by less than the critical difference (Nemenyi, 5 %). Ranks depend on which methods are compared."
        )
        body += page.figure(drawing, "Mean ranks over the tasks.", rest)
    return body


def _cell(row: dict[object, object] | None) -> TableCell:
    if row is None:
        return number("", None, "not in this task")
    mean, difference = float(str(row["mean"])), float(str(row["difference"]))
    closed, rank = float(str(row["share"])), float(str(row["rank"]))
    parts = [signed(difference)] if difference else []
    parts += [] if missing(closed) or not difference else [f"{share(closed)} of the gap"]
    parts += [] if missing(rank) else [f"rank {rank:g}"]
    return number(f"{points(mean)}", mean, ", ".join(parts))


def _word(row: dict[object, object]) -> str:
    if missing(float(str(row["p"]))):
        return "not tested"
    return "separated" if row["separated"] else "not separated"
