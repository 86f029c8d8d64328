"""The comparison of several sweeps: every study in every sweep, and the claims about the methods."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.conditions.hardware import mixed
from analysis.errors import AnalysisError
from analysis.figures.canvas import Colors, Figure, colors
from analysis.figures.marks import Dots
from analysis.formats import count, duration, interval, missing, plural, points, signed, text
from analysis.report import html as page
from analysis.report.comparable import differences
from analysis.report.findings import Findings, read_findings
from analysis.report.html import TableCell, number
from analysis.report.line import Line
from analysis.report.sections.methods import methods_table, sentence_of
from analysis.report.sections.tasks import tasks_section
from analysis.report.tasks import Task, tasks_of
from analysis.report.wording import refusal, wording_of
from analysis.search.method_claim import method_claim
from analysis.search.task_claim import task_claim
from analysis.tables.json_columns import SpecField, read_spec

_COMPARED = [field for field in SpecField if field not in (SpecField.TEACHER, SpecField.STUDIES)]
_SHOWN = 8
"""Fields of specs that are named."""


def comparison(sweeps: Sequence[str | Path]) -> str:
    """One page about several sweeps, as HTML.

    Args:
        sweeps: The folders or URIs of the sweeps, in the order in which they are shown.

    Raises:
        AnalysisError: Fewer than two sweeps, the same one twice, or sweeps that cannot be compared: other classes or
            images for the same data, student and teacher, or tasks that share no method.
    """
    if len(sweeps) < 2:
        raise AnalysisError(f"two sweeps or more are needed for a comparison, got {len(sweeps)}: give more folders")
    all_findings = [read_findings(sweep) for sweep in sweeps]
    labels = _labels(all_findings)
    tasks = tasks_of(all_findings, labels)
    return _page(all_findings, labels) if len(tasks) == 1 else _tasks_page(tasks)


def _labels(all_findings: Sequence[Findings]) -> list[str]:
    """Names of the sweeps; with their seed, or in place of them the id, where several have the same."""
    sweeps = [findings.tables["sweeps"].iloc[0] for findings in all_findings]
    choices = [(sweep["name"], f"{sweep['name']}, seed {sweep['seed']}", sweep["sweep_id"]) for sweep in sweeps]
    for names in zip(*choices, strict=True):
        if len(set(names)) == len(names):
            return list(map(str, names))
    raise AnalysisError(
        f"every sweep is allowed once, got {', '.join(sweep['sweep_id'] for sweep in sweeps)}: leave out the copies"
    )


def _page(all_findings: Sequence[Findings], labels: Sequence[str]) -> str:
    studies = list(dict.fromkeys(study for findings in all_findings for study in findings.comparison["study"]))
    every = pd.concat([findings.tables["studies"] for findings in all_findings]).drop_duplicates("study")
    palette = colors(every)
    sentence, claims = _methods(all_findings, palette)
    differing = _differing(all_findings, labels)
    lines = [
        Line("Methods", sentence, "" if len(claims) else "amber"),
        Line(
            "Differences",
            "; ".join(differing) + "." if differing else "None but the search seed.",
            "amber" if differing else "",
        ),
    ]
    head = page.escape(f"{plural(len(all_findings), 'sweep')} side by side")
    body = (
        f'<p class="eyebrow">{page.escape(" · ".join(labels))}</p><h1>{head}</h1>{page.verdict(lines)}'
        + page.section("sweeps", "The sweeps", _overview(all_findings, labels))
        + page.section("studies", "Every study in every sweep", _studies(all_findings, labels, studies, palette))
        + (page.section("methods", "Methods against the baseline", claims) if claims else "")
    )
    return page.document(f"{len(all_findings)} sweeps", body)


def _tasks_page(tasks: Sequence[Task]) -> str:
    all_findings = [findings for task in tasks for findings in task.findings]
    labels = [label for task in tasks for label in task.labels]
    palette = colors(pd.concat([findings.tables["studies"] for findings in all_findings]).drop_duplicates("study"))
    claim = task_claim({task.name: [findings.tables for findings in task.findings] for task in tasks})
    unfinished = [label for findings, label in zip(all_findings, labels, strict=True) if not findings.finished]
    sentence = f"{claim.sentence[0].upper()}{claim.sentence[1:]}."
    if unfinished:
        sentence = f"No claim over tasks before all sweeps have finished: {', '.join(unfinished)}."
    lines = [Line("Methods", sentence, "" if claim.frame["separated"].any() and not unfinished else "amber")]
    head = f"{plural(len(tasks), 'task')}, {plural(len(all_findings), 'sweep')}"
    body = (
        f'<p class="eyebrow">{page.escape(" · ".join(task.name for task in tasks))}</p>'
        f"<h1>{page.escape(head)}</h1>"
        + page.verdict(lines)
        + page.section("tasks", "Methods over the tasks", "" if unfinished else tasks_section(claim, palette))
    )
    for place, task in enumerate(tasks, start=1):
        studies = list(dict.fromkeys(study for findings in task.findings for study in findings.comparison["study"]))
        parts = [_overview(task.findings, task.labels), _studies(task.findings, task.labels, studies, palette)]
        if len(task.findings) > 1 or not unfinished:
            said, claims = _methods(task.findings, palette)
            parts += [f'<p class="aside">{page.prose(said)}</p>', claims]
        body += page.section(f"task-{place}", task.name, *parts)
    return page.document(f"{len(tasks)} tasks", body)


def _overview(all_findings: Sequence[Findings], labels: Sequence[str]) -> str:
    rows = []
    for findings, label in zip(all_findings, labels, strict=True):
        sweep, trials = findings.tables["sweeps"].iloc[0], findings.tables["trials"]
        state = "finished" if sweep["finished"] else "not finished"
        rows.append(
            [
                TableCell(label, small=f"{sweep['created_at']:%Y-%m-%d}, {state}"),
                TableCell(findings.verdict.headline, wide=True),
                number(str(sweep["seed"]), sweep["seed"], sweep["sampler"]),
                number(count(len(trials)), len(trials), duration(trials["seconds"].sum())),
            ]
        )
    return page.table(["Sweep", "Verdict of this sweep", "Search seed", "Trials"], rows)


def _studies(all_findings: Sequence[Findings], labels: Sequence[str], studies: list[str], palette: Colors) -> str:
    figure = Figure(60 + 36 * len(studies), x="mIoU on fresh seeds (points)")
    figure.y.name(studies[::-1])
    rows = []
    for place, study in enumerate(reversed(studies)):
        of_sweeps = [(label, _row(findings, study)) for findings, label in zip(all_findings, labels, strict=True)]
        means = [(label, row) for label, row in of_sweeps if row is not None and row["confirmed"]]
        x = [100 * row["mean"] for _, row in means]
        titles = [f"{study}, {label}: {points(row['mean'])} (n={row['n']})" for label, row in means]
        figure.add(Dots(x, [place] * len(x), palette[study], 11, opacity=0.75, titles=titles))
        rows.append([TableCell(html=page.key(study, palette[study])), *(_cell(row) for _, row in of_sweeps)])
    note = "Every dot is one sweep: the mean over fresh seeds of the config that it returned. Not confirmed: no dot."
    drawn = page.figure(figure.draw(), "How much the same study varies from sweep to sweep.", note)
    below = (
        '<p class="aside">mIoU in points on role select, n fresh seeds; below it the difference to the baseline '
        "of that sweep with its 95 % interval over seeds (a claim about configs).</p>"
    )
    return page.table(["Study", *labels], rows[::-1]) + below + drawn


def _row(findings: Findings, study: str) -> pd.Series | None:
    rows = findings.comparison[findings.comparison["study"] == study]
    return rows.iloc[0] if len(rows) else None


def _cell(row: pd.Series | None) -> TableCell:
    if row is None:
        return number("", None, "not in this sweep")
    if not row["n"]:
        return number("", None, "no complete trial")
    if not row["confirmed"]:
        return number(points(row["mean"]), row["mean"], "1 seed, not confirmed")
    difference = "refused" if refusal(row) else "" if missing(row["difference"]) else signed(row["difference"])
    limits = "" if refusal(row) else interval(row.get("low"), row.get("high"))
    said = wording_of(row)
    word = "" if refusal(row) or said is None else f"{said.in_table}{said.reservation}"
    kind = "control:" if text(row["control"]) else ""
    against = "baseline" if row["is_baseline"] else " ".join(filter(None, (kind, difference, limits, word)))
    return number(f"{points(row['mean'])} (n={row['n']})", row["mean"], against)


def _methods(all_findings: Sequence[Findings], palette: Colors) -> tuple[str, str]:
    """The claim about the methods as a sentence, and the table behind it as HTML."""
    if not all(findings.finished for findings in all_findings):
        return "No claim about methods before all sweeps have finished.", ""
    try:
        claim = method_claim([findings.tables for findings in all_findings])
    except AnalysisError as error:
        return f"No claim about methods: {error}.", ""
    return sentence_of(claim), methods_table(claim, palette) if claim.frame["low"].notna().any() else ""


def _differing(all_findings: Sequence[Findings], labels: Sequence[str]) -> list[str]:
    """What differs between the sweeps, one clause each."""
    specs = [read_spec(findings.tables["sweeps"]["spec_json"].iloc[0]).fields for findings in all_findings]
    clauses = []
    if paths := differences([{field.value: fields[field] for field in _COMPARED} for fields in specs]):
        more = f" and {len(paths) - _SHOWN} other fields" if len(paths) > _SHOWN else ""
        clauses.append(f"the specs differ in {', '.join(paths[:_SHOWN])}{more}")
    teachers = {tuple(sorted(findings.tables["teachers"]["digest"].str[:12])) for findings in all_findings}
    if len(teachers) > 1:
        clauses.append("the teachers differ")
    joined = {
        name: pd.concat([findings.tables[name] for findings in all_findings], ignore_index=True)
        for name in ("sweeps", "trials", "environments")
    }
    clauses += [f"mixed {mix.kind}" for mix in mixed(joined)]
    unfinished = [label for findings, label in zip(all_findings, labels, strict=True) if not findings.finished]
    return clauses + ([f"not finished: {', '.join(unfinished)}"] if unfinished else [])
