"""The claim about methods, from several searches of each: what another search would return."""

from analysis.figures.canvas import Colors
from analysis.formats import MISSING, interval, missing, points, signed, text
from analysis.report import html as page
from analysis.report.findings import Findings
from analysis.report.html import TableCell, number
from analysis.search.method_claim import MethodClaim, method_claim

METHOD_CLAIM = "A claim about methods: it holds for searching them again with another search seed."
ESTIMATOR = (
    "Mixed model: method, luck of a search, noise of a seed, with the search as the unit. Each search is scored on "
    "the fresh seeds of its race. Intervals of 95 %, one family (step-down)."
)


def section(findings: Findings) -> str:
    """Every method over its searches; empty for a sweep that searched each study once or has not finished."""
    if not findings.finished or not (findings.tables["studies"]["repeats"] > 1).any():
        return ""
    claim = method_claim([findings.tables])
    return f'<p class="aside">{page.prose(sentence_of(claim))}</p>{methods_table(claim, findings.palette)}'


def sentence_of(claim: MethodClaim) -> str:
    """The claim with a capital letter and a full stop."""
    return f"{claim.sentence[0].upper()}{claim.sentence[1:]}."


def methods_table(claim: MethodClaim, palette: Colors) -> str:
    """One row per method, the baseline last, and below it the spread of searches and of seeds."""
    every = [*claim.frame.to_dict("records"), *([] if claim.baseline is None else [claim.baseline.to_dict()])]
    rows = []
    for row in every:
        is_baseline = claim.baseline is not None and row["study"] == claim.baseline["study"]
        word = "baseline" if is_baseline else text(row["word"]) or "not tested"
        difference = MISSING if missing(row["difference"]) else signed(row["difference"])
        rows.append(
            [
                TableCell(html=page.key(row["study"], palette[row["study"]])),
                number(str(row["searches"]), row["searches"]),
                number(points(row["mean"]), row["mean"]),
                number(difference, row["difference"], interval(row["low"], row["high"])),
                number(MISSING if missing(row["p_holm"]) else f"{row['p_holm']:.2g}", row["p_holm"], word),
                number(points(row["search_sd"]), row["search_sd"]),
                number(points(row["seed_sd"]), row["seed_sd"]),
            ]
        )
    columns = [
        "Study",
        "Searches",
        "Mean",
        "Over the baseline",
        "p (adjusted)",
        "Spread of searches",
        "Spread of seeds",
    ]
    below = " ".join([METHOD_CLAIM, ESTIMATOR, *claim.notes])
    if spreads := claim.spreads:
        below += f" Pooled over the methods, {spreads}."
    return f'{page.table(columns, rows)}<p class="aside">{page.prose(below)}</p>'
