"""What was spent on what, and the best score so far against the budget spent."""

from analysis.conditions.time_spent import recording
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
    trials, once = findings.tables["trials"], _once(findings)
    parts = ", ".join(f"{what} {duration(seconds)}" for what, seconds in once.items())
    shared = f" Amber: what was done once for all studies and is in no bar of a study: {parts}." if once else ""
    bars = page.figure(
        page.plot(plots.budget(spent, list(findings.comparison["study"]), findings.palette, once)),
        f"Training the students took {duration(spent['seconds'].sum())} in all, without starting and checkpoints.",
        f"{count(len(trials))} trials. Full color: search; fainter: pruned; faintest: diverged or failed; "
        f"hatched: fresh seeds. Budgets are granted in trials or epochs, so a costlier loss takes longer.{shared}",
    )
    if steps["best"].isna().all():
        return bars
    lines = page.figure(
        page.keys(findings.palette) + page.plot(plots.incumbent(steps, findings.palette)),
        "Best so far in the search: one seed each, optimistic; not a comparison of methods.",
        f"{count(len(steps))} search trials, in the order in which they ended; a dot where the best rose. {SCORE}",
    )
    return bars + lines


def _once(findings: Findings) -> dict[str, float]:
    """Seconds of what was done once for all studies, by what it was; what never happened is left out."""
    recorded = recording(findings.tables)
    seconds = {
        "fitting the teacher": float(findings.tables["teachers"]["seconds"].sum()),
        "recording samples": float(recorded["record"]),
        "recording teacher maps": float(recorded["record_teacher"]),
    }
    return {what: spent for what, spent in seconds.items() if spent > 0}
