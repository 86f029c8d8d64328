"""What a frozen selection scores on seeds that nobody chose by, and on the images of role ``test``.

The only honest numbers of a sweep: a config's fresh seeds have helped to choose it, these have not.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from analysis.conditions.hardware import different_code, mixed
from analysis.formats import plural, points
from analysis.selection.collapse import Runs, collapsed
from analysis.selection.failures import counted_scores, failed_by_method, loss_by_failures
from analysis.stats.judge import word_that_holds
from analysis.stats.seed_contrasts import effects, smallest_effect
from analysis.tables.files import Tables
from analysis.tables.json_columns import ConfigId, read_frozen_selection
from analysis.tables.states import Phase, Role


@dataclass(frozen=True)
class FinalScores:
    """A config on the final seeds. Scores are mIoU as fractions 0..1.

    Attributes:
        seeds: The seeds that have a score.
        planned: How many there will be.
        select: Score per seed on role ``select``, the images of the search.
        test: Score per seed on role ``test``; empty where the data have no such role.
        failed: The seeds whose training failed by its method; they count, see ``analysis.selection.failures``.
    """

    study: str
    config_id: str
    seeds: tuple[int, ...]
    planned: int
    select: tuple[float, ...]
    test: tuple[float, ...]
    failed: tuple[int, ...] = ()

    @property
    def role(self) -> str:
        """The role whose scores are published."""
        return (Role.TEST if self.test else Role.SELECT).value

    @property
    def scores(self) -> tuple[float, ...]:
        """Scores on `role`."""
        return self.test or self.select

    @property
    def mean(self) -> float:
        """Mean of `scores`; NaN before the first seed."""
        return float(np.mean(self.scores)) if self.scores else float("nan")

    @property
    def collapsed(self) -> tuple[int, ...]:
        """The seeds that were trained to the end and collapsed, see ``analysis.selection.collapse``."""
        sound = self._trained
        (fell,) = collapsed([Runs(list(sound.values()))])
        return tuple(seed for seed, flag in zip(sound, fell, strict=True) if flag)

    @property
    def broken(self) -> tuple[int, ...]:
        """The seeds that failed or collapsed."""
        return self.failed + self.collapsed

    @property
    def loss(self) -> float:
        """By how much these lower the mean (fraction)."""
        level = Runs(list(self._trained.values())).level
        return loss_by_failures(dict(zip(self.seeds, self.scores, strict=True)), self.broken, level)

    @property
    def _trained(self) -> dict[int, float]:
        """Score by seed, where the training came to its end."""
        scores = zip(self.seeds, self.scores, strict=True)
        return {seed: score for seed, score in scores if seed not in self.failed}

    @property
    def select_mean(self) -> float:
        """Mean on role ``select``; NaN before the first seed."""
        return float(np.mean(self.select)) if self.select else float("nan")


@dataclass(frozen=True)
class Difference:
    """Chosen minus baseline on the final seeds that both have, judged as every other difference of a sweep.

    Attributes:
        seeds: Those seeds.
        each: The difference seed by seed.
        mean: Their mean.
        low: Lower end of its interval; NaN for one seed.
        high: Upper end.
        mde: Smallest true difference that is detected in 80 of 100 repetitions; NaN for one seed.
        word: One of ``analysis.stats.judge.WORDS``; None where it is withheld.
        withheld: Why there is no word, as a clause; empty if there is one.
        weakened: Why the word is weaker than that of the seeds alone, as a clause; empty if it is not.
    """

    seeds: tuple[int, ...]
    each: tuple[float, ...]
    mean: float
    low: float
    high: float
    mde: float
    word: str | None
    withheld: str
    weakened: str = ""


def selection_ended(tables: Tables) -> bool:
    """Whether nothing can change the selection any more but a larger sweep: it has finished, or it is frozen."""
    return bool(tables["sweeps"]["finished"].all()) or read_frozen_selection(tables) is not None


def final_scores(tables: Tables, of: Literal["chosen", "baseline"] = "chosen") -> FinalScores | None:
    """The frozen config, or with ``baseline`` the baseline, on the final seeds; None where there is none."""
    frozen = read_frozen_selection(tables)
    config: ConfigId | None = None if frozen is None else getattr(frozen, of)
    if frozen is None or config is None:
        return None
    on_test = frozen.role == Role.TEST
    runs = _final_runs(tables)
    runs = runs[(runs["study"] == config.study) & (runs["config_id"] == config.config_id)]
    runs = runs.dropna(subset=["counted", "miou"] if on_test else ["counted"]).sort_values("seed")
    return FinalScores(
        study=config.study,
        config_id=config.config_id,
        seeds=tuple(int(seed) for seed in runs["seed"]),
        planned=len(frozen.seeds),
        select=tuple(runs["counted"].astype(float)),
        test=tuple(runs["miou"].astype(float)) if on_test else (),
        failed=tuple(int(seed) for seed in runs.loc[runs["failed"], "seed"]),
    )


def _final_runs(tables: Tables) -> pd.DataFrame:
    """The trainings on final seeds: ``counted`` on role select, ``miou`` on role test, and whether they ``failed``.

    A failed training has no evaluation on role test: it counts there at the score that it counts at on role select,
    but at no more than the lowest score of a training that came to its end.
    """
    trials, evaluations = tables["trials"], tables["evaluations"]
    failed = failed_by_method(trials)
    runs = trials.assign(counted=counted_scores(tables), failed=failed)[trials["phase"] == Phase.FINAL]
    on_test = evaluations[evaluations["role"] == Role.TEST].drop_duplicates("trial_id", keep="last")
    runs = runs.merge(on_test[["trial_id", "miou"]], on="trial_id", how="left")
    lowest = runs.loc[~runs["failed"], "miou"].astype("float64").min()
    at_most = runs["counted"].clip(upper=lowest) if pd.notna(lowest) else runs["counted"]
    return runs.assign(miou=runs["miou"].astype("float64").mask(runs["failed"], at_most))


def final_difference(tables: Tables) -> Difference | None:
    """The frozen config against the baseline on the seeds that both have; None where it is the baseline itself."""
    chosen, baseline = final_scores(tables), final_scores(tables, "baseline")
    if chosen is None or baseline is None or (chosen.study, chosen.config_id) == (baseline.study, baseline.config_id):
        return None
    finals = tables["trials"][tables["trials"]["phase"] == Phase.FINAL]
    refused = "; ".join(different_code(mixed({**tables, "trials": finals}), chosen.study, baseline.study))
    return judged_difference(chosen, baseline, smallest_effect(tables["sweeps"]), refused)


def judged_difference(
    chosen: FinalScores, baseline: FinalScores, smallest: float, refused: str = ""
) -> Difference | None:
    """The difference of two configs on final seeds; None where no seed has both.

    Failures count as on fresh seeds: no word is said where all seeds of a config failed, and a gain also has to hold if
    the mean of the baseline is not lowered by its failed seeds.

    Args:
        chosen: The frozen config.
        baseline: The baseline's.
        smallest: The practical threshold (fraction).
        refused: Why the two may not be compared, as a clause; empty if they may.
    """
    shared = [seed for seed in chosen.seeds if seed in baseline.seeds]
    if not shared:
        return None
    scores = {
        name: dict(zip(config.seeds, config.scores, strict=True)) for name, config in (("b", baseline), ("c", chosen))
    }
    long = pd.DataFrame(
        [{"config": name, "seed": seed, "score": by_seed[seed]} for name, by_seed in scores.items() for seed in shared]
    )
    judged = [
        effects(long.assign(score=long["score"] + loss * (long["config"] == "b")), "b", smallest).frame.iloc[0]
        for loss in dict.fromkeys((0.0, baseline.loss))
    ]
    row = judged[0]
    no_evidence = f"the scores are no evidence: {row['no_evidence']}" if row["no_evidence"] else ""
    no_interval = "" if np.isfinite(row["low"]) else "the seeds give no interval"
    withheld = refused or _withheld(chosen, baseline) or no_evidence or no_interval
    word = word_that_holds([str(each["word"]) for each in judged], [float(each["difference"]) for each in judged])
    weakened = (
        f"{row['word']} by the seeds alone, but {len(baseline.broken)} of {plural(len(baseline.seeds), 'final seed')} "
        f"of {baseline.study} failed or collapsed, which lowers its mean by {points(baseline.loss)} points"
    )
    return Difference(
        seeds=tuple(shared),
        each=tuple(scores["c"][seed] - scores["b"][seed] for seed in shared),
        mean=float(row["difference"]),
        low=float(min(each["low"] for each in judged)),
        high=float(max(each["high"] for each in judged)),
        mde=float(row["mde"]),
        word=None if withheld else word,
        withheld=withheld,
        weakened=weakened if not withheld and word != row["word"] else "",
    )


def _withheld(*configs: FinalScores) -> str:
    """Why no word is said: while a final seed is missing, chance may have chosen those that are there."""
    lacking = [
        f"study {config.study} lacks the score of {config.planned - len(config.seeds)} of {config.planned} final seeds"
        for config in configs
        if len(config.seeds) < config.planned
    ]
    failed = [
        f"all {plural(len(config.seeds), 'final seed')} of {config.study} failed"
        for config in configs
        if config.seeds and len(config.broken) == len(config.seeds)
    ]
    return " and ".join([*lacking, *failed])
