"""States, domains and values as Optuna has them, and its storages."""

import json
import math
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from analysis.tables.domains import Choices, Domain, Range
from analysis.tables.states import State

STATES = {
    State.COMPLETE: TrialState.COMPLETE,
    State.PRUNED: TrialState.PRUNED,
    State.DIVERGED: TrialState.FAIL,
    State.FAILED: TrialState.FAIL,
}
"""Optuna's states of trials that have ended."""
JOURNALS = (".journal", ".log")
"""How the names of files end that are journals."""


def open_storage(address: str) -> BaseStorage:
    """The storage at an address: a file that is a journal, or a data base such as ``sqlite:///runs.db``."""
    if address.endswith(JOURNALS):
        return JournalStorage(JournalFileBackend(address))
    return RDBStorage(address)


def distribution(domain: Domain | None, tried: list[object]) -> BaseDistribution:
    """The domain as it stands in the table, with all that was tried, be it under another one."""
    numbers = [value for value in tried if isinstance(value, int | float) and not isinstance(value, bool)]
    if isinstance(domain, Range) and len(numbers) == len(tried):
        wide = domain.widened(numbers)
        log = wide.log and wide.low > 0
        if wide.integer and all(float(value).is_integer() for value in numbers):
            return IntDistribution(int(wide.low), int(wide.high), log=log)
        return FloatDistribution(float(wide.low), float(wide.high), log=log)
    choices = domain.choices if isinstance(domain, Choices) else ()
    return CategoricalDistribution(list(dict.fromkeys(map(optuna_value, [*choices, *tried]))))


def optuna_value(value: Any) -> Any:
    """Optuna takes no lists, nor numbers that JSON lacks: as text then."""
    plain = value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))
    return value if plain else json.dumps(value)
