"""Folders of trials that the ledger does not know: a sign that it is an older copy, or was cut back by a repair."""

import os
from collections.abc import Collection

from sweeps.store.folder_kinds import TRIALS
from sweeps.store.store import Store


def unknown_trials(sweep: Store, known: Collection[str]) -> str | None:
    """A sentence about such folders, on a disk; a trial is in the ledger before it has a folder.

    Args:
        sweep: The sweep.
        known: The ids of the trials in its ledger.
    """
    if sweep.local is None:
        return None
    try:
        with os.scandir(sweep.local / TRIALS) as entries:
            unknown = sorted(entry.name for entry in entries if entry.is_dir() and entry.name not in known)
    except OSError:
        return None
    unknown = [name for name in unknown if not name.startswith(".")]
    if not unknown:
        return None
    more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    return (
        f"{sweep}/{TRIALS} has {unknown[0]}{more}, of which the ledger knows nothing: records are lost, unless "
        "somebody else put it there; if the ledger is an older copy, put back the newer one"
    )
