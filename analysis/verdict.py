"""What a sweep says in a few lines, and what it does not say."""

from dataclasses import dataclass

import pandas as pd

from analysis.compare import teacher_miou
from analysis.formats import duration, each, missing, plural, points, share, signed
from analysis.hardware import mixed

Tables = dict[str, pd.DataFrame]


@dataclass(frozen=True)
class Verdict:
    """The result in words.

    Attributes:
        headline: One sentence.
        lines: Label and sentence, most important first.
        not_claimed: What must not be read into the result.
    """

    headline: str
    lines: tuple[tuple[str, str], ...]
    not_claimed: str


def verdict(tables: Tables, comparison: pd.DataFrame, ablation: pd.DataFrame) -> Verdict:
    """Put the comparison (and the ablation, if there is one) into words.

    Args:
        tables: The tables of a sweep.
        comparison: From ``compare``.
        ablation: From ``ablate``; may be empty.
    """
    so_far = "" if tables["sweeps"]["finished"].all() else "So far: "
    budget = ("Budget", _budget(tables, comparison))
    warnings = ("Warnings", _warnings(comparison))
    chosen = comparison[comparison["chosen"]]
    if chosen.empty:
        return Verdict(f"{so_far}No result, because no trial is complete", (budget, warnings), "")
    winner = chosen.iloc[0]
    baselines = comparison[comparison["is_baseline"]]
    baseline = baselines.iloc[0] if len(baselines) else None
    lines = [("Chosen", _chosen(winner)), ("Against the baseline", _against(tables, winner, baseline))]
    if len(ablation):
        lines.append(("Ablation", _ablation(ablation)))
    lines += [("Optimism removed", _optimism(winner)), budget, warnings]
    not_claimed = _not_claimed(winner, comparison)
    if any(mix.kind == "code" for mix in mixed(tables)):
        not_claimed = f"Which study is best is not claimed: they ran on different code. {not_claimed}"
    return Verdict(so_far + _headline(winner), tuple(lines), not_claimed)


def _headline(winner: pd.Series) -> str:
    study, mean = winner["study"], points(winner["mean"])
    if not winner["confirmed"]:
        return f"{study} leads with {mean} mIoU on the one seed that found it; not confirmed"
    on = f"on {winner['n']} fresh seeds" if winner["n"] > 1 else "on one fresh seed"
    if winner["is_baseline"]:
        return f"Nothing beat the baseline {study}: {mean} mIoU {on}"
    return f"{study} came out first: {mean} mIoU {on}"


def _chosen(winner: pd.Series) -> str:
    seeds = f"its seeds scored {each(winner['scores'])} (n={winner['n']})"
    name = winner["trial_id"] if isinstance(winner["trial_id"], str) else winner["config_id"]
    held_out = ""
    if winner["report_scores"]:
        held_out = f" On the held-out role report: {points(winner['report_mean'])}."
    return f"Config {name} of study {winner['study']}; {seeds}.{held_out}"


def _against(tables: Tables, winner: pd.Series, baseline: pd.Series | None) -> str:
    if baseline is None:
        return "This sweep has no baseline study, so no gain can be stated."
    searched = (
        f"searched over {plural(baseline['searched_parameters'], 'parameter')}"
        if baseline["searched_parameters"]
        else "not searched"
    )
    if winner["is_baseline"]:
        return f"The chosen config is the baseline itself ({searched})."
    if missing(winner["difference"]):
        name = f"{baseline['study']} ({searched})"
        return f"No seed in common with the baseline {name}, so no difference is given."
    gap, teacher = "", teacher_miou(tables)
    if not missing(winner["gap_closed"]):
        gap = f" That closes {share(winner['gap_closed'])} of the gap to the teacher ({points(teacher)})."
    elif not missing(teacher):
        gap = f" The teacher ({points(teacher)}) is hardly above the baseline, if at all."
    return (
        f"{signed(winner['difference'])} points over {baseline['study']} ({searched}); "
        f"seed by seed {each(winner['differences'], sign=True)}.{gap}"
    )


def _ablation(frame: pd.DataFrame) -> str:
    cells = frame[(frame["role"] == "cell") & frame["difference"].notna()]
    if cells.empty:
        return "No cell shares a seed with its reference yet."
    hardest = cells.sort_values("difference", kind="stable").iloc[0]
    if hardest["difference"] >= 0:
        return "No cell is worse than the reference on average."
    return (
        f"{hardest['cell']} loses most against the reference: {signed(hardest['difference'])} points; "
        f"seed by seed {each(hardest['differences'], sign=True)}."
    )


def _optimism(winner: pd.Series) -> str:
    if not winner["confirmed"]:
        return "None: the score is the one that found the config, so it is too high by an unknown amount."
    if missing(winner["optimism"]):
        return "Nothing was searched for this config, so there is none to remove."
    return (
        f"The search had shown {points(winner['screen_score'])} on one seed; fresh seeds give "
        f"{points(winner['mean'])}, a correction of {signed(-winner['optimism'])} points."
    )


def _budget(tables: Tables, comparison: pd.DataFrame) -> str:
    granted = comparison.iloc[0]
    limits = [
        f"{granted[f'budget_{unit}']:.0f} {unit}"
        for unit in ("trials", "epochs")
        if pd.notna(granted[f"budget_{unit}"])
    ]
    teacher = tables["teachers"]["seconds"].sum()
    trials, epochs = comparison["search_trials"].sum(), comparison["search_epochs"].sum()
    parts = [
        f"{trials} trials and {epochs} epochs of search ({duration(comparison['search_s'].sum())})",
        f"{duration(comparison['confirm_s'].sum())} on fresh seeds",
    ]
    if teacher:
        parts.append(f"{duration(teacher)} to fit the teacher")
    grant = f"{' and '.join(limits)} granted to each study. " if limits else ""
    return f"{grant}Spent: {', '.join(parts)}."


def _warnings(comparison: pd.DataFrame) -> str:
    told = [f"{row['study']}: {text}" for _, row in comparison.iterrows() for text in row["warnings"]]
    common = set.intersection(*(set(texts) for texts in comparison["warnings"]))
    told = [text for text in told if text.split(": ", 1)[1] not in common]
    return "; ".join([*sorted(common), *told]) + "." if told or common else "None were raised."


def _not_claimed(winner: pd.Series, comparison: pd.DataFrame) -> str:
    told = ["No significance was computed: read the seeds, not only the mean."]
    if comparison["searched_parameters"].any():
        told.append("Each study was searched once, so the luck of a search is not measured.")
    if comparison["finalists"].sum() > 1:
        told.append(f"The first of {comparison['finalists'].sum()} finalists is still a little lucky.")
    told.append("Scores are mIoU on the role select at the last evaluated epoch, never the best epoch.")
    if not winner["report_scores"]:
        told.append("The search saw these images; the held-out role report was not read.")
    return " ".join(told)
