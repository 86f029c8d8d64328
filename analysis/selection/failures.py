"""Trainings that failed: which say something about their method, at which score they count, how often they come.

What a comparison estimates is the mean over all fresh seeds that were planned. A training that diverged, or whose
training code raised an error at every attempt, says something about its config: it counts, see `counted_scores`. A
training that its machine or its files stopped says nothing: its seed is missing, and no word is said without it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.selection.collapse import collapsed_in_search
from analysis.stats.share_interval import share_interval
from analysis.tables.files import Tables
from analysis.tables.fixed import once
from analysis.tables.states import BY_METHOD, FailureScore, Phase, State

PRIOR_TRAININGS = 10
"""What a study's failures say about one of its configs weighs as much as so many trainings of the config itself."""
ENDED = (State.COMPLETE, State.PRUNED, State.DIVERGED)
"""States of trials whose scores the worst of all is chosen from, beside those that failed by their method."""


def failed_by_method(trials: pd.DataFrame) -> pd.Series:
    """Which trials failed in a way that says something about their method: diverged, or an error of the code.

    So did a training that came to its end without a finite score.
    """
    by_error = (trials["state"] == State.FAILED) & trials["failure"].isin(BY_METHOD)
    without_score = (trials["state"] == State.COMPLETE) & trials["score"].isna()
    return (trials["state"] == State.DIVERGED) | by_error | without_score


@once
def counted_scores(tables: Tables) -> pd.Series:
    """The score at which every trial counts (fraction), by the index of the table ``trials``.

    That of a complete trial is its score. One that failed by its method counts at the score that it reached at its last
    evaluation, and at the worst score of any training of the sweep if it was never evaluated or the spec declares so
    (``confirm.failures: worst``). All others are missing.
    """
    trials, declared = tables["trials"], tables["sweeps"]["failures"].dropna()
    failed, score = failed_by_method(trials), trials["score"].astype("float64")
    reached = score.fillna(trials["reached"].astype("float64"))
    worst = reached[failed | trials["state"].isin(ENDED)].min()
    at = reached.fillna(worst) if (declared != FailureScore.WORST).all() else pd.Series(worst, trials.index)
    return score.where(trials["state"] == State.COMPLETE).mask(failed, at)


def loss_by_failures(scores: Mapping[int, float], failed: Sequence[int], level: float) -> float:
    """By how much its failed seeds lower the mean of a config (fraction).

    Args:
        scores: By seed.
        failed: The seeds that failed.
        level: What the config reaches where nothing fails; NaN where that is unknown, which counts as no loss.
    """
    lost = [max(0.0, level - scores[seed]) for seed in failed]
    return float(np.nansum(lost)) / len(scores) if scores else 0.0


@dataclass(frozen=True)
class Share:
    """How many of some trainings failed, diverged or collapsed."""

    failed: int = 0
    total: int = 0

    def __add__(self, other: "Share") -> "Share":
        return Share(self.failed + other.failed, self.total + other.total)

    def __str__(self) -> str:
        return f"{self.failed} of {self.total}"

    def success(self, confidence: float = 0.95) -> tuple[float, float, float]:
        """The share that did not fail, and its interval (Clopper & Pearson 1934), which covers at least so often.

        Returns:
            Estimate, lower and upper end; NaN where there is no training.
        """
        if not self.total:
            return (float("nan"),) * 3
        good = self.total - self.failed
        return good / self.total, *share_interval(good, self.total, 1 - confidence)


