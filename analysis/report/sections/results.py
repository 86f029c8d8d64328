"""The sections of a report about results: who came out how, on which seeds, how it was chosen, which classes gained."""

import json

import pandas as pd
import yaml

from analysis.conditions.hardware import mixed
from analysis.figures import results as plots
from analysis.formats import count, duration, each, interval, missing, plural, points, share, signed, text
from analysis.report import html as page
from analysis.report.findings import Findings
from analysis.report.html import Cell, number
from analysis.report.verdict import refusal
from analysis.selection.compare import teacher_miou

MANY_CLASSES = 40
MANY_FINALISTS = 40
SCORE = "The score is mIoU on the role select at the last evaluated epoch, in points."
CONFIG_CLAIM = "A claim about configs: what training these settings again on new seeds gives."
INTERVALS = "Intervals: 95 %, over seeds, one block model over all finalists, Holm-adjusted."


def comparison(found: Findings) -> str:
    """Every study by its best config, beside the baseline."""
    frame, baseline = found.comparison, found.baseline()
    all_scores = [score for scores in frame["scores"] for score in scores]
    low, high = (min(all_scores), max(all_scores)) if all_scores else (0.0, 1.0)
    mark = float("nan") if baseline is None else baseline["mean"]
    columns = ["Study", "mIoU", "Seeds", "Over baseline", "Verdict", "Gap closed", "In the search", "Budget"]
    tied = found.tied()
    rows = []
    for _, row in frame.iterrows():
        color = found.palette[row["study"]]
        about = ["baseline"] if row["is_baseline"] else []
        about += [row["method"]] if row["method"] != row["study"] else []
        about += ["in the tie set"] if row["study"] in tied and len(tied) > 1 else []
        drawn = page.strip(row["scores"], low, high, color, mark) if row["n"] else ""
        correction = "" if missing(row["optimism"]) else f"then {signed(-row['optimism'])}"
        limits = interval(row.get("low"), row.get("high")) if found.finished else ""
        rows.append(
            [
                Cell(html=page.key(row["study"], color), small=" · ".join(about)),
                number(points(row["mean"]), row["mean"], f"n={row['n']}"),
                Cell(html=drawn, small=each(row["scores"]), sort=row["maximum"]),
                number(signed(row["difference"]), row["difference"], limits or _seedwise(row["differences"])),
                _word(found, row),
                number(share(row["gap_closed"]), row["gap_closed"], _shares(row)),
                number(points(row["screen_score"]), row["screen_score"], correction),
                _spent(row),
            ]
        )
    bold = [place for place, study in enumerate(frame["study"]) if study in tied]
    marks = page.warnings(mix.sentence for mix in mixed(found.tables))
    note = f'<p class="aside">{_how_to_read(found)}</p>'
    return page.table(columns, rows, bold) + marks + _doubts(frame) + note


def _doubts(frame: pd.DataFrame) -> str:
    """What speaks against each study's place in the comparison."""
    told = [
        f"<li>{page.escape(row['study'])}: {page.escape('; '.join(row['warnings']))}</li>"
        for _, row in frame.iterrows()
        if row["warnings"]
    ]
    return f'<h3>Doubts</h3><ul class="doubts warn">{"".join(told)}</ul>' if told else ""


def _how_to_read(found: Findings) -> str:
    if not found.confirmed:
        return (
            "Nothing is confirmed on fresh seeds yet: every mIoU here is the best of several single-seed "
            "scores, hence too high, and a difference between two of them says little."
        )
    bold = " Bold: the tie set, which the seeds cannot tell apart." if found.tied() else ""
    verdicts = f" {INTERVALS}" if "word" in found.comparison and found.finished else ""
    return (
        f"{CONFIG_CLAIM} Every study is represented by its best config. mIoU is the mean over fresh seeds, which the "
        "search never saw; the dots are those seeds, the dotted line is the baseline. Over baseline: the mean "
        f"difference, below it its interval.{verdicts} In the search: the single-seed score that made the "
        "config a finalist, then the step from there to the fresh mean. Budget: the search (trials, epochs, "
        f"time, parameters searched); after the plus, the time of the fresh seeds.{bold}"
    )


def _word(found: Findings, row: pd.Series) -> Cell:
    if told := refusal(row):
        return Cell(html=f'<span class="warn">refused</span><small>{page.escape(told)}</small>', wide=True)
    if not found.finished:
        return Cell(small="" if row.get("is_baseline") else "none before the end")
    word, least = text(row.get("word")), row.get("mde")
    return Cell(word, small="" if missing(least) or word != "not separated" else f"blind below {points(least)}")


def seeds(found: Findings) -> str:
    """Every finalist with every seed."""
    if found.ranked.empty:
        return ""
    baseline = found.baseline()
    mark = float("nan") if baseline is None else baseline["mean"]
    shown = found.ranked.head(MANY_FINALISTS)
    teacher, far = teacher_miou(found.tables), ""
    values = [score for scores in shown["scores"] for score in scores]
    if not missing(teacher) and teacher - max(values) > max(max(values) - min(values), 0.02):
        teacher, far = float("nan"), f" The teacher, at {points(teacher)}, is off the scale."
    drawing = plots.seeds(shown, found.palette, mark, teacher)
    claim = (
        "Dots are fresh seeds of a config, bars their mean, hollow diamonds the score that found it."
        if found.confirmed
        else "Best search trial of each study: one seed, the score that found it."
    )
    partly = f"The first {len(shown)} of " if len(shown) < len(found.ranked) else ""
    rest = (
        f"{CONFIG_CLAIM} {partly}{plural(len(found.ranked), 'finalist')}, {_seed_counts(found.ranked)} each. {SCORE} "
        f"The line runs from minimum to maximum; it is no interval.{far}"
    )
    return page.figure(page.keys(found.palette) + page.plot(drawing), claim, rest)


