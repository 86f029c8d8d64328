"""The result of a sweep in a few sentences, and what cannot be concluded from the result."""

from dataclasses import dataclass

import pandas as pd

from analysis.conditions.hardware import mixed
from analysis.conditions.one_sided import single_class
from analysis.conditions.time_spent import recording
from analysis.formats import duration, each, interval, missing, plural, points, share, signed, text
from analysis.report.ablation_verdict import ablation_line
from analysis.report.headline import Headline
from analysis.report.line import Line, Mark
from analysis.selection.compare import teacher_miou
from analysis.selection.final_seeds import final_difference, final_scores
from analysis.stats.judge import WORDS
from analysis.stats.seed_contrasts import smallest_effect
from analysis.tables.files import Tables

SEPARATED, NOT_SEPARATED, EQUIVALENT = WORDS


@dataclass(frozen=True)
class Verdict:
    """The result in words.

    Attributes:
        headline: One sentence.
        lines: Most important first.
        not_claimed: What cannot be concluded from the result.
    """

    headline: str
    lines: tuple[Line, ...]
    not_claimed: str


def verdict(tables: Tables, comparison: pd.DataFrame, ablation: pd.DataFrame, tied: int = 0) -> Verdict:
    """Put the comparison (or, in a sweep that is an ablation, its cells) into words.

    In an unfinished sweep no difference is called separated or equivalent: testing repeatedly until a difference is
    separated would turn chance into a result.

    Args:
        tables: The tables of a sweep.
        comparison: From ``compare``.
        ablation: From ``ablate``; may be empty.
        tied: How many configs the tie set holds; 0 where nothing is confirmed.
    """
    finished = bool(tables["sweeps"]["finished"].all())
    budget = Line("Budget", _budget(tables, comparison))
    warnings = _warnings(tables, comparison)
    chosen = comparison[comparison["chosen"]]
    so_far = "" if finished else f"{Headline.SO_FAR}: "
    if chosen.empty:
        return Verdict(f"{so_far}{Headline.NO_RESULT}, because no trial is complete", (budget, warnings), "")
    winner = chosen.iloc[0]
    baselines = comparison[comparison["is_baseline"]]
    baseline = baselines.iloc[0] if len(baselines) else None
    against = Line("Against the baseline", *_against(tables, winner, baseline, finished))
    lines = [Line("Chosen", _chosen(winner, tied)), *_held_out(tables), against]
    headline = _headline(tables, winner, baseline, finished)
    if len(ablation):
        effects = ablation_line(tables, ablation, finished)
        if tables["sweeps"]["purpose"].iloc[0] == "ablation":
            headline, lines = effects.text.split(";")[0].removesuffix("."), [effects]
        else:
            lines.append(effects)
    lines += [Line("Optimism removed", *_optimism(winner)), budget, warnings]
    not_claimed = _not_claimed(winner, comparison, finished)
    if any(mix.kind == "code" for mix in mixed(tables)):
        not_claimed = f"Which study is best is not claimed: they ran on different code. {not_claimed}"
    return Verdict(so_far + headline, tuple(lines), not_claimed)


def refusal(row: pd.Series) -> str:
    """Why a study may not be compared with the baseline; empty if it may."""
    reasons = row.get("refused")
    if isinstance(reasons, str):
        return reasons
    return "; ".join(reasons) if isinstance(reasons, list | tuple) else ""


def effect(row: pd.Series, of: str, seeds: int) -> str:
    """A clause of a sentence: the word of the test, the difference, its interval and the smallest detectable effect."""
    word, limits = text(row.get("word")), interval(row.get("low"), row.get("high"))
    if not word or not limits:
        return ""
    difference = f"{signed(row['difference'])} points {limits} over {plural(seeds, 'seed')}"
    if word == NOT_SEPARATED:
        least = row.get("mde")
        unseen = "" if missing(least) else f", smallest detectable effect {points(least)}"
        return f"{word} from {of}: {difference}{unseen}"
    return f"{word} {'to' if word == EQUIVALENT else 'from'} {of}: {difference}"


def _headline(tables: Tables, winner: pd.Series, baseline: pd.Series | None, finished: bool) -> str:
    study, mean = winner["study"], points(winner["mean"])
    if not winner["confirmed"]:
        return f"{study} leads with {mean} mIoU on the one seed of its search trial; {Headline.NOT_CONFIRMED}"
    on = f"on {winner['n']} fresh seeds" if winner["n"] > 1 else "on one fresh seed"
    if not finished:
        return f"{study} leads with {mean} mIoU {on}; {Headline.NOT_FINISHED}"
    if winner["is_baseline"]:
        return f"{Headline.BASELINE_WON} {study}: {mean} mIoU {on}"
    first = f"{study} {Headline.FIRST}: {mean} mIoU {on}"
    if baseline is None:
        return first
    if refusal(winner):
        return f"{first}; {Headline.REFUSED} {baseline['study']}, see below"
    if clause := effect(winner, f"the baseline {baseline['study']}", _pairs(winner)):
        return f"{study} is {clause}"
    return first


def _chosen(winner: pd.Series, tied: int) -> str:
    seeds = f"its seeds scored {each(winner['scores'])} (mean {points(winner['mean'])}, n={winner['n']})"
    name = winner["trial_id"] if isinstance(winner["trial_id"], str) else winner["config_id"]
    why = f" The cheapest of {tied} configs within one standard error of the best." if tied > 1 else ""
    return f"Config {name} of study {winner['study']}; {seeds}.{why}"


