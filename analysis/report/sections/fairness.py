"""What lets a reader judge whether the comparison was fair: trials, ranges, failures, teacher, hardware, memory."""

import pandas as pd

from analysis.conditions.hardware import code, hardware, mixed, value_of
from analysis.conditions.memory import memory
from analysis.conditions.one_sided import missing_classes
from analysis.figures.canvas import Colors
from analysis.formats import MISSING, big, count, duration, latency, missing, plural, points, share, size, text
from analysis.report import html as page
from analysis.report.findings import Findings
from analysis.report.html import TableCell, number
from analysis.selection.refusals import refusals
from analysis.tables.domains import Domain, Range
from analysis.tables.files import Tables
from analysis.tables.json_columns import read_spaces
from analysis.tables.states import BROKEN, Role, State

FAILURES = {
    "out_of_memory": "out of memory",
    "error": "error",
    "lost": "process lost",
    "node_lost": "node lost",
    "input": "wrong input",
    "missing": "a file that could not be read",
    "storage": "storage",
    "damaged": "damaged files",
}
"""The kinds of failure of a trial's last failed attempt, in words."""


def section(findings: Findings) -> str:
    """Trials and ranges per study, sources, what went wrong, the teacher, where it ran, memory."""
    tables, comparison, palette = findings.tables, findings.comparison, findings.palette
    return "".join(
        (
            page.warnings(refusals(comparison)),
            page.warnings(missing_classes(tables)),
            _studies(tables, comparison, palette),
            _sources(comparison, palette),
            _reasons(tables),
            _invalid(tables["decisions"]),
            _teachers(tables["teachers"]),
            _test_readings(tables),
            _environments(tables),
            _memory(tables),
        )
    )


def _studies(tables: Tables, comparison: pd.DataFrame, palette: Colors) -> str:
    spaces = read_spaces(tables)
    rows = []
    for _, row in comparison.iterrows():
        space = "; ".join(f"{name} {_range(domain)}" for name, domain in spaces[row["study"]].items())
        cells = [number(str(row[state]), row[state]) for state in State]
        name = TableCell(html=page.key(row["study"], palette[row["study"]]))
        time = "" if missing(row["latency_ms"]) else latency(row["latency_ms"]).replace(" ", "\u00a0")
        cost = number(big(row["params"]), row["params"], time)
        rows.append([name, *cells, cost, TableCell(space or "nothing", wide=True)])
    columns = ["Study", *(state.capitalize() for state in State), "Student", "Searched over"]
    heading = "<h3>Trials by state, over search and fresh seeds</h3>"
    return heading + page.table(columns, rows) + _reused(tables["trials"])


def _reused(trials: pd.DataFrame) -> str:
    reused = trials.dropna(subset=["reused_from"])
    if reused.empty:
        return ""
    counts = ", ".join(f"{study} {count}" for study, count in reused.groupby("study", sort=False).size().items())
    return (
        f'<p class="aside">{plural(len(reused), "trial")} ({page.escape(counts)}) had the config and seed of a trial '
        "that had been run already. Its outcome was taken over, and its cost counts for this study too.</p>"
    )


def _sources(comparison: pd.DataFrame, palette: Colors) -> str:
    cited = comparison[comparison["citation"].map(text) != ""]
    rows = [
        [
            TableCell(html=page.key(row["study"], palette[row["study"]])),
            TableCell(row["method"]),
            TableCell(row["citation"], wide=True),
        ]
        for _, row in cited.iterrows()
    ]
    return "<h3>Methods</h3>" + page.table(["Study", "Method", "Source"], rows) if rows else ""


