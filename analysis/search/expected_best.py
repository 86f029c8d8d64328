"""How good is what a search returns for a budget? From one random search: the expected best score against budget.

It averages over the orders in which the trials of the search might have come. What other searches would return is the
question of ``analysis.search.method_claim``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import gammaln

from analysis.tables.files import Tables
from analysis.tables.states import BROKEN, Phase, Role, State

TRUSTED = 4
"""A curve is trusted up to this part of its trials: beyond, its band covers 76 % and less of 95 % (simulated)."""
REPLICATES = 2000
BAND = 0.8
_IID = ("random",)
_ENDED = (State.COMPLETE, *BROKEN)
_POINTS = 40
_CELLS = 4_000_000


@dataclass(frozen=True)
class Expected:
    """Expected best score against budget, per study.

    Attributes:
        by_trials: One row per study and number of trials: ``study, n, score, held_out, low, high, trusted``.
            ``score`` is the expected best; ``held_out`` the expected independent score of the config that is best,
            without the luck of being chosen; ``low, high`` a simultaneous 80 % band of ``score``
            (Lourie et al. 2024, for scores within 0..1).
        by_hours: One row per study and budget: ``study, hours, score, trusted``; hours of training, the time in
            which the teacher answers included, that of fitting the teacher not.
        held_out: What ``held_out`` is scored on, in words; empty where there is no independent score.
        refused: Why there are no curves; empty where there are.
    """

    by_trials: pd.DataFrame
    by_hours: pd.DataFrame
    held_out: str
    refused: str


def expected_best(tables: Tables, seed: int = 0) -> Expected:
    """Expected best score (mIoU on role ``select``) of every study's search, against trials and against hours.

    U-statistic over the trials of a study in all orders (Tang et al. 2020), unbiased up to all N trials and trusted
    up to ``N / TRUSTED`` (column ``trusted``). A trial that diverged or failed is budget spent and counts as the worst
    that completed. Valid for independent trials only, so nothing is drawn from searches that learn or stop early:
    there ``analysis.search.history.incumbents`` is all that can be shown.

    Args:
        tables: The tables of a sweep.
        seed: Of the random orders for ``by_hours``.
    """
    trials_columns = ["study", "n", "score", "held_out", "low", "high", "trusted"]
    hours_columns = ["study", "hours", "score", "trusted"]
    refused = refusal(tables["sweeps"])
    by_trials, by_hours, held_out = [], [], ""
    if not refused:
        searched = _searched(tables["trials"])
        independent, held_out = independent_scores(tables, searched)
        for study, trials in searched.groupby("study", sort=False):
            if trials["score"].notna().any():
                by_trials.append(_against_trials(trials, independent).assign(study=study))
                by_hours.append(_against_hours(trials, seed).assign(study=study))
    return Expected(_joined(by_trials, trials_columns), _joined(by_hours, hours_columns), held_out, refused)


def refusal(sweeps: pd.DataFrame) -> str:
    """Why no expected best score may be drawn from a search; empty if it may."""
    for sampler, scheduler in zip(sweeps["sampler"], sweeps["scheduler"], strict=True):
        if sampler not in _IID:
            return (
                f"No expected best score: the sampler {sampler} proposes a trial from the outcome of earlier ones, so "
                "that another order of trials would have been other trials; see the best so far instead."
            )
        if scheduler != "none":
            return (
                f"No expected best score: the scheduler {scheduler} stops trials early, so that their final scores are "
                "unknown; see the best so far instead."
            )
    return ""


def weights(total: int, n: Sequence[int] | np.ndarray) -> np.ndarray:
    """Chance that the i-th smallest of ``total`` scores is the best of ``n`` of them drawn without replacement.

    ``C(i - 1, n - 1) / C(total, n)`` (the U-statistic of Tang et al. 2020; opda's ``u_tuning_curve``, which takes no
    second score). Logarithms keep it finite for thousands of trials.

    Args:
        total: N.
        n: Sizes of the draws, each 1..N.

    Returns:
        ``(len(n), N)``, rows sum to 1.
    """
    draws, i = np.asarray(n)[:, None], np.arange(1, total + 1)
    with np.errstate(invalid="ignore"):
        logarithm = _log_choose(i - 1, draws - 1) - _log_choose(np.array(total), draws)
    return np.where(i >= draws, np.exp(np.where(i >= draws, logarithm, 0.0)), 0.0)


def independent_scores(tables: Tables, searched: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """For every complete search trial two scores of which one did not help to choose it.

    Means over fresh seeds if all of them have some; else the halves of its images on role ``select``, split between
    video sequences, or in the middle if there is only one. The halves need the table ``confusion``; where ``tables``
    come without it, fresh seeds are the only source.

    Returns:
        Columns ``choose, score`` indexed by trial (a trial may have two rows: each half chooses once), and what the
        score is in words; empty if there is none.
    """
    complete = searched[searched["score"].notna()]
    trials = tables["trials"]
    fresh = trials[(trials["phase"] == Phase.CONFIRM) & (trials["state"] == State.COMPLETE)]
    means = complete["config_id"].map(fresh.groupby("config_id")["score"].mean())
    if len(complete) and means.notna().all():
        index = pd.Index(complete["trial_id"], name="trial_id")
        return pd.DataFrame({"choose": complete["score"].array, "score": means.array}, index=index), "fresh seeds"
    evaluations = tables["evaluations"]
    mine = evaluations[(evaluations["role"] == Role.SELECT) & evaluations["trial_id"].isin(complete["trial_id"])]
    last = mine.sort_values("epoch").drop_duplicates("trial_id", keep="last").set_index("eval_id")["trial_id"]
    confusion = tables.get("confusion", pd.DataFrame({"eval_id": []}))
    confusion = confusion[confusion["eval_id"].isin(last.index)]
    if confusion.empty or confusion["eval_id"].nunique() < len(complete):
        return pd.DataFrame(columns=["choose", "score"]), ""
    classes = int(tables["sweeps"]["num_classes"].max())
    evals, halves, sequences = _half_scores(confusion, classes)
    ways = [pd.DataFrame({"choose": halves[:, way], "score": halves[:, 1 - way]}, index=evals) for way in (0, 1)]
    split = "of whole sequences" if sequences > 1 else "of one sequence, hence not quite independent"
    frame = pd.concat(ways).rename(index=last.to_dict()).rename_axis("trial_id")
    return frame, f"the half of the images that did not choose, {split}"


def _searched(trials: pd.DataFrame) -> pd.DataFrame:
    ended = trials[(trials["phase"] == Phase.SEARCH) & trials["state"].isin(_ENDED)]
    return ended.assign(score=ended["score"].where(ended["state"] == State.COMPLETE))


def _against_trials(trials: pd.DataFrame, independent: pd.DataFrame) -> pd.DataFrame:
    scores = trials["score"].fillna(trials["score"].min()).to_numpy(dtype=float)
    total = len(scores)
    n = np.unique(np.geomspace(1, total, _POINTS).round().astype(int))
    low, high = band(scores, n)
    return pd.DataFrame(
        {
            "n": n,
            "score": weights(total, n) @ np.sort(scores),
            "held_out": _held_out(trials, independent, n),
            "low": low,
            "high": high,
            "trusted": n * TRUSTED <= total,
        }
    )


def _held_out(trials: pd.DataFrame, independent: pd.DataFrame, n: np.ndarray) -> np.ndarray:
    """Ranked by the score that chooses, weighted like it, averaged over the other score (and over both ways)."""
    mine = independent[independent.index.isin(trials["trial_id"])]
    if mine.empty:
        return np.full(len(n), np.nan)
    failed = int(trials["score"].isna().sum())
    ways = mine.groupby(level=0).cumcount()
    curves = []
    for _, way in mine.groupby(ways.to_numpy()):
        ranked = way.sort_values("choose", kind="stable")["score"].to_numpy(dtype=float)
        curves.append(weights(len(trials), n) @ np.concatenate([np.full(failed, ranked[0]), ranked]))
    return np.mean(curves, axis=0)


def band(scores: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A simultaneous band of the expected best of ``n`` draws of a distribution within 0..1, from a sample of it.

    The distribution function lies within ``sqrt(log(2 / (1 - BAND)) / 2N)`` of that of the sample (Dvoretzky, Kiefer &
    Wolfowitz 1956; Massart 1990). To its power ``n`` it is that of the best of ``n``, whose means at both ends of the
    band are the curves (Lourie et al. 2024; the band ``dkw`` of opda).

    Args:
        scores: ``(N,)`` within 0..1.
        n: ``(K,)``.

    Returns:
        Lower and upper ends, ``(K,)`` each.
    """
    width = np.sqrt(np.log(2 / (1 - BAND)) / (2 * len(scores)))
    share = np.arange(len(scores) + 1) / len(scores)
    reached = np.concatenate([[0.0], np.sort(scores), [1.0]])

    def mean_of_best(distribution: np.ndarray) -> np.ndarray:
        steps = np.concatenate([[0.0], np.clip(distribution, 0.0, 1.0), [1.0]])
        return np.diff(steps ** n[:, None]) @ reached

    return mean_of_best(share + width), mean_of_best(share - width)