def _held_out(tables: Tables) -> list[Line]:
    """The score for a paper, after the freeze: on final seeds, which were not used to choose the config."""
    chosen, difference = final_scores(tables), final_difference(tables)
    if chosen is None:
        return []
    if not chosen.scores:
        todo = f"none of the {chosen.planned} final seeds is complete; run the same command again"
        return [Line("After the freeze", f"The selection is frozen, but {todo}.", "amber")]
    seeds = f"{plural(len(chosen.seeds), 'seed')} not used in the selection"
    result = f"{points(chosen.mean)} on role {chosen.role} over {seeds}"
    if difference is not None:
        limits = interval(difference.low, difference.high)
        result += f"; {signed(difference.mean)} points {limits}".rstrip() + " over the baseline on the same seeds"
    lacking = len(chosen.seeds) < chosen.planned
    more = f" {len(chosen.seeds)} of {chosen.planned} planned seeds." if lacking else ""
    return [Line("After the freeze", f"{result}.{more}", "amber" if lacking else "")]


def _against(tables: Tables, winner: pd.Series, baseline: pd.Series | None, finished: bool) -> tuple[str, Mark]:
    if baseline is None:
        return "This sweep has no baseline study, so no gain can be stated.", "amber"
    searched = (
        f"searched over {plural(baseline['searched_parameters'], 'parameter')}"
        if baseline["searched_parameters"]
        else "not searched"
    )
    name = f"{baseline['study']} ({searched})"
    if winner["is_baseline"]:
        return f"The chosen config is the baseline itself ({searched}).", ""
    if reason := refusal(winner):
        return f"The comparison with {name} is refused: {reason}.", "red"
    if missing(winner["difference"]):
        return f"No seed in common with the baseline {name}, so no difference is given.", "amber"
    gap, teacher = "", teacher_miou(tables)
    if not missing(winner["gap_closed"]):
        gap = f" That closes {share(winner['gap_closed'])} of the gap to the teacher ({points(teacher)})."
    elif not missing(teacher):
        gap = f" The teacher ({points(teacher)}) is hardly above the baseline, if at all."
    seeds = f"; seed by seed {each(winner['differences'], sign=True)}" if len(winner["differences"]) else ""
    clause = effect(winner, name, _pairs(winner)) if finished else ""
    if not clause:
        return f"{signed(winner['difference'])} points over {name}{seeds}.{gap}", "amber"
    worth = f" The smallest difference that matters was declared as {points(smallest_effect(tables['sweeps']))} points."
    return f"{clause[0].upper()}{clause[1:]}{seeds}.{gap}{worth}", "" if winner["word"] == SEPARATED else "amber"


def _pairs(row: pd.Series) -> int:
    return len(row["differences"]) or int(row["n"])


def _optimism(winner: pd.Series) -> tuple[str, Mark]:
    if not winner["confirmed"]:
        return "None: the score is the one that chose the config, so it is too high by an unknown amount.", "red"
    if missing(winner["optimism"]):
        return "This config was not searched, so its score is not optimistic.", ""
    return (
        f"The search had shown {points(winner['screen_score'])} on one seed; fresh seeds give "
        f"{points(winner['mean'])}, a correction of {signed(-winner['optimism'])} points."
    ), ""


def _budget(tables: Tables, comparison: pd.DataFrame) -> str:
    granted = comparison.iloc[0]
    limits = [
        plural(int(granted[f"budget_{unit}"]), unit.removesuffix("s"))
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
    if recorded := recording(tables)[["record", "record_teacher"]].sum():
        parts.append(f"{duration(recorded)} to record samples and teacher maps, once for all trials")
    grant = f"{' and '.join(limits)} granted to each study. " if limits else ""
    return f"{grant}Spent: {', '.join(parts)}."


def _warnings(tables: Tables, comparison: pd.DataFrame) -> Line:
    doubts = [(row["study"], doubt) for _, row in comparison.iterrows() for doubt in row["warnings"]]
    common = set.intersection(*map(set, comparison["warnings"]))
    one_class = single_class(tables)
    parts = [*one_class, *sorted(common), *(f"{study}: {doubt}" for study, doubt in doubts if doubt not in common)]
    if not parts:
        return Line("Warnings", "None were raised.")
    severe = one_class or not comparison["chosen"].any() or any(mix.kind == "code" for mix in mixed(tables))
    return Line("Warnings", "; ".join(parts) + ".", "red" if severe else "amber")


def _not_claimed(winner: pd.Series, comparison: pd.DataFrame, finished: bool) -> str:
    sentences = ["No significance was computed: read the seeds, not only the mean."]
    if finished and _has_words(comparison):
        sentences = ["Intervals are about retraining these configs on new seeds, not about the methods in general."]
    if comparison["searched_parameters"].any():
        sentences.append("Each study was searched once, so the luck of a search is not measured.")
    if comparison["finalists"].sum() > 1:
        sentences.append(
            f"The first of {comparison['finalists'].sum()} finalists still has a slightly optimistic score."
        )
    sentences.append("Scores are mIoU on the role select at the last evaluated epoch, never the best epoch.")
    if not len(winner["test_scores"]):
        sentences.append("The search saw these images; the held-out role test was not read.")
    return " ".join(sentences)


def _has_words(comparison: pd.DataFrame) -> bool:
    return "word" in comparison and bool((comparison["word"].map(text) != "").any())
