"""The part of the report that lets a reader judge whether the comparison was fair."""

import pandas as pd

from analysis import page
from analysis.compare import STATES
from analysis.formats import big, duration, missing, points, text
from analysis.page import Cell, number
from analysis.plots import Colours
from analysis.tuning import spaces

Tables = dict[str, pd.DataFrame]


def fairness(tables: Tables, comparison: pd.DataFrame, palette: Colours) -> str:
    """Trials and ranges per study, sources, what went wrong, the teacher, where it ran: as HTML."""
    return "".join(
        (
            _studies(tables, comparison, palette),
            _sources(comparison, palette),
            _reasons(tables["trials"]),
            _teachers(tables["teachers"]),
            _environments(tables),
        )
    )


def _studies(tables: Tables, comparison: pd.DataFrame, palette: Colours) -> str:
    ranges = spaces(tables)
    rows = []
    for _, row in comparison.iterrows():
        space = "; ".join(f"{name} {_range(domain)}" for name, domain in ranges[row["study"]].items())
        cells = [number(str(row[state]), row[state]) for state in STATES]
        name = Cell(html=page.key(row["study"], palette[row["study"]]))
        latency = "" if missing(row["latency_ms"]) else f"{row['latency_ms']:.1f}\u00a0ms"
        cost = number(big(row["params"]), row["params"], latency)
        rows.append([name, *cells, cost, Cell(space or "nothing", wide=True)])
    columns = ["Study", *(state.capitalize() for state in STATES), "Student", "Searched over"]
    return "<h3>Trials by state, over search and fresh seeds</h3>" + page.table(columns, rows)


def _sources(comparison: pd.DataFrame, palette: Colours) -> str:
    cited = comparison[comparison["citation"].map(text) != ""]
    rows = [
        [
            Cell(html=page.key(row["study"], palette[row["study"]])),
            Cell(row["method"]),
            Cell(row["citation"], wide=True),
        ]
        for _, row in cited.iterrows()
    ]
    return "<h3>Methods</h3>" + page.table(["Study", "Method", "Source"], rows) if rows else ""


def _reasons(trials: pd.DataFrame) -> str:
    ended = trials[trials["state"].isin(["diverged", "failed"])]
    if ended.empty:
        return ""
    last_line = ended["reason"].fillna("no reason recorded").str.strip().str.split("\n").str[-1]
    alike = ended.assign(reason=last_line).groupby(["study", "state", "reason"])["trial_id"]
    counted = alike.agg(["size", "first"]).reset_index().sort_values("size", ascending=False, kind="stable")
    rows = [
        [
            *(Cell(row["study"]), Cell(row["state"]), number(str(row["size"]), row["size"])),
            *(Cell(row["first"]), Cell(row["reason"], wide=True)),
        ]
        for row in counted.head(20).to_dict("records")
    ]
    return "<h3>What went wrong</h3>" + page.table(["Study", "State", "Trials", "First", "Reason"], rows)


def _teachers(teachers: pd.DataFrame) -> str:
    rows = [
        [
            Cell(row["name"], small=row["digest"][:12]),
            Cell(" · ".join(filter(None, (row["arch"], text(row["encoder"]))))),
            number(big(row["params"]), row["params"]),
            number(points(row["miou"]), row["miou"], text(row["role"])),
            Cell(text(row["trained_on"])),
            Cell(row["source"], small="" if missing(row["seconds"]) else duration(row["seconds"])),
        ]
        for _, row in teachers.iterrows()
    ]
    columns = ["Teacher", "Network", "Parameters", "mIoU", "Trained on", "Source"]
    return "<h3>Teacher</h3>" + page.table(columns, rows) if rows else ""


def _environments(tables: Tables) -> str:
    used = tables["trials"]["environment_id"].value_counts()
    rows = [
        [
            Cell(row["device"], small=text(row["device_name"])),
            Cell(f"python {row['python']}, torch {row['torch']}", small=row["platform"]),
            number(str(row["num_threads"]), row["num_threads"]),
            number(str(used.get(row["environment_id"], 0)), used.get(row["environment_id"], 0)),
            Cell(text(row["git_commit"])[:10], small="with changes" if row["git_dirty"] is True else ""),
        ]
        for _, row in tables["environments"].iterrows()
    ]
    columns = ["Device", "Software", "Threads", "Trials", "Commit"]
    return "<h3>Where it ran</h3>" + page.table(columns, rows) if rows else ""


def _range(domain: object) -> str:
    if isinstance(domain, dict) and "low" in domain:
        return f"{domain['low']:g} to {domain['high']:g}{' (log)' if domain.get('log') else ''}"
    choices = domain["choices"] if isinstance(domain, dict) else domain
    return f"in {{{', '.join(map(str, choices))}}}" if isinstance(choices, list) else str(domain)
