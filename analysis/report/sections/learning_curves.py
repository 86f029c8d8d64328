"""The learning curves of every study."""

from analysis.figures import search as plots
from analysis.formats import count, plural
from analysis.report import html as page
from analysis.report.findings import Findings
from analysis.tables.states import Phase, State


def section(findings: Findings) -> str:
    """The learning curves of every study."""
    frame = findings.curves
    if frame.empty:
        return ""
    baseline = findings.baseline()
    reference = frame.iloc[:0]
    if baseline is not None:
        of_baseline = (frame["study"] == baseline["study"]) & (frame["config_id"] == baseline["config_id"])
        phase = Phase.CONFIRM if baseline["confirmed"] else Phase.SEARCH
        reference = frame[of_baseline & (frame["phase"] == phase)]
    trials = findings.tables["trials"]
    searched = trials[(trials["phase"] == Phase.SEARCH) & (trials["state"] != State.PLANNED)].groupby("study").size()
    drawn = []
    for _, row in findings.comparison.iterrows():
        study, mine = row["study"], frame[frame["study"] == row["study"]]
        shown = mine.loc[mine["phase"] == Phase.SEARCH, "trial_id"].nunique()
        others = reference.iloc[:0] if row["is_baseline"] else reference
        drawing = plots.learning_curves(frame, study, row["config_id"], others, findings.palette)
        fresh = mine.loc[mine["phase"] == Phase.CONFIRM, "trial_id"].nunique()
        of_search = int(searched.get(study, 0))
        partly = f"{count(shown)} of " if shown < of_search else ""
        notes = [f"{partly}{plural(of_search, 'search trial')}{' drawn' if partly else ''}"] if of_search else []
        note = ", ".join([*notes, f"{plural(fresh, 'training')} on fresh seeds"])
        title = f'<h3>{page.key(study, findings.palette[study])}<span class="aside">, {note}</span></h3>'
        drawn.append(f"<div>{title}{drawing.draw()}</div>")
    best = "the seeds of the best config" if findings.confirmed else "the best trial"
    rest = (
        f"Thick: {best}; thin: the search; a cross ends a trial that was pruned, "
        "diverged or failed; dotted gray: the baseline's best config. mIoU on the role select, in points, "
        "one axis for all. Where not all search trials are drawn, they are spread evenly over their order of starting."
    )
    return page.figure(f'<div class="grid">{"".join(drawn)}</div>', "How each study learned.", rest)
