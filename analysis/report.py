"""The report of a sweep: one HTML file that works offline, on a phone, in the light and in the dark."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import page, paper, plots
from analysis.ablation import ablate
from analysis.compare import compare, per_class, teacher_miou
from analysis.fairness import fairness
from analysis.finalists import finalists
from analysis.formats import count, duration, each, missing, plural, points, share, signed, text
from analysis.hardware import mixed
from analysis.page import Cell, number
from analysis.schemas import SCHEMAS
from analysis.tables import FOLDER, read_tables
from analysis.tuning import incumbents, learning_curves, responses, spending
from analysis.verdict import verdict

MANY_CLASSES = 40
SCORE = "The score is mIoU on the role select at the last evaluated epoch, in points."


@dataclass(frozen=True)
class Findings:
    """All that the sections of the report draw from, computed once."""

    tables: dict[str, pd.DataFrame]
    comparison: pd.DataFrame
    ranked: pd.DataFrame
    ablation: pd.DataFrame
    palette: plots.Colours

    @property
    def confirmed(self) -> bool:
        """Whether there are scores on fresh seeds."""
        return bool(self.ranked["confirmed"].any())

    def chosen(self) -> pd.Series | None:
        """The row of the comparison which won, None without a complete trial."""
        rows = self.comparison[self.comparison["chosen"]]
        return rows.iloc[0] if len(rows) else None

    def baseline(self) -> pd.Series | None:
        """The baseline's row of the comparison, None if it has no score."""
        rows = self.comparison[self.comparison["is_baseline"] & (self.comparison["n"] > 0)]
        return rows.iloc[0] if len(rows) else None


def write_report(sweep: str | Path) -> Path:
    """Write ``D/report/index.html`` and ``D/report/paper/*.{md,tex,csv}`` from the tables of sweep ``D``.

    Returns:
        The path of the HTML file.

    Raises:
        InputError: There are no tables, or they do not read.
    """
    folder = Path(sweep)
    found = findings(read_tables(folder, [name for name in SCHEMAS if name != "confusion"]))
    target = folder / "report" / "index.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(".index.html.tmp")
    scratch.write_text(html(found, folder), encoding="utf-8")
    scratch.replace(target)
    marks = [mix.sentence for mix in mixed(found.tables)]
    paper.write_paper(target.parent / "paper", found.comparison, found.ablation, marks)
    return target


def findings(tables: dict[str, pd.DataFrame]) -> Findings:
    """Compute what the report shows."""
    palette = plots.colours(tables["studies"])
    return Findings(tables, compare(tables), finalists(tables), ablate(tables), palette)


def html(found: Findings, folder: Path) -> str:
    """The page; ``folder`` is the sweep, for the pictures and the fingerprint of the tables."""
    tables = found.tables
    sweep = tables["sweeps"].iloc[0]
    sections = [
        ("comparison", "Comparison", _comparison(found)),
        ("seeds", "Every finalist, every seed", _seeds(found)),
        ("curves", "Learning curves", _curves(found)),
        ("classes", "Classes", _classes(found)),
        ("budget", "Budget", _budget(found)),
        ("ablation", "Ablation", _ablation(found)),
        ("parameters", "Searched parameters", _parameters(found)),
        ("pictures", "Predictions", _pictures(folder / "predictions")),
        ("fairness", "Fairness and data", fairness(tables, found.comparison, found.palette)),
        ("rebuild", "How to rebuild", _rebuild(folder)),
    ]
    present = [entry for entry in sections if entry[2]]
    links = "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title, _ in present)
    body = "".join(page.section(*entry) for entry in present)
    foot = f"Written by kdsweep {page.escape(sweep['kdsweep_version'])}."
    return page.document(f"{sweep['name']}: report", f"{_top(found)}<nav>{links}</nav>{body}<footer>{foot}</footer>")


