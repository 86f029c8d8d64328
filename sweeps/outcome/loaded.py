"""Spec and state of a sweep, from its files."""

from pathlib import Path

from kdtrain.errors import InputError
from kdtrain.foreign import current_stand_in
from sweeps.ledger.extent import Extent
from sweeps.ledger.ledger import say_once
from sweeps.ledger.read_state import read_state
from sweeps.ledger.state import SweepState
from sweeps.ledger.unknown_trials import unknown_trials
from sweeps.spec.recorded import Facts, Recorded, guessed_facts
from sweeps.spec.spec import SweepSpec, parse_spec
from sweeps.store.store import Store, open_store


def load_state(sweep: Store | Path | str) -> tuple[SweepSpec, SweepState]:
    """Spec and state of a sweep, also of a running sweep.

    Raises:
        InputError: If there is no sweep, or its ledger is damaged.
    """
    spec, state, _ = load_with_extent(open_store(sweep))
    return spec, state


def load_with_extent(store: Store) -> tuple[SweepSpec, SweepState, Extent]:
    """Spec and state, and the records that they follow from; what a reader should know of them is said once."""
    read = read_state(store, say_once)
    return spec_of(store, read.state), read.state, read.found.extent


def spec_of(store: Store, state: SweepState) -> SweepSpec:
    """The spec of a sweep whose ledger was read.

    Raises:
        InputError: If there is no sweep, or the spec does not read.
    """
    if state.begun is None:
        raise InputError(f"no sweep in {store} (looked for ledger/*.jsonl); give the --dir of its `kdsweep run`")
    if (text := unknown_trials(store, state.trials)) is not None:
        say_once(text)
    recorded = current_stand_in()
    if isinstance(recorded, Recorded):
        recorded.learn(state.sweep.foreign or _shown_by_trials(state))
    return parse_spec(state.sweep.spec)


def _shown_by_trials(state: SweepState) -> Facts:
    """What the trials of a sweep show of its third-party objects, which earlier versions did not record."""
    params: dict[str, dict[str, dict[object, None]]] = {}
    for trial in state.trials.values():
        for path, value in trial.params.items():
            params.setdefault(trial.study, {}).setdefault(path, {})[value] = None
    configs = {study: trials[0].config for study, trials in state.by_study.items()}
    return guessed_facts(state.sweep.spec, configs, params)
