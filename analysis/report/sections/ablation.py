"""The section of a report about ablations: what each part of a config is worth, and how sure that is."""

from collections.abc import Iterator

import pandas as pd

from analysis.ablation.effects import estimators, worth
from analysis.ablation.factorial import MAIN, factorial_effects
from analysis.ablation.layers import LayerGrid, layer_grids
from analysis.ablation.published import replays
from analysis.ablation.response import ResponseCurve, response_curves
from analysis.figures import ablation as plots
from analysis.formats import each, interval, missing, plural, points, share, signed, text
from analysis.report import html as page
from analysis.report.captions import CONFIG_CLAIM
from analysis.report.findings import Findings
from analysis.report.html import TableCell, number
from analysis.report.wording import NOT_SEPARATED, cell_role, missed, not_the_reference
from analysis.stats.seed_contrasts import smallest_effect
from analysis.stats.words import ENOUGH_SEEDS

_BOTH = ("leave-one-out", "add-one-in")


def section(findings: Findings) -> str:
    """Every design with its effects: tables, forest plots, factorials, layer grids and response curves."""
    if findings.ablation.empty:
        return ""
    smallest = smallest_effect(findings.tables["sweeps"])
    factorials = factorial_effects(findings.tables)
    grids = {grid.design: grid for grid in layer_grids(findings.tables)}
    curves = response_curves(findings.tables)
    parts = []
    for design, frame in findings.ablation.groupby("design", sort=False):
        effects = factorials[factorials["design"] == design]
        parts += [
            f"<h3>{page.escape(str(design))}</h3>{_about(frame)}",
            *_factorial(effects, smallest),
            *([_grid(grids[str(design)])] if design in grids else []),
            *(_response(curve) for curve in curves if curve.design == design),
            *_cells(findings, frame, smallest, drawn=effects.empty),
        ]
    claim = f'<p class="aside">{CONFIG_CLAIM}</p>'
    return claim + "".join(parts) + _worth(findings, smallest) + _published(findings)


def _about(frame: pd.DataFrame) -> str:
    """What was spent, what was searched again, and how the differences were estimated."""
    retuned = next(iter(frame["retuned"].dropna().unique()), "")
    sentences = [f"{plural(int(frame['runs'].sum()), 'run')}."]
    if retuned:
        sentences.append(f"Searched again in each cell: {retuned}.")
    return f'<p class="aside">{page.prose(" ".join(sentences))}</p>'


def _cells(findings: Findings, frame: pd.DataFrame, smallest: float, drawn: bool) -> Iterator[str]:
    columns = ["Cell", "Change", "mIoU", "Minus the reference", "Verdict", "n"]
    has_published = frame["published"].notna().any()
    rows = [
        [
            TableCell(
                html=page.key(row["cell"], findings.palette.get(row["cell"], "")), small=cell_role(row) or row["role"]
            ),
            TableCell(" = ".join(filter(None, (text(row["factor"]), text(row["level"]))))),
            number(points(row["mean"]), row["mean"], each(row["scores"])),
            number(signed(row["difference"]), row["difference"], f"{_seen(row)}{not_the_reference(row, frame)}"),
            _word(row),
            number(str(row["n"]), row["n"]),
            *([number(points(row["published"]), row["published"], text(row["source"]))] if has_published else []),
        ]
        for _, row in frame.iterrows()
    ]
    yield page.table([*columns, *(["Published"] if has_published else [])], rows)
    cells = frame[frame["role"] != "reference"]
    if (cells["n"] > 0).any() and drawn:
        rest = (
            f"Cell minus reference at the same seed: negative where the change hurts. Dots are seeds; "
            f"a filled mark is separated from 0; the gray band holds differences that do not matter. "
            f"{estimators(cells)}"
        )
        yield page.figure(plots.forest(cells, smallest).draw(), "What each change costs or brings.", rest.strip())


