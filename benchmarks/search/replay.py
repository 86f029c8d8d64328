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
from search.tables import Params, StudyTable
from search.trainings import Trainings

COLUMNS = [
    *("policy", "task", "study", "trainings", "workers", "start", "budget", "repetition"),
    *("regret", "epochs", "full_trainings", "time", "params"),
]
"""Of the results: `budget` and `full_trainings` (what was spent) in full trainings, `regret` in points of mIoU."""

PUBLISHED, WORST = "published", "worst"
STARTS = (PUBLISHED, WORST)
"""What a policy begins with and takes for its prior: the published config, or the worst one of the study. In ours the
published options of a loss stay, such as a temperature."""


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
        start: Of `STARTS`.
    """

    policy: str
    of: PolicyOfOurs | PolicyOfOthers
    task: str
    studies: tuple[str, ...]
    trainings: str
    workers: int
    start: str = PUBLISHED

    @property
    def name(self) -> str:
        """The name of its file."""
        studies = self.studies[0] if len(self.studies) == 1 else "together"
        start = "" if self.start == PUBLISHED else f"-{self.start}"
        text = f"{self.policy}-{self.task}-{studies}-{self.trainings}-{self.workers}{start}"
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

    def begin(self, trainings: str, start: str, repetition: int) -> Trainings:
        """The trainings of a repetition."""
        begun: Trainings = Rows(self.table, repetition) if trainings == "rows" else self.surrogate.begin(repetition)
        if start == WORST:
            begun.default = self.surrogate.worst[1]
        return begun


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
    trainings = {name: studies[name].begin(part.trainings, part.start, repetition) for name in part.studies}
    policy = _policy(part, studies, trainings, budget, repetition, memory)
    for study, outcome in simulate(policy, trainings, part.workers).items():
        yield dict(
            zip(
                COLUMNS,
                (
                    *(part.policy, part.task, study, part.trainings, part.workers, part.start, budget, repetition),
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
    from search.ours import Ours, begin_at, sweep_spec

    mine = {name: studies[name] for name in part.studies}
    fields = next(iter(mine.values())).spec
    defaults = {name: of_study.default for name, of_study in trainings.items()}
    pulls = {name: study.table.pulls for name, study in mine.items()}
    if part.start == WORST:
        fields = begin_at(fields, defaults[part.studies[0]])
        pulls = {name: _pulls_that_begin_at(study, defaults[name]) for name, study in mine.items()}
    spec = sweep_spec(fields, part.studies, plan(budget), part.of.fields, repetition)
    return Ours(spec, defaults, pulls, part.of.rule, memory)


def _pulls_that_begin_at(study: Study, start: Params) -> dict[str, float]:
    """The pulls at weight 1 with which the published weights pull as those of a config."""
    published = study.table.default or {}
    return {
        term: pull * float(start[path]) / float(published[path])
        for term, pull in study.table.pulls.items()
        if (path := f"terms.{term}.pull") in start
    }
