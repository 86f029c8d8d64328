"""What the results say, with intervals: a table of regrets, the budget that equals today's, and a figure."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from search.policies import OTHERS, TODAY

_REDRAWN = 500
"""Resamples of the repetitions for an interval."""


def regrets(results: pd.DataFrame) -> pd.DataFrame:
    """The mean regret over tasks and studies, for each policy, number of workers and budget.

    Repetitions are independent and tasks and studies are fixed, so the intervals say how exact the mean over
    repetitions is, not how much another task would differ.

    Returns:
        `policy, workers, budget, regret, low, high` (95 %, normal), `repetitions, spent` (full trainings), `time`.
    """
    keys = ["policy", "workers", "budget"]
    common = (
        _whole(results)
        .groupby([*keys, "repetition"])
        .agg(regret=("regret", "mean"), spent=("full_trainings", "mean"), time=("time", "mean"))
    )
    grouped = common.groupby(keys)
    mean, error = grouped["regret"].mean(), grouped["regret"].sem()
    frame = pd.DataFrame({"regret": mean, "low": mean - 1.96 * error, "high": mean + 1.96 * error})
    frame["repetitions"] = grouped.size()
    return frame.assign(spent=grouped["spent"].mean(), time=grouped["time"].mean()).reset_index()


def _whole(results: pd.DataFrame) -> pd.DataFrame:
    """The repetitions that have run on all studies: others would be means over easier or harder ones."""
    studies = len(results[["task", "study"]].drop_duplicates())
    ran = results.groupby(["policy", "workers", "budget", "repetition"])["regret"].transform("size")
    return results[ran == studies]


def budgets_for(results: pd.DataFrame, workers: int = 1, reference: str = TODAY) -> pd.DataFrame:
    """The budget at which each policy has the regret that the reference has at its largest budget.

    Between budgets the mean regret is interpolated over the logarithm of the budget.

    Returns:
        `policy, budget, low, high` in full trainings: the central 95 % of resampled repetitions; infinite where a
        policy does not come so far within the largest budget.
    """
    ours = _whole(results[results["workers"] == workers])
    means = ours.groupby(["policy", "budget", "repetition"])["regret"].mean()
    if reference not in means.index.get_level_values("policy"):
        return pd.DataFrame(columns=["policy", "budget", "low", "high"])
    rng = np.random.default_rng(0)
    rows = []
    of_reference = means[reference].unstack("budget")
    for policy in means.index.get_level_values("policy").unique():
        of_policy = means[policy].unstack("budget").dropna()
        shared = of_policy.index.intersection(of_reference.dropna().index)
        if not len(shared):
            continue
        values, targets = of_policy.loc[shared].to_numpy(), of_reference.loc[shared].to_numpy()[:, -1]
        logs = np.log(of_policy.columns.to_numpy(float))
        draws = rng.integers(len(shared), size=(_REDRAWN, len(shared)))
        found = [_reached(logs, values[draw].mean(axis=0), targets[draw].mean()) for draw in draws]
        low, high = np.quantile(found, [0.025, 0.975], method="nearest")
        rows.append((policy, _reached(logs, values.mean(axis=0), targets.mean()), low, high))
    return pd.DataFrame(rows, columns=["policy", "budget", "low", "high"])


def _reached(logs: np.ndarray, regret: np.ndarray, target: float) -> float:
    """The first budget at which the regret is down to the target, by interpolation; infinite if none is."""
    if regret[0] <= target:
        return float(np.exp(logs[0]))
    for number in range(1, len(logs)):
        if regret[number] <= target:
            share = (regret[number - 1] - target) / (regret[number - 1] - regret[number])
            return float(np.exp(logs[number - 1] + share * (logs[number] - logs[number - 1])))
    return float("inf")


def markdown(results: pd.DataFrame) -> str:
    """The table of regrets, a part for each number of workers, best policy first."""
    frame, lines = regrets(results), list[str]()
    for workers, rows in frame.groupby("workers"):
        budgets = sorted(rows["budget"].unique())
        equal = budgets_for(results, int(workers)).set_index("policy")
        columns = [f"{budget} trainings" for budget in budgets]
        lines += ["", f"### {_count(int(workers), 'worker')}", ""]
        lines += [f"| policy | {' | '.join(columns)} | as today's best at |", "|" + "---|" * (len(budgets) + 2)]
        by_policy = {policy: each.set_index("budget") for policy, each in rows.groupby("policy")}
        last = {policy: each["regret"].get(budgets[-1], float("inf")) for policy, each in by_policy.items()}
        for policy in sorted(by_policy, key=lambda each: (last[each], each)):
            cells = [_cell(by_policy[policy], budget) for budget in budgets]
            found = _budget(equal.loc[policy]) if policy in equal.index else ""
            lines.append(f"| {policy} | {' | '.join(cells)} | {found} |")
    return "\n".join(lines).strip() + "\n"


def _cell(rows: pd.DataFrame, budget: int) -> str:
    if budget not in rows.index:
        return ""
    row = rows.loc[budget]
    error = (row["high"] - row["low"]) / 2
    return f"{row['regret']:.2f}" if np.isnan(error) else f"{row['regret']:.2f} ± {error:.2f}"


def _budget(row: pd.Series) -> str:
    low, middle, high = (
        "never" if np.isinf(each) else f"{each:.1f}" for each in (row["low"], row["budget"], row["high"])
    )
    return f"{middle} ({low} to {high})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


def draw(results: pd.DataFrame, path: Path, policies: Sequence[str] = (), workers: int = 1) -> None:
    """Draw regret against the epochs that were spent, with bands of 95 %; dashed lines are policies of other packages.

    Args:
        results: From `replay.read_results`.
        path: Of the image.
        policies: In the figure; all where none is named.
        workers: Whose results.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    frame = regrets(results)
    frame = frame[(frame["workers"] == workers) & frame["policy"].isin(policies or frame["policy"])]
    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    last = frame.sort_values(["budget", "regret"]).groupby("policy")["regret"].last().sort_values()
    for others, line, width in ((False, "-", 2.0), (True, "--", 1.0)):
        for number, policy in enumerate(policy for policy in last.index if (policy in OTHERS) == others):
            rows, color = frame[frame["policy"] == policy].sort_values("budget"), f"C{number % 10}"
            style = {"color": color, "linewidth": width, "marker": "os^"[number // 10 % 3], "markersize": 3}
            axes.plot(rows["spent"], rows["regret"], line, label=policy, **style)
            axes.fill_between(rows["spent"], rows["low"], rows["high"], color=color, alpha=0.08)
            if len(rows) == 1:  # a single budget has no band
                axes.vlines(rows["spent"], rows["low"], rows["high"], color=color, linewidth=width)
    axes.set(xscale="log", yscale="log", xlabel="full trainings spent per study", ylabel="regret (points of mIoU)")
    ticks = sorted(frame["budget"].unique())
    axes.set_xticks(ticks, [str(each) for each in ticks])
    marks = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5, 2, 3, 5, 10)
    axes.set_yticks(marks, [f"{mark:g}" for mark in marks])
    axes.set_ylim(0.8 * frame["regret"].min(), 1.2 * frame["regret"].max())
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    figure.legend(fontsize=7, loc="outside right upper")
    figure.savefig(path, dpi=130)
