"""What was spent on what, and the best score so far against the budget spent."""

from analysis.figures import search as plots
from analysis.formats import count, duration
from analysis.report import html as page
from analysis.report.captions import SCORE
from analysis.report.findings import Findings
from analysis.search.history import incumbents, spending


def section(findings: Findings) -> str:
    """What was spent on what, and the best so far against it."""
    spent, steps = spending(findings.tables), incumbents(findings.tables)
    if spent.empty:
        return ""
    trials = findings.tables["trials"]
    bars = page.figure(
        page.plot(plots.budget(spent, list(findings.comparison["study"]), findings.palette)),
        f"Training took {duration(spent['seconds'].sum())} in all.",
        f"{count(len(trials))} trials; full color: search, fainter: pruned, faintest: diverged or failed, "
        "hatched: fresh seeds. Budgets are granted in trials or epochs, so a costlier loss takes longer.",
    )
    if steps["best"].isna().all():
        return bars
    lines = page.figure(
        page.keys(findings.palette) + page.plot(plots.incumbent(steps, findings.palette)),
        "Best so far in the search: one seed each, optimistic; not a comparison of methods.",
        f"{count(len(steps))} search trials, in the order in which they ended; a dot where the best rose. {SCORE}",
    )
    return bars + lines
