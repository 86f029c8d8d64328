"""Replays policies on the studies of a table: one part for each sweep and number of workers, kept in a file."""

import importlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from search.clock import Policy, simulate
from search.confirmed import Confirmed
from search.plan import plan
from search.policies import PolicyOfOthers, PolicyOfOurs
from search.rows import Rows
from search.surrogate import Surrogate
from search.tables import StudyTable
from search.trainings import Trainings

COLUMNS = [
    *("policy", "task", "study", "trainings", "workers", "budget", "repetition"),
    *("regret", "epochs", "full_trainings", "time", "params"),
]
"""Of the results: `budget` and `full_trainings` (what was spent) in full trainings, `regret` in points of mIoU."""


@dataclass(frozen=True)
class Part:
    """What one file of results holds.

    Attributes:
        policy: Its name.
        of: The policy.
        task: Its name.
        studies: Names of the studies that one sweep searches.
        trainings: `surrogate` or `rows`.
        workers: Trainings at once.
    """

    policy: str
    of: PolicyOfOurs | PolicyOfOthers
    task: str
    studies: tuple[str, ...]
    trainings: str
    workers: int

    @property
    def name(self) -> str:
        """The name of its file."""
        studies = self.studies[0] if len(self.studies) == 1 else "together"
        text = f"{self.policy}-{self.task}-{studies}-{self.trainings}-{self.workers}"
        return "".join(each if each.isalnum() or each in "-_." else "_" for each in text)


@dataclass(frozen=True)
class Study:
    """A study to replay on.

    Attributes:
        table: Its trainings; none in an environment where only the surrogate is read.
        surrogate: What was fitted to them.
        spec: The fields of the spec that the table was made with.
    """

    table: StudyTable
    surrogate: Surrogate
    spec: Mapping[str, Any]

    def begin(self, trainings: str, repetition: int) -> Trainings:
        """The trainings of a repetition."""
        return Rows(self.table, repetition) if trainings == "rows" else self.surrogate.begin(repetition)


def run_part(part: Part, studies: Mapping[str, Study], budgets: Mapping[int, int], folder: Path) -> pd.DataFrame:
    """The results of a part: those of its file, and what is missing there, which is then written.

    Args:
        part: The part.
        studies: Its studies, by name.
        budgets: By budget in full trainings, the number of repetitions.
        folder: Where the files lie.
    """
    path = folder / f"{part.name}.parquet"
    before = pd.read_parquet(path) if path.exists() else pd.DataFrame(columns=COLUMNS)
    there = set(zip(before["budget"], before["repetition"], strict=True))
    rows = []
    for repetition in range(max(budgets.values())):
        memory: dict[Any, Any] = {}
        rows += [
            row
            for budget in sorted(budgets, reverse=True)
            if repetition < budgets[budget] and (budget, repetition) not in there
            for row in _rows(part, studies, budget, repetition, memory)
        ]
    if not rows:
        return before
    frame = pd.DataFrame([*before.to_dict("records"), *rows], columns=COLUMNS)
    folder.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(f".{os.getpid()}.tmp")
    frame.to_parquet(half)
    half.rename(path)
    return frame


def read_results(folder: Path) -> pd.DataFrame:
    """All results in a folder."""
    frames = [pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS)


def _rows(
    part: Part, studies: Mapping[str, Study], budget: int, repetition: int, memory: dict[Any, Any]
) -> Iterator[dict[str, Any]]:
    trainings = {name: studies[name].begin(part.trainings, repetition) for name in part.studies}
    policy = _policy(part, studies, trainings, budget, repetition, memory)
    for study, outcome in simulate(policy, trainings, part.workers).items():
        yield dict(
            zip(
                COLUMNS,
                (
                    *(part.policy, part.task, study, part.trainings, part.workers, budget, repetition),
                    *(outcome.regret, outcome.epochs, outcome.epochs / trainings[study].epochs, outcome.time),
                    json.dumps(dict(outcome.chosen)),
                ),
                strict=True,
            )
        )


def _policy(
    part: Part,
    studies: Mapping[str, Study],
    trainings: Mapping[str, Trainings],
    budget: int,
    repetition: int,
    memory: dict[Any, Any],
) -> Policy:
    if isinstance(part.of, PolicyOfOthers):
        ((name, of_study),) = trainings.items()
        module = importlib.import_module(f"search.others.{part.of.module}")
        search = module.make(of_study, repetition, **part.of.options)
        return Confirmed(name, search, plan(budget), of_study.space, of_study.epochs, of_study.default)
    from search.ours import Ours, sweep_spec

    mine = {name: studies[name] for name in part.studies}
    spaces = {name: dict(_wrong_priors(study)) for name, study in mine.items() if part.of.wrong_prior}
    fields = next(iter(mine.values())).spec
    spec = sweep_spec(fields, part.studies, plan(budget), part.of.fields, repetition, spaces)
    defaults = {name: of_study.default for name, of_study in trainings.items()}
    return Ours(spec, defaults, {name: study.table.pulls for name, study in mine.items()}, part.of.rule, memory)


def _wrong_priors(study: Study) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every domain of a study with the value of the worst config as its prior."""
    for path, domain in study.surrogate.space.items():
        value = study.surrogate.worst[1][path]
        if domain.choices:
            yield path, {"choices": list(domain.choices), "prior": value, "confidence": "high"}
        else:
            ends = {"low": domain.low, "high": domain.high, "log": domain.log, "integer": domain.whole}
            yield path, {**ends, "prior": value, "confidence": "high"}
