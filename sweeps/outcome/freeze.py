"""The freeze of a sweep's selection: the point after which nothing can change it any more.

Only then are the chosen config and the baseline trained on final seeds and evaluated on the role test, so that what is
reported was not used to choose.
"""

import pandas as pd

from analysis.selection.finalists import finalists
from kdtrain.errors import InputError
from sweeps.ledger.grow_command import kept_spec_command
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.state import SweepState
from sweeps.ledger.sweep_events import Frozen, FrozenConfig
from sweeps.ledger.trial_state import Phase
from sweeps.outcome.tabulate import short_frames
from sweeps.spec.spec import SweepSpec, parse_spec
from sweeps.store.store import Store


def freeze(sweep: Store) -> Frozen:
    """Make the selection of a finished sweep final, by a record in its ledger.

    Returns:
        The event: the baseline equals the chosen config where nothing beat it, and the role is `select` where the data
        have no role test.

    Raises:
        InputError: If there is no sweep, it is not finished, nothing can be chosen, or it is frozen already.
    """
    state = SweepState()
    ledger = Ledger(sweep, take=state.apply)
    try:
        if state.begun is None:
            raise InputError(f"no sweep in {sweep} (looked for ledger/*.jsonl); give the --dir of its `kdsweep run`")
        if state.frozen is not None and state.frozen_by is not None:
            raise InputError(
                f"the selection of {sweep} is frozen already, since {state.frozen_by.at[:16]}: "
                f"config {state.frozen.chosen.config_id} of study {state.frozen.chosen.study}"
            )
        if not state.finished:
            raise InputError(
                f"{sweep} is not finished, so its selection cannot be frozen; run it to its end first: "
                f"`{kept_spec_command(state.command, str(sweep))}`"
            )
        spec = parse_spec(state.sweep.spec)
        frozen = _selection(spec, state, finalists(short_frames(state, spec)), str(sweep))
        ledger.append(frozen)
        return frozen
    finally:
        ledger.close()


def _selection(spec: SweepSpec, state: SweepState, ranked: pd.DataFrame, sweep: str) -> Frozen:
    if ranked.empty:
        raise InputError(f"{sweep}: no trial is complete, so there is nothing to freeze; run the sweep on")
    if not ranked["chosen"].any():
        raise InputError(f"{sweep}: only controls have a complete trial, so there is nothing to freeze")
    chosen = ranked[ranked["chosen"]].iloc[0]
    of_baseline = ranked[ranked["study"] == (spec.baseline.name if spec.baseline else None)]
    # Seeds of searches are none of those that are counted up: see `SweepSpec.search_seed`.
    counted = (trial.seed for trial in state.trials.values() if trial.phase in (Phase.CONFIRM, Phase.FINAL))
    first = max(spec.seed, *spec.confirm_seeds, *counted) + 1
    return Frozen(
        chosen=_config_of(chosen),
        baseline=_config_of(of_baseline.iloc[0]) if len(of_baseline) else None,
        tie=tuple(_config_of(row) for _, row in ranked[ranked["tie"]].iterrows()),
        why=chosen["why"],
        seeds=tuple(range(first, first + spec.confirm.final_seeds)),
        role="test" if spec.data.has_test else "select",
        records=state.last.n if state.last else 0,
    )


def _config_of(row: pd.Series) -> FrozenConfig:
    trial = row["trial_id"] if isinstance(row["trial_id"], str) else None
    return FrozenConfig(row["study"], trial, row["config_id"])