def _against_hours(trials: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Trials in random order until the hours are spent: the best of those that had ended by then."""
    timed = trials[trials["seconds"].notna()]
    if timed["score"].isna().all():
        return pd.DataFrame({"hours": [], "score": [], "trusted": []})
    hours = timed["seconds"].to_numpy(dtype=float) / 3600
    scores = timed["score"].fillna(timed["score"].min()).to_numpy(dtype=float)
    budgets = np.geomspace(hours.max(), hours.sum(), _POINTS)
    rng = np.random.default_rng(seed)
    replicates = min(REPLICATES, max(100, _CELLS // len(timed)))
    order = rng.permuted(np.broadcast_to(np.arange(len(timed)), (replicates, len(timed))), axis=1)
    spent, best = hours[order].cumsum(1), np.maximum.accumulate(scores[order], axis=1)
    ended = np.stack([np.searchsorted(row, budgets * (1 + 1e-9), side="right") for row in spent])
    reached = np.take_along_axis(best, ended - 1, axis=1)
    return pd.DataFrame({"hours": budgets, "score": reached.mean(0), "trusted": budgets * TRUSTED <= hours.sum()})


def _joined(frames: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def _log_choose(n: np.ndarray, k: np.ndarray) -> np.ndarray:
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def _half_scores(confusion: pd.DataFrame, classes: int) -> tuple[pd.Index, np.ndarray, int]:
    """The mIoU of every evaluation on either half of its images (E, 2), and of how many sequences they are."""
    image, images = pd.factorize(confusion["image_id"], sort=True)
    groups = confusion.drop_duplicates("image_id").set_index("image_id")["group_id"].loc[images].to_numpy()
    names, sizes = np.unique(groups.astype(str), return_counts=True)
    before = np.cumsum(sizes) - sizes
    second = ~np.isin(groups.astype(str), names[before + sizes / 2 <= len(images) / 2])
    if len(names) < 2:
        second = np.arange(len(images)) >= len(images) // 2
    code, evals = pd.factorize(confusion["eval_id"])
    cell = (2 * code + second[image]) * classes
    truth, predicted = confusion["gt"].to_numpy(), confusion["pred"].to_numpy()
    pixels = confusion["n"].to_numpy(dtype=float)

    def table(label: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return np.bincount(cell + label, weight, len(evals) * 2 * classes).reshape(-1, 2, classes)

    correct = table(truth, pixels * (truth == predicted))
    union = table(truth, pixels) + table(predicted, pixels) - correct
    iou = np.divide(correct, union, out=np.full(union.shape, np.nan), where=union > 0)
    return pd.Index(evals), np.nanmean(iou, axis=2), len(names)