def _reasons(tables: Tables) -> str:
    """Trials that diverged, failed or had to be tried again, by the kind of failure."""
    trials = tables["trials"].fillna({"retries": 0})
    wrong = trials[trials["state"].isin(BROKEN) | (trials["retries"] > 0)]
    if wrong.empty:
        return ""
    events = tables["decisions"]
    retried = events[events["kind"] == "retried"]
    why = dict(zip(retried["trial_id"], retried["detail"], strict=True))
    reasons = [_reason(trial, why) for _, trial in wrong.iterrows()]
    kinds = wrong["failure"].map(FAILURES).fillna("")
    wrong = wrong.assign(reason=reasons, kind=kinds)
    groups = sorted(wrong.groupby(["study", "state", "kind"], sort=False), key=lambda item: -len(item[1]))
    rows = []
    for (study, state, kind), group in groups:
        reason, others = group["reason"].mode().iloc[0], group["reason"].nunique() - 1
        rows.append(
            [
                *(TableCell(str(name)) for name in (study, state, kind)),
                number(str(len(group)), len(group)),
                number(f"{group['retries'].sum():.0f}", group["retries"].sum()),
                TableCell(group["trial_id"].iloc[0]),
                TableCell(reason, wide=True, small=f"and {plural(others, 'other reason')}" if others else ""),
            ]
        )
    columns = ["Study", "State", "Failure", "Trials", "Retries", "First", "Most frequent reason"]
    return "<h3>What went wrong</h3>" + page.table(columns, rows)


def _invalid(decisions: pd.DataFrame) -> str:
    """Proposals of a search that made no valid config."""
    rows = []
    for study, group in decisions[decisions["kind"] == "infeasible"].groupby("study", sort=False):
        example = TableCell(text(group["detail"].iloc[0]), wide=True)
        rows.append([TableCell(str(study)), number(str(len(group)), len(group)), example])
    if not rows:
        return ""
    note = "Parameters of a search that make no valid config: drawn anew, and charged to no budget."
    table = page.table(["Study", "Proposals", "The first"], rows)
    return f'<h3>Proposals that were not valid</h3>{table}<p class="aside">{note}</p>'


def _reason(trial: pd.Series, retried: dict[str, str]) -> str:
    """The last line of the reason why a trial ended, or was tried again."""
    reason = text(trial["reason"]) or text(retried.get(trial["trial_id"])) or "no reason recorded"
    return reason.strip().splitlines()[-1]


def _teachers(teachers: pd.DataFrame) -> str:
    networks = [" ".join(filter(None, (row["arch"], text(row["encoder"])))) for _, row in teachers.iterrows()]
    named_after_network = networks == list(teachers["name"])
    rows = [
        [
            TableCell(row["name"], small=row["digest"][:12]),
            *([] if named_after_network else [TableCell(network)]),
            number(big(row["params"]), row["params"]),
            number(points(row["miou"]), row["miou"], text(row["role"])),
            TableCell(text(row["trained_on"])),
            TableCell(row["source"], small="" if missing(row["seconds"]) else duration(row["seconds"])),
        ]
        for (_, row), network in zip(teachers.iterrows(), networks, strict=True)
    ]
    columns = ["Teacher", *([] if named_after_network else ["Network"]), "Parameters", "mIoU", "Trained on", "Source"]
    return "<h3>Teacher</h3>" + page.table(columns, rows) if rows else ""


def _test_readings(tables: Tables) -> str:
    """Who has looked at the images of the role test: before a selection is frozen nobody should have."""
    evaluations = tables["evaluations"]
    readings = evaluations[evaluations["role"] == Role.TEST]
    if readings.empty:
        return '<p class="aside">No trial was evaluated on the role test.</p>'
    by = readings.merge(tables["trials"][["trial_id", "study", "phase"]], on="trial_id")
    counts = by.groupby(["study", "phase"], sort=False).size()
    rows = [
        [TableCell(row["study"]), TableCell(row["phase"]), number(str(row["times"]), row["times"])]
        for row in counts.rename("times").reset_index().to_dict("records")
    ]
    return "<h3>Readings of the role test</h3>" + page.table(["Study", "Phase", "Evaluations"], rows)


