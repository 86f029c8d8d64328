"""The report of a sweep: one HTML file that works offline, on a phone, in the light and in the dark."""

import hashlib
from pathlib import Path

import pandas as pd

from analysis.formats import count
from analysis.report import html as page
from analysis.report import terms
from analysis.report.fairness import fairness
from analysis.report.findings import Findings, findings
from analysis.report.noise import evaluated, noise
from analysis.report.paper import tables as paper
from analysis.report.pictures import pictures
from analysis.report.sections import ablation as ablations
from analysis.report.sections import results, search
from analysis.report.sections import time_spent as bill
from analysis.report.verdict import verdict
from analysis.tables.files import FOLDER, read_tables
from analysis.tables.schemas import SCHEMAS
from analysis.tables.scores import METRIC

OF_A_SEARCH = ("comparison", "expected", "costs", "selection")
"""Sections that an ablation does without: its cells are compared with their reference, and none of them is chosen."""


def write_report(sweep: str | Path) -> Path:
    """Write ``D/report/index.html`` and ``D/report/paper/*`` from the tables of sweep ``D``.

    Returns:
        The path of the HTML file.

    Raises:
        AnalysisError: There are no tables, or they do not read.
    """
    folder = Path(sweep)
    short = [name for name in SCHEMAS if name != "confusion"]
    found = findings(read_tables(folder, short, {"metrics": ("name", [METRIC])}))
    looked_at = list(evaluated(found).values())
    evaluations = found.tables["evaluations"]
    wanted = list(evaluations.loc[evaluations["trial_id"].isin(looked_at), "eval_id"])
    found.tables["confusion"] = read_tables(folder, ["confusion"], {"confusion": ("eval_id", wanted)})["confusion"]
    of_terms = read_tables(folder, ["metrics"], {"metrics": ("trial_id", terms.standing(found))})["metrics"]
    found.tables["metrics"] = pd.concat([found.tables["metrics"], of_terms[of_terms["name"] != METRIC]])
    target = page.write(folder / "report" / "index.html", html(found, folder))
    paper.write_paper(target.parent / "paper", found)
    return target


def html(found: Findings, folder: Path) -> str:
    """The page; ``folder`` is the sweep, for the pictures and the fingerprint of the tables."""
    tables, sweep = found.tables, found.tables["sweeps"].iloc[0]
    sections = [
        ("comparison", "Comparison", results.comparison(found)),
        ("seeds", "Every finalist, every seed", results.seeds(found)),
        ("expected", "Expected best score", search.expected(found)),
        ("budget", "Budget", search.budget(found)),
        ("bill", "Where the time went", bill.section(found)),
        ("costs", "Quality and cost", search.costs(found)),
        ("selection", "Selection", results.selection(found)),
        ("ablation", "Ablation", ablations.ablation(found)),
        ("classes", "Classes", results.classes(found)),
        ("pictures", "Predictions", pictures(folder / "predictions")),
        ("parameters", "Searched parameters", search.parameters(found)),
        ("curves", "Learning curves", search.curves(found)),
        ("terms", "Loss terms", terms.section(found)),
        ("noise", "Noise", noise(found)),
        ("fairness", "Fairness and data", fairness(tables, found.comparison, found.palette)),
        ("rebuild", "How to rebuild", _rebuild(folder)),
    ]
    ablating = sweep["purpose"] == "ablation"
    present = [entry for entry in sections if entry[2] and not (ablating and entry[0] in OF_A_SEARCH)]
    links = "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title, _ in present)
    body = "".join(page.section(*entry) for entry in present)
    foot = f"Written by kdsweep {page.escape(sweep['kdsweep_version'])}."
    return page.document(f"{sweep['name']}: report", f"{_top(found)}<nav>{links}</nav>{body}<footer>{foot}</footer>")


def _top(found: Findings) -> str:
    sweep, chosen = found.tables["sweeps"].iloc[0], found.chosen()
    words = verdict(found.tables, found.comparison, found.ablation, len(found.tie_set))
    state = "finished" if sweep["finished"] else "not finished"
    facts = [*dict.fromkeys((sweep["name"], sweep["data_name"])), f"{sweep['num_classes']} classes"]
    facts += [f"{len(found.comparison)} studies", f"{count(len(found.tables['trials']))} trials", state]
    color = "" if chosen is None else found.palette[chosen["study"]]
    not_claimed = f"<b>Not claimed.</b> {page.escape(words.not_claimed)}" if words.not_claimed else ""
    return (
        f'<p class="eyebrow">{page.escape(" · ".join(facts))} · started {sweep["created_at"]:%Y-%m-%d}</p>'
        f"<h1>{page.escape(words.headline)}</h1>{page.verdict(words.lines, color)}"
        f'<p class="aside below">{not_claimed}</p><noscript><p>The tables read without a script; '
        "the figures need one.</p></noscript>"
    )


def _rebuild(folder: Path) -> str:
    commands = (
        "kdsweep tables D                       # the tables again, from the ledger\n"
        "kdsweep report D                       # this page and report/paper/*\n"
        'kdsweep query D "select * from trials" # any other question to the tables\n'
        "kdsweep best D --out best.yaml         # the chosen config with its evidence\n"
        "kdsweep train best.yaml --dir student  # train it to the end"
    )
    return (
        f"<p>With <code>D</code> for the folder of the sweep:</p><pre><code>{commands}</code></pre>"
        '<p class="aside">Fingerprint of the tables behind this page: '
        f"<code>{fingerprint(folder)}</code>.</p>"
    )


def fingerprint(folder: Path) -> str:
    """What the tables of a sweep are, in 16 digits: other tables have other ones."""
    digest = hashlib.sha256()
    for name in SCHEMAS:
        path = folder / FOLDER / f"{name}.parquet"
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()[:16]
