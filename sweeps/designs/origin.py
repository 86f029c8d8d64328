"""The config that an ablation takes apart, its spec, and the times and scores of its trainings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from analysis import read_tables
from analysis.tables.commands import shared_by_commands
from sweeps.designs.measured import Measured, measure
from sweeps.outcome.best_file import candidate
from sweeps.spec.spec import SweepSpec
from sweeps.store.store import Store


@dataclass(frozen=True)
class Origin:
    """A config in plain values, the spec of its sweep, and what that sweep measured."""

    config: Mapping[str, Any]
    spec: SweepSpec
    measured: Measured
    options: Mapping[str, str | bool] = field(default_factory=dict)
    """Of the command of that sweep: its data, its weights and its trust."""


def originate(source: str, study: str | None) -> Origin:
    """The config of a sweep's best study, or of a spec.

    Args:
        source: The folder of a sweep, or a spec.
        study: Which study; as `candidate` chooses where none is given.

    Raises:
        InputError: If there is no such study, or it has no complete trial.
    """
    config, spec = candidate(source, study)
    sweep = Store(source)
    if sweep.local is not None and not sweep.local.is_dir():
        return Origin(config, spec, Measured())
    tables = read_tables(source, ["sweeps", "trials"])
    return Origin(config, spec, measure(tables, config), shared_by_commands(tables).by_name())
