"""Folders of trials that are in the way of a training are moved aside; nothing is deleted."""

import contextlib
import json

from kdtrain.loop.run_files import CONFIG
from sweeps.ledger.trial_record import TrialRecord
from sweeps.store.folder_kinds import TRIALS
from sweeps.store.store import Store

ASIDE = f"{TRIALS}-set-aside"


def set_other_training_aside(store: Store, trial: TrialRecord) -> None:
    """Make room for a new trial: after a repair of the ledger its folder may hold another training."""
    folder = f"{TRIALS}/{trial.id}"
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        config = json.loads(store.read(f"{folder}/{CONFIG}"))
        if (config["config_id"], config["seed"]) != (trial.config_id, trial.seed):
            store.move(folder, f"{ASIDE}/{trial.id}-{config['config_id']}-{config['seed']}")


def set_damaged_aside(store: Store, trial: TrialRecord) -> str:
    """Restart a trial whose files cannot be resumed; its reports stay.

    Returns:
        Where its files are now.
    """
    aside = f"{ASIDE}/{trial.id}-attempt-{trial.attempts}"
    with contextlib.suppress(FileNotFoundError):
        store.move(f"{TRIALS}/{trial.id}", aside)
    return aside
