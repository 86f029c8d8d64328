"""A study in a comparison, as typed rows: what it is, its best finalist, and what its search spent."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from analysis.selection.failures import Share, loss_by_failures
from analysis.selection.finalists import trials_of
from analysis.selection.latency import latency_of
from analysis.tables.files import Tables
from analysis.tables.states import Phase, Role, State

NAN = float("nan")
Unit = Literal["epochs", "trials"]


@dataclass(frozen=True)
class StudyFacts:
    """What a study is, from the table ``studies``."""

    study: str
    method: str
    citation: str | None
    is_baseline: bool
    searched_parameters: int
    budget_trials: float | None
    budget_epochs: float | None


@dataclass(frozen=True)
class BestFinalist:
    """The best finalist of a study, or one without anything where the study has none. Scores are fractions 0..1.

    Attributes:
        config_id: Its config.
        trial_id: The search trial that proposed it.
        screen_score: The score of that trial.
        optimism: That score minus the mean.
        mean: Mean of the scores.
        n: How many seeds have a score.
        planned_seeds: How many will have one.
        confirmed: Whether the seeds are fresh.
        seeds: Which seeds have a score.
        scores: One score per seed, on role ``select``.
        minimum: The lowest of them.
        maximum: The highest of them.
        test_scores: Scores on role ``test``.
        test_mean: Mean of these.
        params: Parameters of the student.
        latency_ms: Latency of the student, see `analysis.selection.latency`.
        unstable: What is wrong with its fresh seeds, in words; None where nothing is.
        failed_seeds: The fresh seeds that diverged, failed or collapsed.
        level: What it reaches where nothing fails, see ``analysis.selection.collapse``.
        rounds: The round of the race over fresh seeds that it reached.
        study_rounds: The round that the furthest config of its study reached.
    """

    config_id: str | None = None
    trial_id: str | None = None
    screen_score: float = NAN
    optimism: float = NAN
    mean: float = NAN
    n: int = 0
    planned_seeds: int = 0
    confirmed: bool = False
    seeds: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    minimum: float = NAN
    maximum: float = NAN
    test_scores: list[float] = field(default_factory=list)
    test_mean: float = NAN
    params: float = NAN
    latency_ms: float = NAN
    unstable: str | None = None
    failed_seeds: list[int] = field(default_factory=list)
    level: float = NAN
    rounds: int = 0
    study_rounds: int = 0

    @property
    def failures(self) -> Share:
        """How many of its fresh seeds failed."""
        return Share(len(self.failed_seeds), self.n if self.confirmed else 0)

    @property
    def loss(self) -> float:
        """By how much its failed seeds lower its mean (fraction)."""
        return loss_by_failures(dict(zip(self.seeds, self.scores, strict=True)), self.failed_seeds, self.level)


@dataclass(frozen=True)
class Spent:
    """What a study used: search and fresh seeds apart, and its trials of all phases by state."""

    search_trials: int = 0
    search_epochs: int = 0
    search_s: float = 0.0
    confirm_s: float = 0.0
    states: Mapping[State, int] = field(default_factory=lambda: dict.fromkeys(State, 0))

    def in_unit(self, unit: Unit) -> int:
        """What the search spent, in epochs or in trials."""
        return self.search_epochs if unit == "epochs" else self.search_trials


@dataclass(frozen=True)
class StudyRow:
    """One study of a comparison."""

    facts: StudyFacts
    finalists: int
    best: BestFinalist
    spent: Spent

    @property
    def study(self) -> str:
        """Its name."""
        return self.facts.study

    @property
    def granted_unit(self) -> Unit:
        """The unit in which the study's budget was granted."""
        return "epochs" if pd.notna(self.facts.budget_epochs) else "trials"

    def columns(self) -> dict[str, object]:
        """The row as columns of a frame: one column per field, and one per state with the number of trials."""
        spent = asdict(self.spent)
        states = {state.value: count for state, count in spent.pop("states").items()}
        return {**asdict(self.facts), "finalists": self.finalists, **asdict(self.best), **states, **spent}


def study_rows(tables: Tables, ranked: pd.DataFrame) -> list[StudyRow]:
    """Every study of a sweep, in the order of the table ``studies``.

    Args:
        tables: The tables of the sweep.
        ranked: From ``analysis.selection.finalists.finalists``.
    """
    tops = ranked.drop_duplicates("study").set_index("study", drop=False)
    spent = {str(study): _spent(trials) for study, trials in tables["trials"].groupby("study")}
    names = list(StudyFacts.__dataclass_fields__)
    return [
        StudyRow(
            facts=StudyFacts(**{name: study[name] for name in names}),
            finalists=int((ranked["study"] == study["study"]).sum()),
            best=_best(tables, tops.loc[study["study"]]) if study["study"] in tops.index else BestFinalist(),
            spent=spent.get(study["study"], Spent()),
        )
        for _, study in tables["studies"].iterrows()
    ]


def last_evaluations(tables: Tables, trial_ids: pd.Series, role: Role) -> pd.DataFrame:
    """The last evaluation of every trial on a role, as rows of the table ``evaluations``."""
    evaluations = tables["evaluations"]
    on_role = evaluations[evaluations["trial_id"].isin(trial_ids) & (evaluations["role"] == role)]
    return on_role.sort_values("epoch").drop_duplicates("trial_id", keep="last")


def _best(tables: Tables, top: pd.Series) -> BestFinalist:
    runs, trials = trials_of(tables, top), tables["trials"]
    of_config = trials[(trials["study"] == top["study"]) & (trials["config_id"] == top["config_id"])]
    test_scores = last_evaluations(tables, of_config["trial_id"], Role.TEST)["miou"].dropna().tolist()
    same = (
        *("config_id", "trial_id", "screen_score", "optimism", "mean", "n", "planned_seeds", "confirmed"),
        *("failed_seeds", "level", "rounds", "study_rounds"),
    )
    return BestFinalist(
        **{name: top[name] for name in same},
        seeds=[int(seed) for seed in top["seeds"]],
        scores=[float(score) for score in top["scores"]],
        minimum=min(top["scores"]),
        maximum=max(top["scores"]),
        test_scores=test_scores,
        test_mean=float(np.mean(test_scores)) if test_scores else NAN,
        params=runs["params"].max(),
        latency_ms=latency_of(tables, runs),
        unstable=top["unstable"] if pd.notna(top["unstable"]) else None,
    )


def _spent(trials: pd.DataFrame) -> Spent:
    search = trials[(trials["phase"] == Phase.SEARCH) & (trials["state"] != State.PLANNED)]
    confirm = trials[trials["phase"] == Phase.CONFIRM]
    return Spent(
        search_trials=len(search),
        search_epochs=int(search["epochs_run"].sum()),
        search_s=float(search["seconds"].sum()),
        confirm_s=float(confirm["seconds"].sum()),
        states={state: int((trials["state"] == state).sum()) for state in State},
    )
