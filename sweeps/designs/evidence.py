"""How many seeds a gain takes, before a sweep runs: from the noise and the times of a sweep like it."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.formats import plural, points, share
from analysis.report.evidence_lines import between, cost_text, seeds_change, seeds_text, smallest_gain
from analysis.selection.evidence import Race, Races, races, situation
from analysis.selection.halving import all_seeds
from analysis.stats.looks import NO_LOOKS
from analysis.stats.seed_plan import GAINS, Need, Situation
from analysis.tables.json_columns import read_config, read_frozen_selection
from analysis.tables.states import Phase, State
from kdtrain.errors import InputError
from sweeps.designs.detectable import POWER, comparisons, study_lines
from sweeps.driver.allocation import most_trials
from sweeps.driver.growth import growth
from sweeps.ledger.state import SweepState
from sweeps.spec.spec import SweepSpec


def lines_like(spec: SweepSpec, tables: Mapping[str, pd.DataFrame], name: str, begun: bool) -> list[str]:
    """How many seeds gains of several sizes take, and their cost.

    Args:
        spec: The sweep to plan.
        tables: Of the sweep whose noise and times are taken.
        name: What that sweep is called, for the lines.
        begun: Whether it is this sweep: then its seeds and looks count, and the cost is that of further trainings.

    Raises:
        InputError: If the sweep does not tell the noise of a difference.
    """
    found = situation(dict(tables))
    if found is None:
        raise InputError(
            f"--like {name}: must be a sweep with two configs or more that were trained on two fresh seeds or more, "
            "which this one has not"
        )
    if begun:
        start, plan = found, races(dict(tables))
    else:
        planned = all_seeds(spec.confirm.rounds)
        start = replace(found, comparisons=comparisons(spec), seeds=planned, looks=NO_LOOKS, looked=False)
        plan = races_of(spec, tables)
    noise = start.noise
    lines = [
        f"seeds that find a gain {POWER} (noise of {name}: a difference of two configs spreads by {points(noise.sd)} "
        f"points over seeds, or by {points(noise.low)} to {points(noise.high)}; "
        f"{plural(start.comparisons, 'comparison')}):"
    ]
    first = spec.confirm.first if spec.confirm.most else None
    return [*lines, *(_line(start.need(gain), start, plan, begun, first) for gain in GAINS)]


def detectable_like(spec: SweepSpec, tables: Mapping[str, pd.DataFrame], name: str) -> list[str]:
    """The smallest gain of every study that its seeds detect with the noise of another sweep."""
    found = situation(dict(tables))
    return [] if found is None else study_lines(spec, found.noise.sd, f"with the noise of {name}")


def how_to_go_on(tables: Mapping[str, pd.DataFrame], name: str) -> str:
    """The command that goes on with a sweep that was begun, for a gain that more seeds would find; empty for none."""
    if read_frozen_selection(dict(tables)) is not None:
        return f"the selection of {name} is frozen and cannot grow: these are seeds and costs of a new sweep"
    found = situation(dict(tables))
    return "" if found is None else smallest_gain(dict(tables), found, races(dict(tables)))


def races_of(spec: SweepSpec, tables: Mapping[str, pd.DataFrame]) -> Races:
    """The fresh seeds of a sweep that has not begun, at the pace of another one."""
    rows = {}
    pace = _pace(tables["trials"])
    for study in spec.studies:
        config, searched = spec.config_for(study), bool(spec.space_of(study))
        configs = min(spec.confirm.top, most_trials(spec, study)) if searched else 1
        rows[study.name] = Race(
            configs, searched, config.epochs * pace.get(config.uses_teacher, np.nan), spec.repeats_of(study)
        )
    return replace(races(dict(tables)), top=spec.confirm.top, setting=0, studies=rows)


def _pace(trials: pd.DataFrame) -> dict[bool, float]:
    """Median seconds of an epoch, with a teacher and without."""
    complete = trials[(trials["state"] == State.COMPLETE) & (trials["phase"] != Phase.FINAL)]
    taught = complete["config_json"].map(lambda text: read_config(text).uses_teacher)
    medians = (complete["seconds"] / complete["epochs_run"]).groupby(taught).median()
    return {bool(key): float(value) for key, value in medians.items()}


def _line(need: Need, start: Situation, plan: Races, begun: bool, first: int | None) -> str:
    seeds = f"{seeds_text(need.seeds)} seeds{between(need, ' (', ')')}"
    missed = f"; {start.seeds} miss it in {share(need.missed)}" if start.seeds > 1 else ""
    if need.seeds is None:
        return f"  {points(need.gain)} points: {seeds}{missed}"
    setting = plan.setting_for(need.seeds)
    more = "further " if begun else ""
    cost = cost_text(plan.cost(setting)).replace(" training", f" {more}training", 1)
    return f"  {points(need.gain)} points: {seeds}, {cost}, --set {seeds_change(setting, first)}{missed}"


def begun_as(spec: SweepSpec, state: SweepState, sweep: str) -> bool:
    """Whether a sweep was begun with this spec, or with less of it, so that a run would go on with it."""
    try:
        growth(state.sweep.spec, spec, sweep)
    except InputError:
        return False
    return True
