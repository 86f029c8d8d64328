"""The report of a sweep: one HTML file that works offline, on a phone, in the light and in the dark."""

from pathlib import Path

from analysis.formats import count
from analysis.report import html
from analysis.report.contents import SECTIONS
from analysis.report.findings import Findings, read_findings
from analysis.report.paper.tables import write_paper
from analysis.tables.atomic_write import write_atomically

_MARKED = {"amber": "var(--warn)", "red": "var(--stop)"}
"""The color of a verdict that is to be read with care; another one has the color of the chosen study."""


def write_report(sweep: str | Path) -> Path:
    """Write ``D/report/index.html`` and ``D/report/paper/*`` from the tables of sweep ``D``.

    Returns:
        The path of the HTML file.

    Raises:
        AnalysisError: There are no tables, or they do not read.
    """
    return write_findings(read_findings(sweep))


def write_findings(findings: Findings) -> Path:
    """Write the files of ``write_report`` from what was computed for them."""
    target = findings.folder / "report" / "index.html"
    write_atomically(target, report_page(findings).encode())
    write_paper(target.parent / "paper", findings)
    return target


def report_page(findings: Findings) -> str:
    """The whole page as HTML: the verdict on top, then every section that has something to show."""
    sweep = findings.tables["sweeps"].iloc[0]
    sections = [section for section in SECTIONS if section.in_ablation or not findings.is_ablation]
    bodies = [(section, section.body(findings)) for section in sections]
    shown = [(section, body) for section, body in bodies if body]
    links = "".join(f'<a href="#{section.anchor}">{section.title}</a>' for section, _ in shown)
    body = "".join(html.section(section.anchor, section.title, body, folded=section.folded) for section, body in shown)
    foot = f"Written by kdsweep {html.escape(sweep['kdsweep_version'])}."
    return html.document(f"{sweep['name']}: report", f"{_top(findings)}<nav>{links}</nav>{body}<footer>{foot}</footer>")


def _top(findings: Findings) -> str:
    sweep, chosen = findings.tables["sweeps"].iloc[0], findings.chosen()
    words = findings.verdict
    state = "finished" if sweep["finished"] else "not finished"
    facts = [*dict.fromkeys((sweep["name"], sweep["data_name"])), f"{sweep['num_classes']} classes"]
    facts += [f"{len(findings.comparison)} studies", f"{count(len(findings.tables['trials']))} trials", state]
    color = _MARKED.get(words.mark) or ("" if chosen is None else findings.palette[chosen["study"]])
    not_claimed = f"<b>Not claimed.</b> {html.escape(words.not_claimed)}" if words.not_claimed else ""
    about_scores = "" if findings.score in words.not_claimed else html.escape(f" {findings.about_scores}")
    return (
        f'<p class="eyebrow">{html.escape(" · ".join(facts))} · started {sweep["created_at"]:%Y-%m-%d}</p>'
        f"<h1>{html.escape(words.headline)}</h1>{html.verdict(words.lines, color)}"
        f'<p class="aside below">{not_claimed}{about_scores}</p>'
    )
