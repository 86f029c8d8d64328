"""What a sweep tells about its next seeds: the noise of its differences, and what a further seed costs."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.selection.finalists import finalists
from analysis.selection.halving import all_seeds, schedule, trainings
from analysis.stats.looks import looks_of
from analysis.stats.seed_contrasts import Effects, effects
from analysis.stats.seed_plan import DifferenceNoise, Situation
from analysis.tables.controls import controls_of, subject_of_group
from analysis.tables.files import Tables
from analysis.tables.fixed import once
from analysis.tables.states import Phase, State


@dataclass(frozen=True)
class Race:
    """The fresh seeds of one study.

    Attributes:
        configs: Configs that enter its race; one where the study searches nothing.
        searched: Whether the configs race; a study that searches nothing trains its config on every seed.
        seconds: Seconds of one training; NaN where none was timed.
        searches: Independent searches of the study, each with a race of its own.
    """

    configs: int
    searched: bool
    seconds: float
    searches: int = 1

    def trainings(self, top: int, setting: int) -> int:
        """Its trainings at a setting of ``confirm.seeds``."""
        rounds = schedule(top, setting)
        return self.searches * trainings(rounds, self.configs) if self.searched else all_seeds(rounds)


@dataclass(frozen=True)
class Cost:
    """Trainings, and the time that they take on as many machines as before (s); NaN where it is not known."""

    trainings: int
    seconds: float


@dataclass(frozen=True)
class Races:
    """The fresh seeds of a sweep.

    Attributes:
        top: Configs per study that enter the first round.
        setting: The field ``confirm.seeds`` as it is.
        studies: By study.
        at_once: Trainings that ran at the same time, on average.
    """

    top: int
    setting: int
    studies: Mapping[str, Race]
    at_once: float = 1.0

    def setting_for(self, seeds: int) -> int:
        """The smallest ``confirm.seeds`` with which a config of the last round has so many seeds."""
        return next(setting for setting in range(1, seeds + 1) if all_seeds(schedule(self.top, setting)) >= seeds)

    def cost(self, setting: int) -> Cost:
        """What raising ``confirm.seeds`` to a setting costs; a bit more where another config then survives a round."""
        extra = {
            study: race.trainings(self.top, setting) - race.trainings(self.top, self.setting)
            for study, race in self.studies.items()
        }
        seconds = sum(count * self.studies[study].seconds for study, count in extra.items() if count)
        return Cost(sum(extra.values()), seconds / self.at_once)


@once
def situation(tables: Tables) -> Situation | None:
    """Where the fresh seeds of a sweep stand; None where they do not tell the noise of a difference."""
    reference, family = _compared(tables)
    made = _effects(tables, reference)
    if made is None:
        return None
    scale = made.difference_sd / made.spread.sd if made.spread.sd > 0 else np.nan
    noise = DifferenceNoise(made.difference_sd, made.spread.low * scale, made.spread.high * scale)
    if not noise.known:
        return None
    looks, looked = looks_of(tables["sweeps"]), bool(tables["sweeps"]["finished"].all())
    return Situation(noise, family, made.n, looks, looked)


@once
def races(tables: Tables) -> Races:
    """The fresh seeds of a sweep and their cost, from what its trainings took."""
    sweep, trials, studies = tables["sweeps"].iloc[0], tables["trials"], tables["studies"]
    complete = trials[(trials["state"] == State.COMPLETE) & (trials["phase"] != Phase.FINAL)]
    confirmed = complete[complete["phase"] == Phase.CONFIRM]
    seconds = {**_medians(complete), **_medians(confirmed)}
    searched = complete[complete["phase"] == Phase.SEARCH].groupby("study")["config_id"].nunique()
    usual = float(np.median(list(seconds.values()))) if seconds else np.nan
    decided = pd.notna(sweep["confirm_most"])  # after the race only the best config of every study goes on
    top = 1 if decided else int(sweep["confirm_top"])
    rows = {}
    for _, study in studies.iterrows():
        name, searches = str(study["study"]), bool(study["searched_parameters"])
        configs = min(top, int(searched.get(name, 0))) if searches else 1
        rows[name] = Race(configs, searches, seconds.get(name, usual), int(study["repeats"]))
    setting = int(confirmed.groupby("study")["seed"].nunique().min()) if decided else int(sweep["confirm_seeds"])
    return Races(top, setting, rows, _at_once(complete))


def _effects(tables: Tables, reference: str | None) -> Effects | None:
    """All best finalists beside the config that most are compared with."""
    tops = finalists(tables).drop_duplicates("study")
    tops = tops[tops["confirmed"]]
    rows = [
        (str(top["study"]), seed, score)
        for _, top in tops.iterrows()
        for seed, score in zip(top["seeds"], top["scores"], strict=True)
    ]
    scored = {study for study, _, _ in rows}
    if reference not in scored or len(scored) < 2:
        return None
    return effects(pd.DataFrame(rows, columns=["config", "seed", "score"]), str(reference))


def _compared(tables: Tables) -> tuple[str | None, int]:
    """The config that the others are compared with, and the comparisons of the largest family."""
    cells, controls = tables["cells"], controls_of(tables)
    if len(cells):
        subjects = [subject_of_group(group) for _, group in cells.groupby("design", sort=False)]
        others = cells[cells["role"] != "reference"]
        sizes = others.assign(control=others["role"] == "control").groupby(["design", "control", "family"]).size()
        return next((each for each in subjects if each is not None), None), int(sizes.max()) if len(sizes) else 1
    studies = tables["studies"]
    baseline = studies.loc[studies["is_baseline"], "study"]
    methods = [study for study in studies["study"] if study not in controls]
    return (str(baseline.iloc[0]) if len(baseline) else None), max(1, len(methods) - 1)


def _medians(trials: pd.DataFrame) -> dict[str, float]:
    return {str(study): float(each) for study, each in trials.groupby("study")["seconds"].median().dropna().items()}


def _at_once(trials: pd.DataFrame) -> float:
    """How many trainings ran at the same time, on average over the time in which any ran."""
    spans = trials[["started_at", "ended_at"]].dropna().sort_values("started_at")
    if spans.empty:
        return 1.0
    begin, end = spans["started_at"], spans["ended_at"]
    latest = end.cummax()
    gaps = (begin - latest.shift()).dt.total_seconds().clip(lower=0).sum()
    covered = (latest.iloc[-1] - begin.iloc[0]).total_seconds() - gaps
    return max(1.0, (end - begin).dt.total_seconds().sum() / covered) if covered > 0 else 1.0