def _top(found: Findings) -> str:
    sweep, chosen = found.tables["sweeps"].iloc[0], found.chosen()
    words = verdict(found.tables, found.comparison, found.ablation)
    state = "finished" if sweep["finished"] else "not finished"
    facts = [*dict.fromkeys((sweep["name"], sweep["data_name"])), f"{sweep['num_classes']} classes"]
    facts += [f"{len(found.comparison)} studies", f"{len(found.tables['trials'])} trials", state]
    lines = "".join(
        f"<div><dt>{page.escape(label)}</dt><dd>{page.escape(said)}</dd></div>" for label, said in words.lines
    )
    mark = "" if chosen is None else f' style="--mark:{found.palette[chosen["study"]]}"'
    not_claimed = f"<b>Not claimed.</b> {page.escape(words.not_claimed)}" if words.not_claimed else ""
    return (
        f'<p class="eyebrow">{page.escape(" · ".join(facts))} · started {sweep["created_at"]:%Y-%m-%d}</p>'
        f'<h1>{page.escape(words.headline)}</h1><dl class="verdict"{mark}>{lines}</dl>'
        f'<p class="aside below">{not_claimed}</p><noscript><p>The tables read without a script; '
        "the figures need one.</p></noscript>"
    )


def _comparison(found: Findings) -> str:
    frame, baseline = found.comparison, found.baseline()
    all_scores = [score for scores in frame["scores"] for score in scores]
    low, high = (min(all_scores), max(all_scores)) if all_scores else (0.0, 1.0)
    mark = float("nan") if baseline is None else baseline["mean"]
    columns = ["Study", "mIoU", "Seeds", "Over baseline", "Gap closed", "In the search", "Budget", "Doubts"]
    rows = []
    for _, row in frame.iterrows():
        colour = found.palette[row["study"]]
        about = ["baseline"] if row["is_baseline"] else []
        about += [row["method"]] if row["method"] != row["study"] else []
        drawn = page.strip(row["scores"], low, high, colour, mark) if row["n"] else ""
        correction = "" if missing(row["optimism"]) else f"then {signed(-row['optimism'])}"
        doubts = "<br>".join(page.escape(doubt) for doubt in row["warnings"])
        rows.append(
            [
                Cell(html=page.key(row["study"], colour), small=" · ".join(about)),
                number(points(row["mean"]), row["mean"], f"n={row['n']}"),
                Cell(html=drawn, small=each(row["scores"]), sort=row["maximum"]),
                number(signed(row["difference"]), row["difference"], _seedwise(row["differences"])),
                number(share(row["gap_closed"]), row["gap_closed"]),
                number(points(row["screen_score"]), row["screen_score"], correction),
                _spent(row),
                Cell(html=f'<span class="warn">{doubts}</span>', wide=True),
            ]
        )
    first = int(np.argmax(frame["chosen"])) if frame["chosen"].any() else None
    note = (
        "Every study is represented by its best config. mIoU is the mean over fresh seeds, which the search "
        "never saw; the dots are those seeds, the dotted line is the baseline. Over baseline: mean of the "
        "differences at equal seed, each below it. In the search: the single-seed score that made the "
        "config a finalist, then the step from there to the fresh mean. Budget: the search (trials, epochs, "
        "time, parameters searched); after the plus, the time of the fresh seeds."
        if found.confirmed
        else "Nothing is confirmed on fresh seeds yet: every mIoU here is the best of several single-seed "
        "scores, hence too high, and a difference between two of them says little."
    )
    marks = page.warnings(mix.sentence for mix in mixed(found.tables))
    return page.table(columns, rows, first) + marks + f'<p class="aside">{note}</p>'


def _seeds(found: Findings) -> str:
    if found.ranked.empty:
        return ""
    baseline = found.baseline()
    mark = float("nan") if baseline is None else baseline["mean"]
    drawing = plots.seeds(found.ranked.head(40), found.palette, mark, teacher_miou(found.tables))
    seeds = sorted({len(scores) for scores in found.ranked["scores"]})
    n = f"n={seeds[0]}" if len(seeds) == 1 else f"n={seeds[0]} to {seeds[-1]}"
    claim = (
        "Dots are fresh seeds of a config, bars their mean, hollow diamonds the score that found it."
        if found.confirmed
        else "Best search trial of each study: one seed, the score that found it."
    )
    rest = f"{len(found.ranked)} finalists, {n} seeds each. {SCORE} The line runs from minimum to maximum."
    return page.figure(page.keys(found.palette) + page.plot(drawing), claim, rest)