def selection(found: Findings) -> str:
    """From the search to the chosen config, and the config itself."""
    chosen = found.chosen()
    if chosen is None:
        return ""
    told = _funnel(found)
    rose = found.ranked[found.ranked["confirmed"] & found.ranked["screen_score"].notna()]
    if len(rose):
        shown = rose.head(MANY_FINALISTS)
        partly = (
            f"{len(shown)} of {len(rose)} finalists drawn" if len(shown) < len(rose) else plural(len(rose), "config")
        )
        fell = int((rose["optimism"] > 0).sum())
        told += page.figure(
            page.keys(found.palette) + page.plot(plots.slopes(shown, found.palette)),
            f"{fell} of {len(rose)} finalists scored lower on fresh seeds than in the search that chose them.",
            f"{partly}: left the one seed that found it, right the mean over {_seed_counts(rose)}. The fall is the "
            f"optimism of picking a maximum, not a fault of the config. {SCORE}",
        )
    row = found.ranked[found.ranked["config_id"] == chosen["config_id"]].iloc[0]
    config = yaml.safe_dump(json.loads(row["config_json"]), sort_keys=False, allow_unicode=True)
    name = row["trial_id"] if isinstance(row["trial_id"], str) else row["config_id"]
    shown_config = f"<pre><code>{page.escape(config)}</code></pre>"
    return f"{told}<details><summary>The chosen config {page.escape(name)} as YAML</summary>{shown_config}</details>"


def _funnel(found: Findings) -> str:
    rows = []
    for _, row in found.comparison.iterrows():
        mine = found.ranked[found.ranked["study"] == row["study"]]
        fresh = int(mine.loc[mine["confirmed"], "n"].sum())
        best = "" if missing(row["screen_score"]) else points(row["screen_score"])
        rows.append(
            [
                Cell(html=page.key(row["study"], found.palette[row["study"]])),
                number(count(row["search_trials"]), row["search_trials"], f"best {best}" if best else ""),
                number(str(int(mine["confirmed"].sum())), mine["confirmed"].sum()),
                number(str(fresh), fresh, f"{plural(row['n'], 'seed')} of the best" if row["confirmed"] else ""),
                number(points(row["mean"]) if row["confirmed"] else "", row["mean"] if row["confirmed"] else None),
                Cell("chosen" if row["chosen"] else ""),
            ]
        )
    return page.table(["Study", "Searched", "Finalists", "Fresh trainings", "Mean of the best", ""], rows)


def classes(found: Findings) -> str:
    """IoU of every class of the chosen config, the baseline and the teacher."""
    chosen = found.chosen()
    if chosen is None or found.classes["best"].isna().all():
        return ""
    frame, study = found.classes, chosen["study"]
    gain = frame["best"] - frame["baseline"]
    order = gain.sort_values().index
    shown = frame if len(frame) <= MANY_CLASSES else frame.loc[[*order[:15], *order[-15:]]]
    looks = {f"best ({study})": found.palette[study], "baseline": plots.BASELINE, "teacher": plots.TEACHER}
    better, known = int((gain > 0).sum()), int(gain.notna().sum())
    claim = f"{study} is above the baseline in {better} of {known} classes." if known else "IoU of every class."
    partly = "" if len(shown) == len(frame) else f" The 15 largest losses and gains of {len(frame)} classes. "
    rest = (
        f"Dots are means over n={chosen['n']} seeds, the bar joins baseline and best, the upright mark is "
        f"the teacher (one network).{partly} IoU on the role select; a class that is absent there has no dot. "
        "No interval: with so many classes some differences are large by chance."
    )
    rows = [
        [
            Cell(str(name)),
            *(number(points(row[column]), row[column]) for column in ("baseline", "best", "teacher")),
            number(signed(row["best"] - row["baseline"]), row["best"] - row["baseline"]),
        ]
        for name, row in frame.iterrows()
    ]
    numbers = page.table(["Class", "Baseline", "Best", "Teacher", "Best over baseline"], rows)
    drawing = page.keys(looks) + page.plot(plots.per_class(shown, study, found.palette))
    return page.figure(drawing, claim, rest) + f"<details><summary>As a table</summary>{numbers}</details>"


def _spent(row: pd.Series) -> Cell:
    """Budget of the search of one study, the time of its fresh seeds behind a plus."""
    words = f"{count(row['search_trials'])} trials, {count(row['search_epochs'])} epochs"
    time = f"{duration(row['search_s'])} + {duration(row['confirm_s'])}"
    more = f"{time}; {plural(row['searched_parameters'], 'parameter')}"
    return number(words, row["search_epochs"], more)


def _seedwise(differences: list[float]) -> str:
    return each(differences, sign=True) if len(differences) > 1 else ""


def _shares(row: pd.Series) -> str:
    low, high = row.get("gap_low"), row.get("gap_high")
    return "" if missing(low) or missing(high) else f"{share(low)} to {share(high)}"


def _seed_counts(ranked: pd.DataFrame) -> str:
    counts = sorted({len(scores) for scores in ranked["scores"]})
    return f"n={counts[0]} seeds" if len(counts) == 1 else f"n={counts[0]} to {counts[-1]} seeds"
