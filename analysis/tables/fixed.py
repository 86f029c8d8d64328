"""Tables that nobody changes, and functions of them that are computed once."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar

import pandas as pd

from analysis.tables.files import Tables

_P = ParamSpec("_P")
_Result = TypeVar("_Result")


class FixedTables(Tables):
    """Tables that nobody changes, with what was computed from them by functions that are marked ``once``.

    A dict that is made from them, as ``{**tables, "sweeps": other}``, is an ordinary one, of which nothing is computed.

    Attributes:
        results: By function and its further arguments.
    """

    def __init__(self, tables: Mapping[str, pd.DataFrame]) -> None:
        """Hold the tables.

        Args:
            tables: The tables by name.
        """
        super().__init__(tables)
        self.results: dict[tuple[object, ...], Any] = {}

    def add(self, name: str, table: pd.DataFrame) -> None:
        """Take in one more table, from which so far nothing can have been computed.

        Args:
            name: Its name, which is a new one.
            table: The table.
        """
        if name in self:
            raise KeyError(f"{name}: these tables are fixed and hold it already")
        super().__setitem__(name, table)

    def __setitem__(self, name: str, table: pd.DataFrame) -> None:
        """Refuse another table in the place of one from which something may have been computed."""
        raise TypeError(f"{name}: these tables are fixed; put other ones into a dict of your own, {{**tables, ...}}")


def fixed(tables: Tables) -> FixedTables:
    """The tables as ``FixedTables``; themselves where they are fixed already.

    Args:
        tables: The tables of a sweep, which nobody changes from here on.
    """
    return tables if isinstance(tables, FixedTables) else FixedTables(tables)


def once(function: Callable[Concatenate[Tables, _P], _Result]) -> Callable[Concatenate[Tables, _P], _Result]:
    """A function of tables that is computed once for ``FixedTables``: its result must not be changed.

    Args:
        function: Takes the tables of a sweep, and arguments that can be hashed.
    """

    @functools.wraps(function)
    def result(tables: Tables, /, *args: _P.args, **options: _P.kwargs) -> _Result:
        if not isinstance(tables, FixedTables):
            return function(tables, *args, **options)
        key = (function, args, tuple(options.items()))
        if key not in tables.results:
            tables.results[key] = function(tables, *args, **options)
        computed: _Result = tables.results[key]
        return computed

    return result
