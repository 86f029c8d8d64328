"""Methods over several tasks: data sets, or pairs of teacher and student. The unit of evidence is the task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.search.method_claim import search_scores
from analysis.selection.compare import teacher_miou
from analysis.selection.doubts import SMALLEST_GAP
from analysis.stats.looks import ALPHA
from analysis.stats.step_down import holm
from analysis.tables.files import Tables

ENOUGH_TASKS = 6
"""With fewer tasks a signed rank test cannot reach 5 %, whatever happened."""


@dataclass(frozen=True)
class CriticalDifference:
    """Mean ranks that differ by less than ``difference`` are not told apart (Nemenyi; Demsar 2006).

    Attributes:
        difference: In ranks.
        groups: Names of methods that are not told apart, best first; groups of two and more.
        p: p-value of Friedman's test that all methods are alike.
    """

    difference: float
    groups: tuple[tuple[str, ...], ...]
    p: float


@dataclass(frozen=True)
class TaskClaim:
    """Methods over tasks.

    Attributes:
        scores: One row per task and study: ``task, study, searches, mean`` (fraction, mean over searches),
            ``difference`` to the baseline (fraction), ``share`` of the gap to the teacher that is closed (NaN where the
            gap is below ``SMALLEST_GAP`` or unknown), ``rank`` among the studies that all tasks have (1 is best; NaN
            for others).
        frame: One row per study other than the baseline: ``study, tasks, mean_share, mean_rank, better`` (tasks in
            which its mean is above the baseline's), ``p, p_holm`` (signed rank test over the tasks; empty below
            ``ENOUGH_TASKS``), ``separated``.
        baseline: The study that the others are compared with.
        critical: From ``ENOUGH_TASKS`` tasks and three methods on; else None.
        sentence: The claim in words, without a full stop.
    """

    scores: pd.DataFrame
    frame: pd.DataFrame
    baseline: str
    critical: CriticalDifference | None
    sentence: str

    @property
    def tasks(self) -> list[str]:
        """The tasks in their order."""
        return list(dict.fromkeys(self.scores["task"]))

    @property
    def ranks(self) -> pd.Series:
        """The mean rank of every study that all tasks have, best first."""
        ranked = self.scores.dropna(subset="rank")
        return ranked.groupby("study")["rank"].mean().sort_values()


def task_claim(tasks: Mapping[str, Sequence[Tables]]) -> TaskClaim:
    """Is a method better than the baseline on tasks like these? Wilcoxon's signed rank test over the tasks, Holm.

    Args:
        tasks: By name of the task the tables of its sweeps.

    Raises:
        AnalysisError: Fewer than two tasks, a task without a baseline or with another one, a study that is another
            method elsewhere, or no study beside the baseline that two tasks share.
    """
    if len(tasks) < 2:
        raise AnalysisError(f"tasks: two or more are needed, got {len(tasks)}")
    baseline = _baseline(tasks)
    _same_methods(tasks)
    rows = [row for task, sweeps in tasks.items() for row in _of_task(task, sweeps, baseline)]
    scores = pd.DataFrame(rows, columns=["task", "study", "searches", "mean", "difference", "share"])
    counts = scores.groupby("study")["task"].nunique()
    if baseline not in counts or counts[baseline] < len(tasks):
        without = [task for task in tasks if task not in set(scores.loc[scores["study"] == baseline, "task"])]
        raise AnalysisError(
            f"tasks: the baseline {baseline} must be confirmed on fresh seeds in every task, got none in "
            f"{', '.join(without)}"
        )
    shared = [study for study in counts.index if counts[study] > 1 and study != baseline]
    if not shared:
        each = "; ".join(
            f"{task} has {', '.join(group.loc[group['study'] != baseline, 'study']) or 'none'}"
            for task, group in scores.groupby("task", sort=False)
        )
        raise AnalysisError(f"tasks: two must share a study beside the baseline {baseline}, got {each}")
    everywhere = scores["study"].isin(counts.index[counts == len(tasks)])
    scores = scores.assign(rank=scores[everywhere].groupby("task")["mean"].rank(ascending=False))
    frame = _frame(scores, shared)
    critical = _critical(scores.dropna(subset="rank"), len(tasks))
    return TaskClaim(scores, frame, baseline, critical, _sentence(frame, len(tasks)))


def _baseline(tasks: Mapping[str, Sequence[Tables]]) -> str:
    names = {
        task: {str(name) for tables in sweeps for name in tables["sweeps"]["baseline"].dropna()}
        for task, sweeps in tasks.items()
    }
    if len(set().union(*names.values())) == 1 and all(names.values()):
        return next(iter(next(iter(names.values()))))
    got = "; ".join(f"{task} has {', '.join(sorted(its)) or 'none'}" for task, its in names.items())
    raise AnalysisError(f"tasks: all must have the same baseline study, got {got}")


def _same_methods(tasks: Mapping[str, Sequence[Tables]]) -> None:
    known: dict[str, tuple[str, str]] = {}
    for task, sweeps in tasks.items():
        for tables in sweeps:
            for study, method in zip(tables["studies"]["study"], tables["studies"]["method"], strict=True):
                first, its = known.setdefault(str(study), (str(method), task))
                if first != method:
                    raise AnalysisError(
                        f"study {study}: must be the same method in all tasks, got {first} in {its}, {method} in {task}"
                    )


def _of_task(task: str, sweeps: Sequence[Tables], baseline: str) -> list[tuple[str, str, int, float, float, float]]:
    searches = pd.concat([search_scores(tables).assign(sweep=place) for place, tables in enumerate(sweeps)])
    of_search = searches.groupby(["study", "sweep", "search"], sort=False)["score"].mean()
    means = of_search.groupby("study", sort=False).agg(["size", "mean"])
    if baseline not in means.index:
        return []
    reference = float(means["mean"][baseline])
    teachers = [teacher for teacher in map(teacher_miou, sweeps) if not np.isnan(teacher)]
    gap = float(np.mean(teachers)) - reference if teachers else np.nan
    gap = gap if gap >= SMALLEST_GAP else np.nan
    return [
        (task, study, searches, mean, mean - reference, (mean - reference) / gap)
        for study, searches, mean in zip(map(str, means.index), means["size"], means["mean"], strict=True)
    ]


def _frame(scores: pd.DataFrame, studies: Sequence[str]) -> pd.DataFrame:
    rows = []
    for study in studies:
        mine = scores[scores["study"] == study]
        difference = mine["difference"].to_numpy()
        p = np.nan
        if len(mine) >= ENOUGH_TASKS:
            p = _signed_rank_p(difference) if difference.any() else 1.0
        rows.append((study, len(mine), mine["share"].mean(), mine["rank"].mean(), int((difference > 0).sum()), p))
    frame = pd.DataFrame(rows, columns=["study", "tasks", "mean_share", "mean_rank", "better", "p"])
    adjusted, _ = holm(frame["p"].to_numpy(dtype=float), ALPHA)
    return frame.assign(p_holm=adjusted, separated=adjusted < ALPHA)


def _signed_rank_p(differences: np.ndarray) -> float:
    from scipy import stats  # takes a second to import, which most comparisons do not need

    return float(stats.wilcoxon(differences).pvalue)


def _critical(ranked: pd.DataFrame, tasks: int) -> CriticalDifference | None:
    table = ranked.pivot(index="task", columns="study", values="rank")
    methods = table.shape[1]
    if tasks < ENOUGH_TASKS or methods < 3:
        return None
    from scipy import stats

    quantile = float(stats.studentized_range.ppf(1 - ALPHA, methods, np.inf)) / np.sqrt(2)
    difference = quantile * np.sqrt(methods * (methods + 1) / (6 * tasks))
    means = table.mean().sort_values()
    groups: list[tuple[str, ...]] = []
    for place in range(methods):
        alike = means.index[(means >= means.iloc[place]) & (means <= means.iloc[place] + difference)]
        group = tuple(map(str, alike[list(alike).index(means.index[place]) :]))
        if len(group) > 1 and not any(set(group) <= set(wider) for wider in groups):
            groups.append(group)
    p = float(stats.friedmanchisquare(*(table[study] for study in table)).pvalue)
    return CriticalDifference(float(difference), tuple(groups), p)


def _sentence(frame: pd.DataFrame, tasks: int) -> str:
    if tasks < ENOUGH_TASKS:
        return (
            f"{tasks} tasks: ranks and shares of the gap are shown, and nothing is claimed over tasks, because a test "
            f"takes {ENOUGH_TASKS}"
        )
    tested = frame[frame["p"].notna()]
    separated = [f"{row['study']} (better in {row['better']} of {row['tasks']})" for row in _records(tested, True)]
    least = 1 + int(np.ceil(np.log2(max(len(tested), 1) / ALPHA)))
    could = (
        ""
        if tasks >= least or separated
        else f"; with {len(tested)} methods a test that could separate the first of them takes {least} tasks"
    )
    what = (
        f"separated from the baseline: {', '.join(separated)}"
        if separated
        else "no method is separated from the baseline"
    )
    return f"over {tasks} tasks (Wilcoxon's signed rank test, Holm over {len(frame)}), {what}{could}"


def _records(frame: pd.DataFrame, separated: bool) -> list[dict[str, object]]:
    return [
        {str(name): value for name, value in row.items()}
        for row in frame[frame["separated"] == separated].to_dict("records")
    ]