def _environments(tables: Tables) -> str:
    ran = tables["trials"].groupby("environment_id")
    trials, nodes = ran.size(), ran["node"].nunique()
    environments = tables["environments"]
    used = environments[environments["environment_id"].isin(trials.index)]
    rows = []
    for _, row in (used if len(used) else environments).iterrows():
        count, spread = trials.get(row["environment_id"], 0), nodes.get(row["environment_id"], 0)
        rows.append(
            [
                TableCell(hardware(row), wide=True, small=_about_hardware(row)),
                TableCell(f"python {row['python']}, torch {row['torch']}", wide=True, small=_about_software(row)),
                number(str(count), count, f"on {plural(spread, 'node')}" if spread else ""),
                TableCell(code(row), small=_commit(row)),
            ]
        )
    marks = page.warnings(mix.sentence for mix in mixed(tables))
    heading = "<h3>Where the trials ran</h3>"
    return heading + marks + page.table(["Hardware", "Software", "Trials", "Code"], rows) if rows else ""


def _about_hardware(row: pd.Series) -> str:
    facts = [size(row["gpu_memory_bytes"])] if value_of(row, "gpu_memory_bytes") else []
    facts += [row["cpu_name"]] if value_of(row, "cpu_name") and row["device"] != "cpu" else []
    facts += [f"{row['cpu_count']:.0f} CPUs"] if value_of(row, "cpu_count") else []
    return ", ".join([*facts, row["platform"]])


def _about_software(row: pd.Series) -> str:
    names = {"cuda": "CUDA", "cudnn": "cuDNN", "gpu_driver": "driver", "amp": "mixed precision", "tf32": "TF32"}
    facts = [f"{label} {row[name]}" for name, label in names.items() if value_of(row, name)]
    if value_of(row, "deterministic_algorithms") is not None:
        facts.append(
            "deterministic algorithms" if row["deterministic_algorithms"] else "not forced to be deterministic"
        )
    facts += ["cuDNN benchmark"] if value_of(row, "cudnn_benchmark") else []
    return ", ".join(facts)


def _commit(row: pd.Series) -> str:
    commit = value_of(row, "git_commit")
    if commit is None or value_of(row, "code_digest") is None:
        return ""
    return f"commit {commit[:10]}{' with changes' if value_of(row, 'git_dirty') else ''}"


def _memory(tables: Tables) -> str:
    measured = memory(tables)
    if measured.empty:
        return ""
    rows = [
        [
            TableCell(row["study"]),
            TableCell(row["gpu"], small=f"{size(row['gpu_memory_bytes'])} each"),
            number(size(row["peak_memory_bytes"]), row["peak_memory_bytes"]),
            number(share(row["share"]), row["share"]),
            number(count(row["fit"]), row["fit"]),
            number(MISSING if missing(row["fraction"]) else f"{row['fraction']:g}", row["fraction"]),
        ]
        for _, row in measured.iterrows()
    ]
    least = measured["fit"].min(skipna=False)
    advised = (
        ""
        if missing(least)
        else f"All studies run with <code>resources.gpu: {measured['fraction'].max():g}</code>, {least:.0f} on a GPU. "
    )
    died = int((tables["trials"]["failure"] == "out_of_memory").sum())
    unmeasured = f"{plural(died, 'trial')} ran out of memory, with no peak measured. " if died else ""
    note = (
        f"{advised}{unmeasured}Peak is what one process held at most; to it are added 10 % and 0.5 GiB for its CUDA "
        "context. By memory alone: cores and the GPU's own speed may set a lower limit."
    )
    columns = ["Study", "GPU", "Peak", "Of the GPU", "Fit on one", "resources.gpu"]
    return f'<h3>GPU memory</h3>{page.table(columns, rows)}<p class="aside">{note}</p>'


def _range(domain: Domain) -> str:
    if isinstance(domain, Range):
        return f"{domain.low:g} to {domain.high:g}{' (log)' if domain.log else ''}"
    return f"in {{{', '.join(map(str, domain.choices))}}}"
