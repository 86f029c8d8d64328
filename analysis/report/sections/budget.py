"""What was spent on what, and the best score so far against the budget spent."""

from analysis.conditions.time_spent import recording
from analysis.figures import search as plots
from analysis.formats import count, duration, missing, points, text
from analysis.report import html as page
from analysis.report.findings import Findings
from analysis.report.html import TableCell, number
from analysis.search.audits import losses_by_stopping
from analysis.search.history import incumbents, spending
from analysis.selection.searches import searches


def section(findings: Findings) -> str:
    """What was spent on what, and the best so far against it."""
    spent, steps = spending(findings.tables), incumbents(findings.tables)
    if spent.empty:
        return ""
    trials, once = findings.tables["trials"], _once(findings)
    parts = ", ".join(f"{what} {duration(seconds)}" for what, seconds in once.items())
    shared = f" Amber: what was done once for all studies and is in no bar of a study: {parts}." if once else ""
    bars = page.figure(
        plots.budget(spent, list(findings.comparison["study"]), findings.palette, once).draw(),
        f"Training the students took {duration(spent['seconds'].sum())} in all, without starting and checkpoints.",
        f"{count(len(trials))} trials. Full color: search; fainter: pruned; faintest: diverged or failed; "
        f"outlined: fresh seeds. Budgets are granted in trials or epochs, so a costlier loss takes longer.{shared}",
    )
    if steps["best"].isna().all():
        return bars + _searches(findings) + _audits(findings)
    lines = page.figure(
        page.keys(findings.palette) + plots.incumbent(steps, findings.palette).draw(),
        "Best so far in the search: one seed each, optimistic; not a comparison of methods.",
        f"{count(len(steps))} search trials, in the order in which they ended; a dot where the best rose.",
    )
    return bars + lines + _searches(findings) + _audits(findings)


def _searches(findings: Findings) -> str:
    """What each search spent and found; empty where every study has one."""
    found = searches(findings.tables)
    if found.empty or found["search"].max() < 2:
        return ""
    rows = []
    for row in found.to_dict("records"):
        name = text(row["trial_id"]) or text(row["config_id"])
        same = (
            "" if missing(row["same_as"]) else f"the config of search {row['same_as']:.0f}, trained once on each seed"
        )
        fresh = "" if not row["confirmed"] else f"n = {row['n']}"
        rows.append(
            [
                TableCell(html=page.key(row["study"], findings.palette[row["study"]])),
                number(str(row["search"]), row["search"]),
                number(count(row["search_trials"]), row["search_trials"]),
                number(count(row["search_epochs"]), row["search_epochs"]),
                number(duration(row["search_s"]), row["search_s"]),
                TableCell(name, small=same),
                number(points(row["mean"]), row["mean"], fresh),
            ]
        )
    columns = ["Study", "Search", "Trials", "Epochs", "Time", "Best finalist", "Its mean"]
    note = (
        "Each search has seeds, early stopping and a race of its own, and an even share of its study's budget. "
        "The mean is over fresh seeds that also chose the finalist, so it is optimistic."
    )
    return f'<h3>What each search spent and found</h3>{page.table(columns, rows)}<p class="aside">{note}</p>'


def _audits(findings: Findings) -> str:
    """How often early stopping lost the best; empty where no stopped trial was trained to its end."""
    found = losses_by_stopping(findings.tables)
    if found.empty:
        return ""
    rows = [
        [
            TableCell(html=page.key(row["study"], findings.palette[row["study"]])),
            number(count(row["stopped"]), row["stopped"]),
            number(count(row["audited"]), row["audited"]),
            number(count(row["lost"]), row["lost"]),
            number(f"{row['low']:.0%} to {row['high']:.0%}", row["high"]),
        ]
        for row in found.to_dict("records")
    ]
    audits = findings.tables["audits"]
    note = (
        "A random share of the trials that early stopping ended was trained to the end afterwards. Lost: one that "
        "ended above the best complete trial of its search. The interval (95 %, Clopper and Pearson) is of their share "
        "in all stopped trials. These trials are no candidates, and no study's budget paid for them: they took "
        f"{count(int(audits['epochs_run'].sum()))} epochs and {duration(audits['seconds'].sum())} beside it."
    )
    columns = ["Study", "Stopped", "Audited", "Lost", "Share lost"]
    return f'<h3>What early stopping lost</h3>{page.table(columns, rows)}<p class="aside">{note}</p>'


def _once(findings: Findings) -> dict[str, float]:
    """Seconds of what was done once for all studies, by what it was; what never happened is left out."""
    recorded = recording(findings.tables)
    seconds = {
        "fitting the teacher": float(findings.tables["teachers"]["seconds"].sum()),
        "recording samples": float(recorded["record"]),
        "recording teacher maps": float(recorded["record_teacher"]),
    }
    return {what: spent for what, spent in seconds.items() if spent > 0}
