"""The table of real trainings as the replay reads it: of every study its space, its configs and their curves.

`<folder>/<task>.parquet` has one row for each study, config, seed and epoch, `<folder>/<task>.json` the space of each
study. Neither kdtrain nor sweeps is imported here, so that the policies of others run in an environment of their own.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

Value = bool | int | float | str | None
Params = Mapping[str, Value]
"""A value for each dotted path of a space."""
SETTING = "set."
"""What the names of columns with settings begin with."""


@dataclass(frozen=True)
class Domain:
    """The values of one parameter.

    Attributes:
        low, high: The ends of a range, both included; without meaning where there are choices.
        log: Whether the range is even in the logarithm.
        whole: Whether only whole numbers belong to the range.
        choices: The values, where they are listed.
    """

    low: float = 0.0
    high: float = 1.0
    log: bool = False
    whole: bool = False
    choices: tuple[Value, ...] = ()

    @classmethod
    def parse(cls, content: Mapping[str, object]) -> "Domain":
        """Read a domain of `<task>.json`."""
        if "choices" in content:
            return cls(choices=tuple(content["choices"]))  # type: ignore[arg-type]
        low, high = float(content["low"]), float(content["high"])  # type: ignore[arg-type]
        return cls(low, high, bool(content.get("log")), bool(content.get("integer")))

    @property
    def is_ordered(self) -> bool:
        """Whether the values have an order: a range, or choices that are all numbers."""
        return all(isinstance(each, int | float) and not isinstance(each, bool) for each in self.choices)

    def at(self, share: float) -> Value:
        """The value at a share in [0, 1) of the domain."""
        if self.choices:
            return self.choices[min(int(share * len(self.choices)), len(self.choices) - 1)]
        if self.whole:
            ends = (self.low - 0.5, self.high + 0.5)
            return int(min(max(round(ends[0] + share * (ends[1] - ends[0])), self.low), self.high))
        if self.log:
            inside = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
            return min(max(inside, self.low), self.high)
        return self.low + share * (self.high - self.low)

    def places(self, value: Value) -> list[float]:
        """Where a value lies in [0, 1]: one number for ordered values, otherwise one for each choice."""
        if self.choices:
            index = [repr(each) for each in self.choices].index(repr(value)) if value in self.choices else 0
            if self.is_ordered:
                return [index / max(1, len(self.choices) - 1)]
            return [float(index == each) / math.sqrt(2) for each in range(len(self.choices))]
        number = float(value)  # type: ignore[arg-type]
        if self.log:
            return [math.log(number / self.low) / math.log(self.high / self.low)]
        return [(number - self.low) / (self.high - self.low)]


Space = Mapping[str, Domain]


def places(space: Space, params: Params) -> np.ndarray:
    """Where a config lies in the unit cube of a space, `(d,)`."""
    return np.array([place for path, domain in space.items() for place in domain.places(params[path])])


def drawn(space: Space, shares: Sequence[float]) -> dict[str, Value]:
    """The config at shares in [0, 1) of the domains of a space."""
    return {path: domain.at(share) for (path, domain), share in zip(space.items(), shares, strict=True)}


@dataclass(frozen=True)
class StudyTable:
    """All trainings of one study of a task.

    Attributes:
        task, study: Their names.
        space: The space that the configs were drawn from.
        configs: The parameters of every config.
        default: The published config; none if the table has none.
        pulls: By the name of a term, its pull at weight 1 in the published config.
        curves: mIoU in percent, `(configs, seeds, epochs)`; NaN where a config was not trained with a seed.
    """

    task: str
    study: str
    space: Space
    configs: tuple[Params, ...]
    default: Params | None
    pulls: Mapping[str, float]
    curves: np.ndarray

    @property
    def epochs(self) -> int:
        """Epochs of a full training."""
        return int(self.curves.shape[2])


def tasks(folder: Path) -> list[str]:
    """The names of the tasks in a folder of tables."""
    return sorted(path.stem for path in folder.glob("*.parquet"))


def read_task(folder: Path, task: str) -> list[StudyTable]:
    """The studies of a task.

    Raises:
        ValueError: If a config lacks a setting of its space, or an epoch of a training is missing.
    """
    frame = pd.read_parquet(folder / f"{task}.parquet")
    spaces = json.loads((folder / f"{task}.json").read_text())
    return [_study(task, str(name), spaces[str(name)], rows) for name, rows in frame.groupby("study", sort=False)]


def _study(task: str, study: str, space: Mapping[str, Mapping[str, object]], rows: pd.DataFrame) -> StudyTable:
    domains = {path: Domain.parse(domain) for path, domain in space.items()}
    number = {config: index for index, config in enumerate(sorted(rows["config"].unique()))}
    seeds = {seed: index for index, seed in enumerate(sorted(rows["seed"].unique()))}
    epochs = int(rows["epochs"].max())
    first = rows.drop_duplicates("config").set_index("config").loc[list(number)]
    configs = []
    for config, row in first.iterrows():
        params = {path: _value(domain, row.get(SETTING + path)) for path, domain in domains.items()}
        if lacking := [path for path, domain in domains.items() if params[path] is None and None not in domain.choices]:
            raise ValueError(f"{task}: config {config} of {study} must have {SETTING}{lacking[0]}, got none")
        configs.append(params)
    curves = np.full((len(number), len(seeds), epochs), np.nan)
    index = (rows["config"].map(number), rows["seed"].map(seeds), rows["epoch"].astype(int) - 1)
    curves[index] = 100 * rows["score"].to_numpy(float)
    trained = ~np.isnan(curves).all(axis=2)
    if np.isnan(curves[trained]).any():
        raise ValueError(f"{task}: every training of {study} must have a score after each of {epochs} epochs")
    of_default = [number[config] for config in first.index[first["published_default"].astype(bool)]]
    default = configs[of_default[0]] if of_default else None
    pulls = _pulls(first[first["published_default"].astype(bool)])
    return StudyTable(task, study, domains, tuple(configs), default, pulls, curves)


def _pulls(published: pd.DataFrame) -> dict[str, float]:
    """The pulls at weight 1 of the terms of the published config."""
    columns = [name for name in published if name.startswith(f"{SETTING}terms.") and name.endswith(".pull")]
    weights = {name: name.removesuffix("pull") + "weight" for name in columns}
    found = {
        name.split(".")[2]: float((published[name] / published[weight]).iloc[0])
        for name, weight in weights.items()
        if weight in published and len(published)
    }
    return {name: pull for name, pull in found.items() if math.isfinite(pull)}


def _value(domain: Domain, value: object) -> Value:
    """A cell of the table as a value of its domain; the table holds numbers as floats and null as NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if domain.choices:
        return next((each for each in domain.choices if each == value or str(each) == str(value)), None)
    return int(value) if domain.whole else float(value)  # type: ignore[call-overload, arg-type]
