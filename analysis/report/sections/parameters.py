"""Score against the value of every searched parameter, and which of them mattered."""

from analysis.figures import importance as importance_plots
from analysis.formats import count
from analysis.report import html as page
from analysis.report.findings import Findings
from analysis.report.slices import slices
from analysis.search.history import thinned
from analysis.search.importance import FEWEST, cautions, importance, isolation, searched

_MOST_DOTS, _FEWEST_DOTS = 1000, 20
"""Dots that are drawn in all figures of single parameters together at most, and in one at least."""
_REPLICATES = 8
"""Of bootstraps: few, since a forest takes a second."""


def section(findings: Findings) -> str:
    """Score against the value of every searched parameter, and which of them mattered."""
    return slices(findings.tables, findings.drawn_values, findings.palette) + _importance(findings)


def _importance(findings: Findings) -> str:
    few, warned, parts = [], [], []
    studies = findings.responses.groupby("study")["name"].nunique()
    most = max(_FEWEST_DOTS, _MOST_DOTS // max(1, int(studies.sum())))
    for study in findings.comparison["study"]:
        configs, space = searched(findings.tables, study)
        if len(configs) < FEWEST:
            few += [f"{study} {len(configs)}"] if space else []
            continue
        warned += cautions(findings.tables, study)
        frame = importance(findings.tables, study, replicates=_REPLICATES)
        if frame["value"].isna().all():
            continue
        rest = (
            f"{count(int(frame['configs'].max()))} configs of {study}, one seed each or their mean. Filled: above the "
            "noise floor (dotted), the most that shuffled values of any parameter reach; 90 % bootstrap intervals over "
            "configs."
        )
        drawing = importance_plots.importance(frame).draw()
        parts.append(page.figure(drawing, f"Which parameters of {study} moved the score.", rest))
        parts.append(_isolation(findings, study, list(dict.fromkeys(frame["name"])), most))
    if few:
        warned.insert(
            0,
            f"Importance is not shown for studies with fewer than {FEWEST} complete configs, since the order of their "
            f"parameters would be chance: {', '.join(few)}.",
        )
    return "".join(f'<p class="aside">{page.prose(sentence)}</p>' for sentence in warned) + "".join(parts)


def _isolation(findings: Findings, study: str, names: list[str], most: int) -> str:
    """What each part of a range reached; at most so many configs are dots, the best of all among them."""
    dots = findings.responses.sort_values("score", ascending=False, kind="stable")
    drawn, partly = [], ""
    for name in names:
        mine = dots[(dots["study"] == study) & (dots["name"] == name)]
        if len(mine) > most:
            partly = " Where not all configs are dots, those drawn are spread evenly over the order of their scores."
        buckets = isolation(findings.tables, study, name)
        drawing = importance_plots.isolation(buckets, thinned(mine, most), bool(mine["log"].any()))
        drawn.append(f"<div><h3><code>{page.escape(name)}</code></h3>{drawing.draw()}</div>")
    rest = (
        "Thin: the best of each part of the range, which grows with the number of configs in it; thick: the upper "
        f"quartile; all other parameters as they came.{partly}"
    )
    return page.figure(f'<div class="grid">{"".join(drawn)}</div>', f"How good {study} gets where.", rest)
