"""Several sweeps beside each other: every study in every sweep, and what may be said about the methods themselves."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.conditions.hardware import mixed
from analysis.errors import AnalysisError
from analysis.figures.canvas import Colors, add, canvas, colors
from analysis.formats import count, duration, interval, missing, plural, points, signed, text
from analysis.report import html as page
from analysis.report.findings import Findings, read_findings
from analysis.report.html import TableCell, number
from analysis.report.verdict import Line, refusal, verdict
from analysis.search.expected_best import ONE_SWEEP, method_claim
from analysis.tables.atomic_write import write_atomically
from analysis.tables.files import Tables
from analysis.tables.states import Role

METHOD_CLAIM = "A claim about methods: what searching them again, with another search seed, gives."
_WORTH_TELLING = ("student", "train", "budget", "sampler", "scheduler", "confirm", "space")


def write_comparison(sweeps: Sequence[str | Path], out: Path) -> Path:
    """Write one page about several sweeps.

    Args:
        sweeps: The folders or URIs of the sweeps, in the order in which they are shown.
        out: The HTML file.

    Raises:
        AnalysisError: Fewer than two sweeps, the same one twice, or sweeps that cannot be compared: other classes, or
            other images of role select.
    """
    if len(sweeps) < 2:
        raise AnalysisError("two sweeps at least are needed to set them side by side: give more folders")
    found = [read_findings(sweep) for sweep in sweeps]
    labels = _labels(found)
    _comparable(found, labels)
    return write_atomically(out, _html(found, labels).encode())


def _labels(found: Sequence[Findings]) -> list[str]:
    """Names of the sweeps, told apart by their seed, or their id where that is not enough."""
    sweeps = [one.tables["sweeps"].iloc[0] for one in found]
    told = [(sweep["name"], f"{sweep['name']}, seed {sweep['seed']}", sweep["sweep_id"]) for sweep in sweeps]
    for names in zip(*told, strict=True):
        if len(set(names)) == len(names):
            return list(map(str, names))
    raise AnalysisError(f"every sweep is allowed once, but {sweeps[0]['sweep_id']} or another came twice")


def _comparable(found: Sequence[Findings], labels: Sequence[str]) -> None:
    first = found[0].tables
    for one, label in zip(found[1:], labels[1:], strict=True):
        classes, other = (list(tables["sweeps"]["classes"].iloc[0]) for tables in (first, one.tables))
        if classes != other:
            raise AnalysisError(
                f"sweeps with other classes cannot be compared: {labels[0]} has {len(classes)}, "
                f"{label} has {len(other)}{'' if len(classes) != len(other) else ' with other names'}"
            )
        digests, others = (_digests(tables) for tables in (first, one.tables))
        if digests and others and digests != others:
            raise AnalysisError(
                f"scores on other images cannot be compared: role select of {labels[0]} is "
                f"{', '.join(sorted(digests))}, of {label} {', '.join(sorted(others))}"
            )


def _digests(tables: Tables) -> set[str]:
    evaluations = tables["evaluations"]
    return {digest[:12] for digest in evaluations.loc[evaluations["role"] == Role.SELECT, "data_digest"]}


def _html(found: Sequence[Findings], labels: Sequence[str]) -> str:
    studies = list(dict.fromkeys(study for one in found for study in one.comparison["study"]))
    every = pd.concat([one.tables["studies"] for one in found]).drop_duplicates("study")
    palette = colors(every)
    sentence, claims = _methods(found, palette)
    differing = _differing(found, labels)
    lines = [
        Line("Methods", sentence, "" if len(claims) else "amber"),
        Line(
            "Differences",
            "; ".join(differing) + "." if differing else "None but the search seed.",
            "amber" if differing else "",
        ),
    ]
    head = page.escape(f"{plural(len(found), 'sweep')} side by side")
    body = (
        f'<p class="eyebrow">{page.escape(" · ".join(labels))}</p><h1>{head}</h1>{page.verdict(lines)}'
        + page.section("sweeps", "The sweeps", _overview(found, labels))
        + page.section("studies", "Every study in every sweep", _studies(found, labels, studies, palette))
        + (page.section("methods", "Methods against the baseline", claims) if claims else "")
    )
    return page.document(f"{len(found)} sweeps", body)


def _overview(found: Sequence[Findings], labels: Sequence[str]) -> str:
    rows = []
    for one, label in zip(found, labels, strict=True):
        sweep, trials = one.tables["sweeps"].iloc[0], one.tables["trials"]
        words = verdict(one.tables, one.comparison, one.ablation, len(one.tie_set))
        state = "finished" if sweep["finished"] else "not finished"
        rows.append(
            [
                TableCell(label, small=f"{sweep['created_at']:%Y-%m-%d}, {state}"),
                TableCell(words.headline, wide=True),
                number(str(sweep["seed"]), sweep["seed"], sweep["sampler"]),
                number(count(len(trials)), len(trials), duration(trials["seconds"].sum())),
            ]
        )
    return page.table(["Sweep", "Verdict by itself", "Search seed", "Trials"], rows)


def _studies(found: Sequence[Findings], labels: Sequence[str], studies: list[str], palette: Colors) -> str:
    figure = canvas(height=90 + 36 * len(studies), x="mIoU (points), the best config of each sweep on fresh seeds")
    rows = []
    for place, study in enumerate(reversed(studies)):
        known = [(label, _row(one, study)) for one, label in zip(found, labels, strict=True)]
        means = [(label, row) for label, row in known if row is not None and row["confirmed"]]
        marker = {"size": 11, "color": palette[study], "opacity": 0.75}
        x = [100 * row["mean"] for _, row in means]
        said = [f"{study}, {label}: {points(row['mean'])} (n={row['n']})" for label, row in means]
        add(figure, x=x, y=[place] * len(x), mode="markers", marker=marker, text=said)
        rows.append([TableCell(html=page.key(study, palette[study])), *(_cell(row) for _, row in known)])
    figure.update_yaxes(tickvals=list(range(len(studies))), ticktext=studies[::-1], showgrid=False)
    figure.update_yaxes(range=[-0.7, len(studies) - 0.3])
    note = "Every dot is one sweep: the mean over fresh seeds of the config that it returned. Not confirmed: no dot."
    drawn = page.figure(page.plot(figure), "How much the same study varies from sweep to sweep.", note)
    below = (
        '<p class="aside">mIoU in points on role select, n fresh seeds; below it the difference to that sweep\'s own '
        "baseline with its 95 % interval over seeds (a claim about configs).</p>"
    )
    return page.table(["Study", *labels], rows[::-1]) + below + drawn


def _row(one: Findings, study: str) -> pd.Series | None:
    rows = one.comparison[one.comparison["study"] == study]
    return rows.iloc[0] if len(rows) else None


def _cell(row: pd.Series | None) -> TableCell:
    if row is None:
        return number("", None, "not in this sweep")
    if not row["n"]:
        return number("", None, "no complete trial")
    if not row["confirmed"]:
        return number(points(row["mean"]), row["mean"], "1 seed, not confirmed")
    told = "refused" if refusal(row) else "" if missing(row["difference"]) else signed(row["difference"])
    limits = "" if refusal(row) else interval(row.get("low"), row.get("high"))
    own = "baseline" if row["is_baseline"] else " ".join(filter(None, (told, limits, text(row.get("word")))))
    return number(f"{points(row['mean'])} (n={row['n']})", row["mean"], own)


def _methods(found: Sequence[Findings], palette: Colors) -> tuple[str, str]:
    """What may be said about the methods, and the table behind it."""
    if not all(one.finished for one in found):
        return "No claim about methods before all sweeps have finished.", ""
    try:
        claim = method_claim([one.tables for one in found])
    except AnalysisError as error:
        return f"No claim about methods: {error}.", ""
    known = claim.frame[claim.frame["low"].notna()]
    rows = [
        [
            TableCell(html=page.key(row["study"], palette[row["study"]])),
            number(signed(row["difference"]), row["difference"], interval(row["low"], row["high"])),
            number(f"{row['p_holm']:.2g}", row["p_holm"]),
            number(str(row["sweeps"]), row["sweeps"]),
        ]
        for _, row in known.iterrows()
    ]
    if not rows:
        return claim.sentence or ONE_SWEEP, ""
    note = f'<p class="aside">{METHOD_CLAIM} Welch over sweeps, 95 %, Holm over the studies.</p>'
    return claim.sentence, page.table(["Study", "Over the baseline", "p (Holm)", "Sweeps"], rows) + note


def _differing(found: Sequence[Findings], labels: Sequence[str]) -> list[str]:
    """What the sweeps did not have in common, one clause each."""
    specs: list[dict[str, Any]] = [json.loads(one.tables["sweeps"]["spec_json"].iloc[0] or "{}") for one in found]
    told = []
    names = [name for name in _WORTH_TELLING if len({json.dumps(spec.get(name), sort_keys=True) for spec in specs}) > 1]
    if names:
        told.append(f"the specs differ in {', '.join(names)}")
    teachers = {tuple(sorted(one.tables["teachers"]["digest"].str[:12])) for one in found}
    if len(teachers) > 1:
        told.append("the teachers differ")
    together = {
        name: pd.concat([one.tables[name] for one in found], ignore_index=True) for name in ("trials", "environments")
    }
    told += [f"mixed {mix.kind}" for mix in mixed(together)]
    unfinished = [label for one, label in zip(found, labels, strict=True) if not one.finished]
    return told + ([f"not finished: {', '.join(unfinished)}"] if unfinished else [])
