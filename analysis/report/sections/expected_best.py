"""The score that a search of a given size reaches on average, or why it cannot be computed."""

from analysis.figures import search as plots
from analysis.report import html as page
from analysis.report.findings import Findings
from analysis.search.expected_best import expected_best


def section(findings: Findings) -> str:
    """The score that a search of a given size reaches on average, or why it cannot be computed."""
    expected = expected_best(findings.tables)
    if expected.refused or expected.by_trials.empty:
        return f'<p class="aside">{page.prose(expected.refused)}</p>' if expected.refused else ""
    scored = (
        f" Thick: the score of that config on {expected.held_out}, which did not choose it."
        if expected.held_out
        else ""
    )
    rest = (
        "A claim about methods, from one search each: the luck of other searches is not in it. U-statistic over all "
        f"orders of the trials; 80 % band. Thin: the score that chooses, optimistic.{scored} Dotted beyond a quarter "
        f"of the trials, where it cannot be trusted."
    )
    by_trials = plots.expected_by_trials(expected.by_trials, findings.palette).draw()
    by_hours = plots.expected_by_hours(expected.by_hours, findings.palette).draw()
    body = page.keys(findings.palette) + f'<div class="grid"><div>{by_trials}</div><div>{by_hours}</div></div>'
    return page.figure(body, "Expected best score against budget.", rest)
