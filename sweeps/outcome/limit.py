"""The limit of cost below which a user asks for the best config."""

from analysis.search.front import finalists_below
from analysis.tables.files import Tables
from analysis.tables.json_columns import read_limits
from kdtrain.errors import InputError


def require_limit(limit: float, tables: Tables, sweep: object, name: str = "limit") -> None:
    """Refuse what is not one of several limits of a sweep, and a limit below which nothing is trained yet.

    Args:
        limit: The limit.
        tables: The tables of the sweep.
        sweep: Where it lies, for messages.
        name: What the user calls the limit.

    Raises:
        InputError: If it is refused.
    """
    limits = read_limits(tables)
    if limits is None:
        raise InputError(f"{name}: the target of {sweep} gives no list of limits; leave it out")
    if limit not in limits.values:
        allowed = ", ".join(map(_shown, limits.values))
        raise InputError(f"{name}: must be one of the limits of target.{limits.figure}, {allowed}, got {_shown(limit)}")
    if not finalists_below(tables, limit)["chosen"].any():
        raise InputError(f"{name}: no trial of {sweep} below {_shown(limit)} is complete; run the sweep on")


def _shown(limit: float) -> str:
    return str(int(limit)) if float(limit).is_integer() else str(limit)