def _curves(found: Findings) -> str:
    curves = learning_curves(found.tables)
    if curves.empty:
        return ""
    baseline = found.baseline()
    reference = curves.iloc[:0]
    if baseline is not None:
        own = (curves["study"] == baseline["study"]) & (curves["config_id"] == baseline["config_id"])
        phase = "confirm" if baseline["confirmed"] else "search"
        reference = curves[own & (curves["phase"] == phase)]
    drawn = []
    for _, row in found.comparison.iterrows():
        study = row["study"]
        runs = curves.loc[curves["study"] == study, "trial_id"].nunique()
        others = reference.iloc[:0] if row["is_baseline"] else reference
        drawing = plots.learning_curves(curves, study, row["config_id"], others, found.palette)
        note = f'<span class="aside">, {runs} trainings</span>'
        title = f"<h3>{page.key(study, found.palette[study])}{note}</h3>"
        drawn.append(f"<div>{title}{page.plot(drawing)}</div>")
    best = "the seeds of the best config" if found.confirmed else "the best trial"
    rest = (
        f"Thick: {best}; thin: the search (at most 40 trials); a cross ends a trial that was pruned, "
        "diverged or failed; dotted grey: the baseline's best config. mIoU on the role select, in points, "
        "one axis for all."
    )
    return page.figure(f'<div class="grid">{"".join(drawn)}</div>', "How each study learned.", rest)


def _classes(found: Findings) -> str:
    chosen = found.chosen()
    if chosen is None:
        return ""
    frame = per_class(found.tables, found.comparison)
    if frame["best"].isna().all():
        return ""
    study = chosen["study"]
    gain = frame["best"] - frame["baseline"]
    order = gain.sort_values().index
    shown = frame if len(frame) <= MANY_CLASSES else frame.loc[[*order[:15], *order[-15:]]]
    looks = {f"best ({study})": found.palette[study], "baseline": plots.BASELINE, "teacher": plots.TEACHER}
    better, known = int((gain > 0).sum()), int(gain.notna().sum())
    claim = f"{study} is above the baseline in {better} of {known} classes." if known else "IoU of every class."
    partly = "" if len(shown) == len(frame) else f" The 15 largest losses and gains of {len(frame)} classes. "
    rest = (
        f"Dots are means over n={chosen['n']} seeds, the bar joins baseline and best, the upright mark is "
        f"the teacher (one network).{partly} IoU on the role select; a class that is absent there has no dot."
    )
    rows = [
        [
            Cell(str(name)),
            *(number(points(row[column]), row[column]) for column in ("baseline", "best", "teacher")),
            number(signed(row["best"] - row["baseline"]), row["best"] - row["baseline"]),
        ]
        for name, row in frame.iterrows()
    ]
    numbers = page.table(["Class", "Baseline", "Best", "Teacher", "Best over baseline"], rows)
    drawing = page.keys(looks) + page.plot(plots.per_class(shown, study, found.palette))
    return page.figure(drawing, claim, rest) + f"<details><summary>As a table</summary>{numbers}</details>"


def _budget(found: Findings) -> str:
    spent, steps = spending(found.tables), incumbents(found.tables)
    if spent.empty:
        return ""
    trials = found.tables["trials"]
    bars = page.figure(
        page.plot(plots.budget(spent, list(found.comparison["study"]), found.palette)),
        f"Training took {duration(spent['seconds'].sum())} in all.",
        f"{len(trials)} trials; full colour: search, fainter: pruned, faintest: diverged or failed, "
        "hatched: fresh seeds. Budgets are granted in trials or epochs, so a costlier loss takes longer.",
    )
    if steps["best"].isna().all():
        return bars
    lines = page.figure(
        page.keys(found.palette) + page.plot(plots.incumbent(steps, found.palette)),
        "Best so far in the search: one seed each, optimistic; not a comparison of methods.",
        f"{len(steps)} search trials, in the order in which they ended. {SCORE}",
    )
    return bars + lines


