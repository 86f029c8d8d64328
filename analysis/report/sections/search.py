"""The sections of a report about the search: how trainings went, what was spent, what the parameters did."""

from analysis.figures import importance as plots_importance
from analysis.figures import results as plots
from analysis.figures import search as plots_search
from analysis.formats import count, duration, points, share
from analysis.report import html as page
from analysis.report.findings import Findings
from analysis.report.html import Cell, number
from analysis.report.sections.results import CONFIG_CLAIM, SCORE
from analysis.search.expected_best import expected_best
from analysis.search.history import incumbents, spending
from analysis.search.importance import cautions, importance, isolation
from analysis.search.pareto import LIKELY, pareto
from analysis.tables.states import Phase, State

MANY_DOTS = 2000
_DRAWS, _REPLICATES = 3, 8
"""Of probes and of bootstraps: few, since a forest takes a second."""


def curves(found: Findings) -> str:
    """The learning curves of every study."""
    frame = found.curves
    if frame.empty:
        return ""
    baseline = found.baseline()
    reference = frame.iloc[:0]
    if baseline is not None:
        own = (frame["study"] == baseline["study"]) & (frame["config_id"] == baseline["config_id"])
        phase = Phase.CONFIRM if baseline["confirmed"] else Phase.SEARCH
        reference = frame[own & (frame["phase"] == phase)]
    trials = found.tables["trials"]
    searched = trials[(trials["phase"] == Phase.SEARCH) & (trials["state"] != State.PLANNED)].groupby("study").size()
    drawn = []
    for _, row in found.comparison.iterrows():
        study, mine = row["study"], frame[frame["study"] == row["study"]]
        shown = mine.loc[mine["phase"] == Phase.SEARCH, "trial_id"].nunique()
        others = reference.iloc[:0] if row["is_baseline"] else reference
        drawing = plots.learning_curves(frame, study, row["config_id"], others, found.palette)
        fresh = mine.loc[mine["phase"] == Phase.CONFIRM, "trial_id"].nunique()
        note = f"{count(shown)} of {count(searched.get(study, 0))} search trials drawn, {fresh} on fresh seeds"
        title = f'<h3>{page.key(study, found.palette[study])}<span class="aside">, {note}</span></h3>'
        drawn.append(f"<div>{title}{page.plot(drawing)}</div>")
    best = "the seeds of the best config" if found.confirmed else "the best trial"
    rest = (
        f"Thick: {best}; thin: the search; a cross ends a trial that was pruned, "
        "diverged or failed; dotted gray: the baseline's best config. mIoU on the role select, in points, "
        "one axis for all. Where not all search trials are drawn, they are spread evenly over their order of starting."
    )
    return page.figure(f'<div class="grid">{"".join(drawn)}</div>', "How each study learned.", rest)


def budget(found: Findings) -> str:
    """What was spent on what, and the best so far against it."""
    spent, steps = spending(found.tables), incumbents(found.tables)
    if spent.empty:
        return ""
    trials = found.tables["trials"]
    bars = page.figure(
        page.plot(plots.budget(spent, list(found.comparison["study"]), found.palette)),
        f"Training took {duration(spent['seconds'].sum())} in all.",
        f"{count(len(trials))} trials; full color: search, fainter: pruned, faintest: diverged or failed, "
        "hatched: fresh seeds. Budgets are granted in trials or epochs, so a costlier loss takes longer.",
    )
    if steps["best"].isna().all():
        return bars
    lines = page.figure(
        page.keys(found.palette) + page.plot(plots.incumbent(steps, found.palette)),
        "Best so far in the search: one seed each, optimistic; not a comparison of methods.",
        f"{count(len(steps))} search trials, in the order in which they ended; a dot where the best rose. {SCORE}",
    )
    return bars + lines


def expected(found: Findings) -> str:
    """What a search of a given size finds on average, or why that cannot be said."""
    told = expected_best(found.tables)
    if told.refused or told.by_trials.empty:
        return f'<p class="aside">{page.escape(told.refused)}</p>' if told.refused else ""
    scored = f" Thick: the score of that config on {told.held_out}, which did not choose it." if told.held_out else ""
    rest = (
        "A claim about methods, from one search each: the luck of other searches is not in it. U-statistic over all "
        f"orders of the trials; 80 % band. Thin: the score that chooses, optimistic.{scored} Dotted beyond a quarter "
        f"of the trials, where it cannot be trusted. {SCORE}"
    )
    by_trials = page.plot(plots_search.expected_by_trials(told.by_trials, found.palette))
    by_hours = page.plot(plots_search.expected_by_hours(told.by_hours, found.palette))
    body = page.keys(found.palette) + f'<div class="grid"><div>{by_trials}</div><div>{by_hours}</div></div>'
    return page.figure(body, "Expected best score against budget.", rest)


