"""The section about further seeds: what true differences of several sizes would take, and what they cost."""

from analysis.formats import duration, missing, plural, points, share
from analysis.report import html as page
from analysis.report.evidence_lines import between, seeds_text, smallest_gain
from analysis.report.findings import Findings
from analysis.report.html import TableCell, number
from analysis.selection.evidence import Races, races, situation
from analysis.stats.seed_plan import GAINS, Need, Situation


def section(findings: Findings) -> str:
    """A table of differences; empty where the noise of a difference is not known."""
    start = situation(findings.tables)
    if start is None:
        return ""
    plan, needs = races(findings.tables), [start.need(gain) for gain in GAINS]
    columns = ["True difference (points)", "Seeds per config", "Range", "Further trainings", "Time"]
    at_hand = f"Missed by the {plural(start.seeds, 'seed')} at hand"
    table = page.table([*columns, at_hand], [_row(need, start, plan) for need in needs])
    rest = (
        "Seeds of a config of the last round with which the interval of a true difference excludes 0 in 80 of 100 "
        f"sweeps, in a family of {plural(start.comparisons, 'comparison')}, after the looks so far. A difference of "
        f"two configs has a standard deviation of {points(start.noise.sd)} points over seeds, 95 % interval "
        f"{points(start.noise.low)} to {points(start.noise.high)}: hence the range. The verdict asks, besides, for a "
        "difference above the smallest that matters."
    )
    go_on = smallest_gain(findings.tables, start, plan)
    below = f'<p class="aside">{page.prose(go_on)}</p>' if go_on else ""
    return f"{page.figure(table, 'How many seeds a difference takes.', rest)}{below}"


def _row(need: Need, start: Situation, plan: Races) -> list[TableCell]:
    gain, missed = number(points(need.gain), need.gain), number(share(need.missed), need.missed)
    width = TableCell(between(need, "", ""))
    if need.seeds is None:
        return [gain, number(seeds_text(None), None), width, number("", None), number("", None), missed]
    cost = plan.cost(plan.setting_for(need.seeds))
    time = number("" if missing(cost.seconds) else duration(cost.seconds), cost.seconds)
    seeds = number(seeds_text(need.seeds), need.seeds)
    return [gain, seeds, width, number(str(cost.trainings), cost.trainings), time, missed]