def _ablation(found: Findings) -> str:
    parts = []
    for design, frame in found.ablation.groupby("design", sort=False):
        rows = [
            [
                Cell(html=page.key(row["cell"], found.palette.get(row["cell"], "")), small=row["role"]),
                Cell(" = ".join(filter(None, (text(row["factor"]), text(row["level"]))))),
                number(points(row["mean"]), row["mean"], each(row["scores"])),
                number(signed(row["difference"]), row["difference"], _seedwise(row["differences"])),
                number(str(row["n"]), row["n"]),
            ]
            for _, row in frame.iterrows()
        ]
        columns = ["Cell", "Change", "mIoU", "Against the reference", "n"]
        parts.append(f"<h3>{page.escape(str(design))}</h3>{page.table(columns, rows)}")
        cells = frame[frame["role"] != "reference"]
        if (cells["n"] > 0).any():
            rest = f"Cell minus reference at the same seed; dots are seeds, bars means. {SCORE}"
            drawing = page.plot(plots.ablation(cells, found.palette))
            parts.append(page.figure(drawing, "What each change costs or brings.", rest))
    return "".join(parts)


def _parameters(found: Findings) -> str:
    frame = responses(found.tables)
    if frame.empty:
        return ""
    drawn = []
    for name, dots in frame.groupby("name", sort=True):
        drawing = plots.response(dots.tail(2000), found.palette)
        drawn.append(f"<div><h3><code>{page.escape(str(name))}</code></h3>{page.plot(drawing)}</div>")
    rest = (
        f"Every dot is one complete search trial, {frame['trial_id'].nunique()} in all, one seed each. "
        f"{SCORE} A search looks more often where it found good scores: do not read an average off a cloud."
    )
    body = page.keys(found.palette) + f'<div class="grid">{"".join(drawn)}</div>'
    return page.figure(body, "Score against the value of each searched parameter.", rest)


def _pictures(folder: Path) -> str:
    if not (folder / "index.json").is_file():
        return ""
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    rows = []
    for entry in index["images"]:
        cells = [
            _picture(folder / file, kind, entry["image_id"])
            for kind, file in entry["files"].items()
            if (folder / file).is_file()
        ]
        name = f'<span class="aside">{page.escape(entry["image_id"])}</span>'
        rows.append(f'{name}<div class="pictures" style="--n:{len(cells)}">{"".join(cells)}</div>')
    legend = page.keys({label["class"]: label["color"] for label in index.get("labels", [])}, square=True)
    rest = f"{len(rows)} images of the role select, spread evenly over it, not chosen by result."
    return page.figure("".join(rows) + legend, "What the networks predict.", rest)


def _picture(path: Path, kind: str, image_id: str) -> str:
    return f"<div>{page.image(path, f'{kind} of {image_id}')}<span>{page.escape(kind)}</span></div>"


def _rebuild(folder: Path) -> str:
    commands = (
        "kdsweep tables D                       # the tables again, from the ledger\n"
        "kdsweep report D                       # this page and report/paper/*.{md,tex,csv}\n"
        "kdsweep best D --out best.yaml         # the chosen config with its evidence\n"
        "kdsweep train best.yaml --dir student  # train it to the end"
    )
    digest = hashlib.sha256()
    for name in SCHEMAS:
        path = folder / FOLDER / f"{name}.parquet"
        digest.update(path.read_bytes() if path.is_file() else b"")
    return (
        f"<p>With <code>D</code> for the folder of the sweep:</p><pre><code>{commands}</code></pre>"
        '<p class="aside">Fingerprint of the tables behind this page: '
        f"<code>{digest.hexdigest()[:16]}</code>.</p>"
    )


def _spent(row: pd.Series) -> Cell:
    """Budget of the search of one study, the time of its fresh seeds behind a plus."""
    words = f"{count(row['search_trials'])} trials, {count(row['search_epochs'])} epochs"
    time = f"{duration(row['search_s'])} + {duration(row['confirm_s'])}"
    more = f"{time}; {plural(row['searched_parameters'], 'parameter')}"
    return number(words, row["search_epochs"], more)


def _seedwise(differences: list[float]) -> str:
    return each(differences, sign=True) if len(differences) > 1 else ""
