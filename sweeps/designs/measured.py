"""What a finished sweep tells about the next one: how long an epoch takes, and how far seeds spread."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.tables.states import State
from sweeps.designs.controls import TimeRatio

ASSUMED_SD = 0.004
"""Standard deviation of mIoU over seeds where none was measured (fraction)."""


@dataclass(frozen=True)
class Measured:
    """Facts about trainings; a fact that was not measured is none."""

    sd: float | None = None
    """Standard deviation of the score over seeds, pooled over configs (fraction)."""
    df: int = 0
    """Its degrees of freedom."""
    taught: float | None = None
    """Seconds of an epoch with the reference's losses, median over trainings."""
    untaught: float | None = None
    """Seconds of an epoch of the baseline."""
    name: str = ""
    """The sweep."""

    @property
    def ratio(self) -> TimeRatio | None:
        """How much longer an epoch of the reference takes than one of the baseline."""
        if not self.taught or not self.untaught:
            return None
        return TimeRatio(self.taught / self.untaught, f"medians of the sweep {self.name}")


def measure(tables: dict[str, pd.DataFrame], config: Mapping[str, Any]) -> Measured:
    """What the tables of a sweep say about trainings like that of one of its configs."""
    trials = tables["trials"]
    complete = trials[(trials["state"] == State.COMPLETE) & trials["score"].notna()]
    fresh = complete[complete["phase"] == "confirm"].groupby(["study", "config_id"])["score"].agg(["var", "size"])
    fresh = fresh[fresh["size"] > 1]
    df = int((fresh["size"] - 1).sum())
    sd = float(np.sqrt((fresh["var"] * (fresh["size"] - 1)).sum() / df)) if df else None
    baseline = tables["sweeps"]["baseline"].iloc[0]
    pace = (complete["seconds"] / complete["epochs_run"]).groupby(complete["study"]).median()
    same = {**config, "seed": None}
    alike = trials["config_json"].map(lambda text: {**json.loads(text), "seed": None} == same)
    study = next(iter(trials.loc[alike, "study"]), "")
    return Measured(sd, df, _pace_of(pace, study), _pace_of(pace, baseline), str(tables["sweeps"]["name"].iloc[0]))


def _pace_of(pace: pd.Series, study: Any) -> float | None:
    seconds = pace.get(study)
    return float(seconds) if seconds is not None and seconds > 0 else None
