"""The trained students of a config, as a sweep holds them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from analysis.search.front import finalists_below
from analysis.tables.files import Tables
from analysis.tables.states import Phase, State
from kdtrain.loop.run_files import STUDENT
from sweeps.store.folder_kinds import TRIALS
from sweeps.store.store import Store


class TrainedStudent(NamedTuple):
    """A trained student of a sweep."""

    folder: Store
    """Where its weights and card lie."""
    seed: int
    score: float
    """On the role `select`, 0..1."""
    is_fresh: bool
    """Whether the search never saw its seed."""


def students_of(sweep: Store, trials: pd.DataFrame, study: str, config_id: str) -> Iterator[TrainedStudent]:
    """The students of a config that are there: those of fresh seeds first, and by seed.

    Args:
        sweep: The sweep.
        trials: Its table of trials.
        study: The study of the config.
        config_id: The config.
    """
    of_config = (trials["study"] == study) & (trials["config_id"] == config_id)
    runs = trials[of_config & (trials["state"] == State.COMPLETE) & trials["score"].notna()]
    for _, run in runs.sort_values(["phase", "seed"]).iterrows():  # confirm and final come before search
        trained = run["reused_from"] if isinstance(run["reused_from"], str) else run["trial_id"]
        folder = sweep.below(f"{TRIALS}/{trained}/{STUDENT}")
        if folder.names(""):
            yield TrainedStudent(folder, int(run["seed"]), float(run["score"]), run["phase"] != Phase.SEARCH)


def chosen_students(sweep: Store, tables: Tables, limit: float | None = None) -> list[TrainedStudent]:
    """The students of the chosen config that are there, the highest score first; of fresh seeds, where there are any.

    Args:
        sweep: The sweep.
        tables: Its tables `trials` and `selections`, with a limit all of them.
        limit: One of several limits of cost, below which the config is chosen; none for the largest.
    """
    selections = tables["selections"] if limit is None else finalists_below(tables, limit)
    chosen = selections[selections["chosen"]].sort_values("rank").head(1)
    pairs = zip(chosen["study"], chosen["config_id"], strict=True)
    students = [each for study, config_id in pairs for each in students_of(sweep, tables["trials"], study, config_id)]
    fresh = [student for student in students if student.is_fresh]
    return sorted(fresh or students, key=lambda student: -student.score)


def local_copy(store: Store, folder: Path) -> Path:
    """The folder of a store on this machine; files of an object store are fetched into `folder`."""
    if store.local is not None:
        return store.local
    store.pull("", folder)
    return folder
