"""The table of kdbench: one row for each epoch of each training of a task, and the ranges that its studies search."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.tables.files import read_tables
from analysis.tables.metric_names import MIOU
from analysis.tables.ranges import distance
from sweeps.outcome.loaded import load_state

FOLDER = Path(__file__).parent / "tables"
_SAME = 1e-9
"""A config that is nearer to the published one, as a share of the ranges, is the published one."""
Spaces = dict[str, dict[str, Any]]
"""By study and path: ``{low, high, log, integer}`` of a range, ``{choices}`` of a list."""


def collect(sweep: str | Path) -> tuple[pd.DataFrame, Spaces]:
    """Read a finished task from the tables of its sweep.

    Args:
        sweep: The folder of the sweep.

    Returns:
        One row for each epoch of each complete training, in the order of study, config, seed and epoch, with the
        columns that README.md names; and what each study searches.
    """
    tables = read_tables(sweep, ["sweeps", "studies", "trials", "params", "metrics"])
    trials = tables["trials"]
    trials = trials[trials.state == "complete"]
    searched = trials[trials.phase == "search"]
    number_of = dict(zip(searched.trial_id, searched.number, strict=True))
    published = searched[[distance(tables, row.study, row.trial_id) < _SAME for row in searched.itertuples()]].config_id
    seeds = {seed: index for index, seed in enumerate(sorted(trials.seed.unique()))}
    trainings = pd.DataFrame(
        {
            "trial_id": trials.trial_id,
            "task": tables["sweeps"].name.iloc[0],
            "study": trials.study,
            "config": trials.candidate_of.fillna(trials.trial_id).map(number_of),
            "config_id": trials.config_id,
            "seed": trials.seed.map(seeds),
            "epochs": trials.epochs_planned,
            "published_default": trials.config_id.isin(published),
            "params": trials.params,
            "macs": trials.macs,
        }
    )
    params = tables["params"].assign(name="set." + tables["params"].name)
    settings = params.pivot(index="trial_id", columns="name", values="value").reset_index()
    metrics = tables["metrics"].pivot(index=["trial_id", "epoch"], columns="name", values="value").reset_index()
    kept = [name for name in metrics if name.startswith("term/") and name.rsplit("/", 1)[1] in ("raw", "gradient")]
    metrics = metrics[["trial_id", "epoch", MIOU, "seconds/total", *kept]]
    metrics = metrics.rename(columns={MIOU: "score", "seconds/total": "seconds"})
    rows = trainings.merge(metrics, on="trial_id").merge(settings, on="trial_id", how="left")
    begun = load_state(sweep)[1].begun
    assert begun is not None, "a sweep with trials has begun"
    rows["images"] = rows.epoch * begun.data["images"]["train"]
    rows = rows.drop(columns="trial_id").sort_values(["study", "config", "seed", "epoch"], ignore_index=True)
    spaces = {row.study: json.loads(row.space_json) for row in tables["studies"].itertuples()}
    return rows, spaces


def write(rows: pd.DataFrame, spaces: Spaces, folder: Path = FOLDER) -> Path:
    """Write a task's table and ranges into a folder; returns the path of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    task = rows.task.iloc[0]
    (folder / f"{task}.json").write_text(json.dumps(spaces, indent=1, sort_keys=True) + "\n")
    path = folder / f"{task}.parquet"
    rows.to_parquet(path, compression="zstd", index=False)
    return path


def read(task: str, folder: Path = FOLDER) -> tuple[pd.DataFrame, Spaces]:
    """Read a task's table and ranges."""
    return pd.read_parquet(folder / f"{task}.parquet"), json.loads((folder / f"{task}.json").read_text())