def _factorial(effects: pd.DataFrame, smallest: float) -> Iterator[str]:
    if effects.empty:
        return
    rows = [
        [
            TableCell(row["effect"], small=row["contrast"] if row["kind"] == MAIN else "interaction"),
            number(signed(row["difference"]), row["difference"], interval(row["low"], row["high"])),
            _word(row),
            number(signed(row["simple"]), row["simple"], interval(row["simple_low"], row["simple_high"])),
            number(share(row["share"]), row["share"]),
            TableCell(", ".join(row["aliases"])),
        ]
        for _, row in effects.iterrows()
    ]
    columns = ["Effect", "On average", "Verdict", "At the full config", "Share of variation", "Mixed with"]
    yield page.table(columns, rows)
    first = effects.iloc[0]
    rest = (
        f"A main effect is the level of the reference minus the other one, averaged over all others; "
        f"{plural(int(first['runs']), 'run')}. {_sentence(text(first['estimator']))}"
    )
    if lacking := text(first["missing"]) if isinstance(first["missing"], str) else ", ".join(first["missing"]):
        rest += f" Without a score: {lacking}."
    yield page.figure(plots.main_effects(effects, smallest).draw(), "What each factor is worth.", rest)
    if (effects["kind"] != MAIN).any():
        yield page.figure(
            plots.interactions(effects).draw(),
            "Which factors work together.",
            "Main effects on the diagonal, interactions below: positive where two factors help each other. "
            "Points; bold: separated from 0.",
        )


def _grid(grid: LayerGrid) -> str:
    return page.figure(plots.layer_grid(grid).draw(), "Which layers to pair.", grid.note)


def _response(curve: ResponseCurve) -> str:
    rest = "Quadratic in the logarithm; all else as in the reference; 95 % at each value by itself."
    return page.figure(plots.response(curve).draw(), f"{curve.factor}: {curve.sentence}", rest)


def _worth(findings: Findings, smallest: float) -> str:
    """Leaving out and adding in side by side, where both were run."""
    if not set(_BOTH) <= set(findings.ablation["design"]):
        return ""
    frame = worth(findings.ablation)
    rest = (
        "Two answers to one question: what is lost without it in the full config, and what it "
        "brings to cross-entropy alone. Far apart: the terms work together, or do each other's work."
    )
    drawing = plots.forest(frame, smallest, x="worth of the term (points)")
    return page.figure(drawing.draw(), "What each term is worth, left out and added in.", rest)


def _published(findings: Findings) -> str:
    """Our effects beside those of the paper that the design replays."""
    frame = replays(findings.tables)
    if frame.empty:
        return ""
    rows = [
        [
            TableCell(row["cell"], small=row["design"]),
            number(signed(row["difference"]), row["difference"], interval(row["low"], row["high"])),
            number(signed(row["published"]), row["published"]),
            TableCell(row["verdict"], small=row["why"], wide=True),
        ]
        for _, row in frame.iterrows()
    ]
    rest = (
        "Effects against the reference, not scores. Reproduced: the published effect is one that our seeds could have "
        "given, and both go the same way; not: it is not; inconclusive: our seeds cannot tell."
    )
    table = page.table(["Cell", "Here", "Published", "Verdict"], rows)
    return page.figure(table, "Beside the published numbers.", rest)


def _word(row: pd.Series) -> TableCell:
    if not text(row["word"]) or not interval(row["low"], row["high"]):
        return TableCell(small=text(row.get("withheld")) or ("" if missing(row["difference"]) else "no test"))
    seeds = row.get("n")
    few = f"on {plural(int(seeds), 'seed')} alone" if seeds is not None and seeds < ENOUGH_SEEDS else ""
    small = missed(row) if row["word"] == NOT_SEPARATED else few
    return TableCell(row["word"], small=text(row.get("weakened")) or small)


def _seen(row: pd.Series) -> str:
    return interval(row["low"], row["high"]) or (each(row["differences"], sign=True) if len(row["differences"]) else "")


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}." if words else ""
