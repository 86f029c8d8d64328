"""The front of a sweep with several limits of cost in words."""

import pandas as pd

from analysis.formats import cost, missing, plural, points, share, text
from analysis.report.line import Line
from analysis.search.front import front
from analysis.tables.files import Tables
from analysis.tables.json_columns import CostLimits, read_limits

FRONT = "Best below each limit"
_SURE = 0.99


def front_line(tables: Tables) -> Line | None:
    """The best student below each limit, in one line of a verdict; None for a sweep without several limits."""
    limits = read_limits(tables)
    if limits is None:
        return None
    rows = front(tables)
    unsure = bool((~rows["confirmed"].astype(bool)).any())
    return Line(FRONT, f"{'; '.join(_clause(limits, row) for _, row in rows.iterrows())}.", "amber" if unsure else "")


def limit_name(limits: CostLimits, limit: float) -> str:
    """A limit in words: ``8 ms``."""
    return cost(limits.figure, limit)


def mean_in_words(row: pd.Series) -> str:
    """The mean of a row of the front with its interval, in points."""
    ends = "" if missing(row["low"]) else f" [{points(row['low'])}, {points(row['high'])}]"
    return f"{points(row['mean'])}{ends}"


def chance_in_words(chance: float) -> str:
    """A chance in per cent; one that redraws cannot tell from certain is above 99 %."""
    return "above 99 %" if chance > _SURE else share(chance)


def _clause(limits: CostLimits, row: pd.Series) -> str:
    below = f"below {limit_name(limits, row['limit'])}"
    if not text(row["student"]):
        return f"{below} no trial is complete"
    if not missing(row["same_as"]):
        return f"{below} the same as below {limit_name(limits, row['same_as'])}"
    name = f"{below} {row['student']} of study {row['study']} ({limit_name(limits, row['cost'])})"
    if not row["confirmed"]:
        return f"{name} with {points(row['mean'])} in the search, on no fresh seed"
    chance = "" if missing(row["p_front"]) else f", on the front with a chance of {chance_in_words(row['p_front'])}"
    return f"{name} with {mean_in_words(row)} over {plural(int(row['n']), 'seed')}{chance}"
