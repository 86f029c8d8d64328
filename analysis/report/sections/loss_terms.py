"""What the loss terms came to in one training of every study."""

from analysis.formats import MISSING, share
from analysis.report.findings import Findings
from analysis.report.html import TableCell, figure, key, number, table
from analysis.search.loss_terms import loss_terms


def section(findings: Findings) -> str:
    """The terms of one training per study, of its best config."""
    studies = {trial_id: study for study, trial_id in findings.representatives.items()}
    frame = loss_terms(findings.rows("metrics", "trial_id", list(studies)), studies)
    if frame.empty:
        return ""
    shares = {"share_first": "Gradient share, first", "share_last": "Gradient share, last"}
    shares = {name: title for name, title in shares.items() if frame[name].notna().any()}
    rows = [
        [
            TableCell(html=key(row["study"], findings.palette[row["study"]])),
            TableCell(row["term"]),
            *(number(_short(row[name]), row[name]) for name in ("first", "last", "weighted")),
            *(number(share(row[name]), row[name]) for name in shares),
        ]
        for study in findings.comparison["study"]
        for _, row in frame[frame["study"] == study].iterrows()
    ]
    columns = ["Study", "Term", "Raw, first epoch", "Raw, last epoch", "Weighted, last epoch", *shares.values()]
    measured = (
        "Gradient share: the length of the gradient of the weighted term at all weights of the student, divided by the "
        "sum of these lengths over all terms, measured on one batch in the middle of an epoch; a term with a share "
        "near 0 was switched on but taught nothing."
    )
    about = "One training per study, of its best config."
    return figure(table(columns, rows), "What the losses came to.", f"{about} {measured}" if shares else about)


def _short(value: float) -> str:
    return MISSING if value != value else f"{value:.3g}"
