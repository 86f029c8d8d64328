"""What would decide: how many more seeds, for how long, and the command that goes on."""

from analysis.formats import duration, missing, plural, points
from analysis.selection.evidence import Cost, Races, races, situation
from analysis.stats.judge import ENOUGH_SEEDS, WORDS
from analysis.stats.seed_contrasts import smallest_effect
from analysis.stats.seed_plan import MOST, Need
from analysis.tables.files import Tables

DECIDES = "What would decide"
"""The label of the line."""
_PLACE = "confirm.seeds=SEEDS"


def what_would_decide(tables: Tables, pair: str, difference: float, word: str | None, seeds: int) -> str:
    """How many more seeds would decide about a difference, and the command that trains them, as a sentence.

    Args:
        tables: The tables of a sweep whose words were said.
        pair: The two configs that are compared, ``cwd-1 against the baseline none``.
        difference: The difference that was seen (fraction); one below the smallest that matters counts as that.
        word: Its word.
        seeds: On how many seeds.

    Returns:
        Empty where enough seeds have decided, or where the noise is unknown.
    """
    start = situation(tables)
    if start is None or missing(difference) or (seeds >= ENOUGH_SEEDS and word != WORDS[1]):
        return ""
    gain = max(abs(difference), smallest_effect(tables["sweeps"]))
    need = start.need(gain)
    if need.seeds is None:
        least = points(start.finds(MOST))
        return (
            f"For {pair}: no number of seeds up to {MOST} separates a true difference of {points(gain)} points "
            f"in 80 of 100 sweeps; {MOST} seeds separate one of {least}."
        )
    plan, target = races(tables), max(need.seeds, ENOUGH_SEEDS)
    setting = plan.setting_for(target)
    return (
        f"For {pair}: {plural(target - seeds, 'more seed')}, {cost_text(plan.cost(setting))}, would separate a "
        f"true difference of {points(gain)} points in 80 of 100 sweeps ({range_text(need)}): "
        f"{command_text(tables, plan, target)}."
    )


def command_text(tables: Tables, plan: Races, seeds: int) -> str:
    """How to go on until every config of the last round has so many seeds: the command, or the field to change."""
    sweep = tables["sweeps"].iloc[0]
    setting = plan.setting_for(seeds)
    decided = not missing(sweep.get("confirm_most"))
    value = f"[{int(sweep['confirm_seeds'])},{setting}]" if decided else str(setting)
    command = sweep.get("grow_command")
    if isinstance(command, str):
        change = f"confirm.seeds={value}"
        return f"`{command.replace(_PLACE, change if value.isdigit() else repr(change))}`"
    return f"the command of this sweep, with `--set confirm.seeds={value}`"


def cost_text(cost: Cost) -> str:
    """Trainings and their time: ``about 12 trainings and 4.0 min``."""
    time = "" if missing(cost.seconds) else f" and {duration(cost.seconds)}"
    return f"about {plural(cost.trainings, 'training')}{time}"


def seeds_text(seeds: int | None) -> str:
    """A number of seeds that may be too large to be counted."""
    return f"more than {MOST}" if seeds is None else str(seeds)


def range_text(need: Need) -> str:
    """The seeds in all, and their range by what so few seeds know of the noise."""
    return f"{seeds_text(need.seeds)} in all{between(need, '; ', ' by what these seeds know of the noise')}"


def between(need: Need, before: str, after: str) -> str:
    """The range of the seeds that a gain takes; empty where it is one number."""
    low, high = seeds_text(need.fewest), seeds_text(need.most)
    return "" if low == high else f"{before}{low} to {high}{after}"