@dataclass(frozen=True)
class StudyFailures:
    """The failures of one study. Losses are fractions: what the config reaches otherwise, minus the counted score.

    Attributes:
        search: Of the trainings of its search.
        fresh: Of those of all its finalists on fresh seeds.
        losses: The loss of every failure whose loss is known.
    """

    search: Share = Share()
    fresh: Share = Share()
    losses: tuple[float, ...] = ()

    @property
    def all(self) -> Share:
        """Of all its trainings."""
        return self.search + self.fresh

    def expected_loss(self, own: Share) -> float:
        """What failures cost a config of the study on average (fraction): how often they come times their mean loss.

        How often is estimated from the config's own seeds and from all trainings of the study: the best of several
        finalists is often one that was lucky, so that its own seeds alone show too few failures.

        Args:
            own: Of the fresh seeds of the config.
        """
        if not self.losses:
            return 0.0
        rate = (own.failed + PRIOR_TRAININGS * self.all.failed / self.all.total) / (own.total + PRIOR_TRAININGS)
        return rate * float(np.mean(self.losses))


def study_failures(tables: Tables, ranked: pd.DataFrame) -> dict[str, StudyFailures]:
    """The failures of every study that has begun.

    Args:
        tables: The tables of a sweep.
        ranked: From ``analysis.selection.finalists.finalists``.
    """
    trials = tables["trials"].assign(counted=counted_scores(tables), failed=failed_by_method(tables["trials"]))
    if trials.empty:
        return {}
    searched = trials[(trials["phase"] == Phase.SEARCH) & (trials["failed"] | (trials["state"] == State.COMPLETE))]
    searches = {str(study): group for study, group in searched.groupby("study")}
    confirmed = ranked[ranked["confirmed"].astype(bool)]
    return {
        str(study): _of_study(tables["params"], searches.get(str(study), searched.iloc[:0]), group)
        for study, group in (
            (study, confirmed[confirmed["study"] == study]) for study in trials["study"].drop_duplicates()
        )
    }


def explained(values: Mapping[str, Sequence[float]], failed: Sequence[bool]) -> bool:
    """Whether one searched parameter explains why trials of a search failed.

    It does if two or more failed, and all of them lie beyond every other trial on the same side of the parameter, like
    those with the highest learning rates. The finalists then do not share the cause.

    Args:
        values: By parameter, the value of every trial; NaN where it has no number.
        failed: Whether each trial failed.
    """
    mask = np.asarray(failed, dtype=bool)
    if mask.sum() < 2 or mask.all():
        return False
    for column in values.values():
        numbers = np.asarray(column, dtype=float)
        bad, good = numbers[mask], numbers[~mask]
        if np.isfinite(numbers).all() and (bad.min() > good.max() or bad.max() < good.min()):
            return True
    return False


def _of_study(params: pd.DataFrame, searched: pd.DataFrame, confirmed: pd.DataFrame) -> StudyFailures:
    complete = searched[~searched["failed"].astype(bool)]
    collapses = dict(zip(complete.index, collapsed_in_search(complete["counted"].tolist()), strict=True))
    fell = np.array([collapses.get(place, True) for place in searched.index], dtype=bool)
    if explained(_values(params, searched["trial_id"]), fell.tolist()):
        searched, fell = searched[~fell], fell[~fell]
    middle = complete["counted"].median()
    losses = [*(middle - searched.loc[fell, "counted"])]
    for _, config in confirmed.iterrows():
        by_seed = dict(zip(config["seeds"], config["scores"], strict=True))
        losses += [config["level"] - by_seed[seed] for seed in config["failed_seeds"]]
    return StudyFailures(
        search=Share(int(fell.sum()), len(fell)),
        fresh=Share(int(confirmed["failed_seeds"].map(len).sum()), int(confirmed["n"].sum())),
        losses=tuple(max(0.0, float(loss)) for loss in losses if np.isfinite(loss)),
    )


def _values(params: pd.DataFrame, trial_ids: pd.Series) -> dict[str, list[float]]:
    """The searched numbers of some trials by parameter, in the order of the trials."""
    searched = params[params["trial_id"].isin(trial_ids) & (params["role"] == "nuisance")]
    return {
        str(name): group.drop_duplicates("trial_id").set_index("trial_id")["value"].reindex(trial_ids).tolist()
        for name, group in searched.groupby("name")
    }