def costs(found: Findings) -> str:
    """What quality costs: training time, size and latency of every config on fresh seeds."""
    frame = pareto(found.tables)
    if len(frame) < 2 or frame["cost_s"].isna().any():
        return ""
    rows = [
        [
            Cell(html=page.key(row["study"], found.palette[row["study"]]), small=row["config_id"]),
            number(points(row["mean"]), row["mean"], f"n={row['n']}"),
            number(duration(row["cost_s"]), row["cost_s"]),
            number(count(row["params"]), row["params"]),
            number(f"{row['latency_ms']:.1f} ms" if row["latency_ms"] == row["latency_ms"] else "–", row["latency_ms"]),
            number(share(row["p_front"]), row["p_front"]),
        ]
        for _, row in frame.iterrows()
    ]
    likely = int((frame["p_front"] > LIKELY).sum())
    rest = (
        f"{CONFIG_CLAIM} Filled marks are on the front: no other config is better in everything. Means over few seeds "
        f"make the front uncertain: the last column is the share of redraws in which a config is on it; {likely} of "
        f"{len(frame)} are with more than {share(LIKELY)}. {SCORE}"
    )
    columns = ["Study", "mIoU", "One training", "Parameters", "Latency", "On the front"]
    drawing = page.plot(plots_search.pareto(frame, found.palette))
    return page.figure(drawing + page.table(columns, rows), "What quality costs.", rest)


def parameters(found: Findings) -> str:
    """Score against the value of every searched parameter, and which of them mattered."""
    return _responses(found) + _importance(found)


def _importance(found: Findings) -> str:
    parts = []
    for study in found.comparison["study"]:
        warned = cautions(found.tables, study)
        frame = importance(found.tables, study, draws=_DRAWS, replicates=_REPLICATES)
        parts += [f'<p class="aside">{page.escape(sentence)}</p>' for sentence in warned]
        if frame["value"].isna().all():
            continue
        configs = int(frame["configs"].max())
        rest = (
            f"{count(configs)} configs of {study}, one seed each or their mean. Filled: above the noise floor "
            "(dotted), which is what columns of random numbers reach; 90 % bootstrap intervals over configs."
        )
        drawing = page.plot(plots_importance.importance(frame))
        parts.append(page.figure(drawing, f"Which parameters of {study} moved the score.", rest))
        parts.append(_isolation(found, study, list(dict.fromkeys(frame["name"]))))
    return "".join(parts)


def _isolation(found: Findings, study: str, names: list[str]) -> str:
    dots = found.responses
    drawn = []
    for name in names:
        mine = dots[(dots["study"] == study) & (dots["name"] == name)]
        drawing = plots_importance.isolation(isolation(found.tables, study, name), mine, bool(mine["log"].any()))
        drawn.append(f"<div><h3><code>{page.escape(name)}</code></h3>{page.plot(drawing)}</div>")
    rest = (
        "Thin: the best of each part of the range, which grows with the number of configs in it; thick: the upper "
        f"quartile; all other parameters as they came. {SCORE}"
    )
    return page.figure(f'<div class="grid">{"".join(drawn)}</div>', f"How good {study} gets where.", rest)


def _responses(found: Findings) -> str:
    """Score against the value of every searched parameter."""
    frame = found.responses
    if frame.empty:
        return ""
    drawn, partly = [], ""
    for name, dots in frame.groupby("name", sort=True):
        shown = dots.iloc[:: -(-len(dots) // MANY_DOTS)]
        if len(shown) < len(dots):
            partly = "Where not all trials are drawn, one in several is, evenly over their order. "
        title = page.escape(str(name))
        note = f'<span class="aside"> {count(len(shown))} of {count(len(dots))} trials</span>'
        drawing = page.plot(plots.response(shown, found.palette))
        drawn.append(f"<div><h3><code>{title}</code>{note}</h3>{drawing}</div>")
    rest = (
        f"Every dot is one complete search trial, {count(frame['trial_id'].nunique())} in all, one seed each. {partly}"
        f"{SCORE} A search looks more often where it found good scores: do not read an average off a cloud."
    )
    body = page.keys(found.palette) + f'<div class="grid">{"".join(drawn)}</div>'
    return page.figure(body, "Score against the value of each searched parameter.", rest)
