"""What would decide: how many more seeds, for how long, and the command that goes on."""

from analysis.formats import duration, missing, plural, points
from analysis.selection.evidence import Cost, Races, races, situation
from analysis.stats.seed_contrasts import smallest_effect
from analysis.stats.seed_plan import GAINS, MOST, Need, Situation
from analysis.stats.words import ENOUGH_SEEDS, WORDS
from analysis.tables.files import Tables
from analysis.tables.json_columns import read_frozen_selection

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
        Empty where enough seeds have decided, where the noise is unknown, and after a freeze: no seeds may be added.
    """
    start = situation(tables)
    decided = seeds >= ENOUGH_SEEDS and word != WORDS[1]
    if start is None or missing(difference) or decided or read_frozen_selection(tables) is not None:
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


def smallest_gain(tables: Tables, start: Situation, plan: Races) -> str:
    """The smallest of the usual gains that more seeds would find, and the command that trains them.

    Empty where there is none, and after a freeze: no seeds may be added.
    """
    if read_frozen_selection(tables) is not None:
        return ""
    for gain in GAINS:
        if (seeds := start.need(gain).seeds) is not None and seeds > start.seeds:
            return f"For a difference of {points(gain)} points: {command_text(tables, plan, seeds)}."
    return ""


def command_text(tables: Tables, plan: Races, seeds: int) -> str:
    """How to go on until every config of the last round has so many seeds: the command, or the field to change."""
    sweep = tables["sweeps"].iloc[0]
    first = None if missing(sweep.get("confirm_most")) else int(sweep["confirm_seeds"])
    change, command = seeds_change(plan.setting_for(seeds), first), sweep.get("grow_command")
    if isinstance(command, str):
        return f"`{command.replace(_PLACE, change)}`"
    return f"`kdsweep run D/spec.yaml --dir D --set {change}`, D being the folder of this sweep"


def seeds_change(setting: int, first: int | None) -> str:
    """The value of ``--set`` for a shell.

    Args:
        setting: What ``confirm.seeds`` is set to.
        first: The seeds at the first planned look; None where the sweep has none.
    """
    return f"confirm.seeds={setting}" if first is None else f"'confirm.seeds=[{first},{setting}]'"


def cost_text(cost: Cost) -> str:
    """Trainings and their time: ``about 12 trainings and 4.0 min``."""
    time = "" if missing(cost.seconds) else f" and {duration(cost.seconds)}"
    return f"about {plural(cost.trainings, 'training')}{time}"


def seeds_text(seeds: int | None) -> str:
    """A number of seeds that may be too large to be counted."""
    return f"more than {MOST}" if seeds is None else str(seeds)


def range_text(need: Need) -> str:
    """The seeds in all, and their range by the interval of the noise."""
    return f"{seeds_text(need.seeds)} in all{between(need, '; ', ' by the interval of the noise')}"


def between(need: Need, before: str, after: str) -> str:
    """The range of the seeds that a gain takes; empty where it is one number."""
    low, high = seeds_text(need.fewest), seeds_text(need.most)
    return "" if low == high else f"{before}{low} to {high}{after}"
