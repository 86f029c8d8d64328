import html
import re
from pathlib import Path

import pytest

from analysis.ablation.effects import ablate
from analysis.formats import interval, signed
from analysis.report.best_evidence import best_evidence
from analysis.report.contents import SECTIONS
from analysis.report.findings import findings_of
from analysis.report.headline import Headline
from analysis.report.line import Line
from analysis.report.paper.tables import comparison_sheet
from analysis.report.sweep_report import report_page
from analysis.report.verdict import Verdict, paragraph, verdict, verdict_of
from analysis.selection.compare import compare
from analysis.stats.words import WORDS


def words(sweep):
    tables = sweep.tables()
    return verdict(tables, compare(tables), ablate(tables))


def lines_of(result):
    return {line.label: line.text for line in result.lines}


def test_the_verdict_in_one_paragraph(sweep):
    result = words(sweep)
    text = paragraph(result)
    assert "\n" not in text
    assert text.startswith(f"{result.headline}. ")
    assert text.endswith(f"Not claimed: {result.not_claimed}")
    assert result.decide in text
    bad = Verdict("No result", (Line("Trials", "3 of 4 failed", "red"), Line("Budget", "12 epochs", "amber")), "")
    assert paragraph(bad) == "No result. Trials: 3 of 4 failed."


def test_the_verdict_of_a_finished_sweep(sweep):
    result = words(sweep)
    named = "Provisional: config cwd-0 (best of 3 trials, one search)"
    assert result.headline.startswith(f"{named} is not separated from the baseline none: +7.00 points [")
    assert result.headline.endswith("over 2 seeds")
    lines = lines_of(result)
    assert lines["Against the baseline"].startswith("Not separated from none (searched over 1 parameter): +7.00")
    assert "seed by seed +10.00, +4.00" in lines["Against the baseline"]
    assert "would be missed in 20 of 100 sweeps" in lines["Against the baseline"]
    assert lines["Spread"].startswith(
        "Standard deviation over 2 seeds: of its scores 2.83 [1.26, 90.26], of its differences 4.24 ["
    )
    assert "of the gap to the teacher (55.00)" in lines["Against the baseline"]
    assert "the mean over fresh seeds, 48.00, is 7.00 points below it" in lines["Score in the search"]
    assert lines["Warnings"] == "None were raised."
    assert "Intervals are about retraining these configs" in result.not_claimed
    assert "role test was not read" in result.not_claimed


def test_a_baseline_that_wins_is_said_plainly(sweep):
    for trial in sweep.rows["trials"]:
        if trial["study"] == "none" and trial["phase"] == "confirm":
            trial["score"] += 0.2
    headline = words(sweep).headline
    named = "config none-1 (best of 3 trials, one search)"
    assert headline.startswith(f"Provisional: nothing is shown to beat the baseline none, {named}: 61.00 mIoU")
    assert "config cwd-0 (best of 3 trials, one search) is not separated from it: -13.00 points" in headline


def test_an_unfinished_unconfirmed_sweep_is_no_result_yet(empty_sweep):
    sweep = empty_sweep(finished=False)
    sweep.study("none", is_baseline=True)
    sweep.trial("none", 0.4)
    result = words(sweep)
    named = "config none-0 (best of 1 trial, one search)"
    assert (
        result.headline == f"So far: {named} leads with 40.00 mIoU on the one seed of its search trial; not confirmed"
    )
    assert "too high by an unknown amount" in lines_of(result)["Score in the search"]


def test_nothing_complete(empty_sweep):
    sweep = empty_sweep()
    sweep.study("none", is_baseline=True)
    sweep.trial("none", None)
    result = words(sweep)
    assert "no trial is complete" in result.headline.lower()
    assert "1 of 1 trials failed" in lines_of(result)["Warnings"]


def test_no_baseline_no_gain(empty_sweep):
    sweep = empty_sweep(baseline=None)
    sweep.study("kd")
    sweep.trial("kd", 0.4)
    assert "no gain can be stated" in lines_of(words(sweep))["Against the baseline"]


def test_the_guide_explains_all_that_a_headline_can_say():
    guide = " ".join((Path(__file__).parents[2] / "docs" / "reading-a-report.md").read_text().split())
    assert [phrase for phrase in (*WORDS, *Headline) if f"**{phrase}**" not in guide] == []


def test_the_guide_has_every_section_of_the_page_in_its_order():
    guide = (Path(__file__).parents[2] / "docs" / "reading-a-report.md").read_text()
    told = guide.partition("the sections, in the order of the page\n")[2]
    intro = told.partition("\n- ")[0]
    assert re.findall(r"^- \*\*(.+?)\*\*", told, re.MULTILINE) == [section.title for section in SECTIONS]
    assert re.findall(r"\*(.+?)\*", intro) == [section.title for section in SECTIONS if not section.in_ablation]


@pytest.fixture
def ablation(empty_sweep):
    """A loss (4 seeds) that helps a lot, another (2 seeds) that hurts a little."""

    def build(finished):
        sweep = empty_sweep(purpose="ablation", baseline=None, budget_trials=None, finished=finished)
        scores = {"full": (0.500, 0.502, 0.501, 0.499), "no-cwd": (0.449, 0.450, 0.452, 0.448), "no-kd": (0.531, 0.530)}
        for cell, values in scores.items():
            sweep.study(cell, space={}, budget_trials=None)
            for seed, score in enumerate(values):
                sweep.trial(cell, score, seed=seed, phase="confirm", config_id=cell)
            sweep.cell(cell, "reference" if cell == "full" else "cell", cell, "off")
        return sweep

    return build


def test_the_largest_effect_is_the_largest_in_size_and_the_blindest_comparison_counts(ablation):
    sweep = ablation(finished=True)
    line = lines_of(words(sweep))["Ablation"]
    assert line.startswith(
        "2 of 2 effects separated from 0 on 2 to 4 seeds alone, the largest: no-cwd minus full, -5.0"
    )
    least = ablate(sweep.tables()).set_index("cell")["mde"]
    assert least["no-kd"] > least["no-cwd"]
    assert f"a true difference of {100 * least['no-kd']:.2f} points would be missed in up to 20 of 100" in line


def test_before_the_end_the_lowest_cell_is_named_without_a_word(ablation):
    line = lines_of(words(ablation(finished=False)))["Ablation"]
    assert line.startswith("The lowest: no-cwd minus full, -5.0")
    assert "untested" in line


def test_a_refused_comparison_is_marked_red(sweep):
    sweep.rows["studies"][0]["searched_parameters"] = 0
    (line,) = (line for line in words(sweep).lines if line.label == "Against the baseline")
    assert line.mark == "red"
    assert line.text.startswith("The comparison with none (not searched) is refused: ")


def test_page_file_tables_and_paper_say_one_sentence(sweep, tmp_path):
    """Three seeds, so that there is a word with a reservation."""
    for study, score in (("none", 0.411), ("cwd", 0.482)):
        sweep.trial(study, score, seed=13, of={"none": "none-1", "cwd": "cwd-0"}[study])
    for row in sweep.rows["trials"]:
        if row["phase"] == "confirm" and row["study"] == "cwd":
            row["score"] = {11: 0.501, 12: 0.5205, 13: 0.512}[row["seed"]]
    tables = sweep.tables()
    found, comparison = findings_of(tables), compare(tables)
    headline = verdict_of(tables).headline
    assert "separated from the baseline none on 3 seeds alone: +10.08 points [" in headline
    said = best_evidence(tables)["evidence"]
    assert said["verdict"]["headline"] == headline
    row = comparison[comparison["chosen"]].iloc[0]
    numbers = [row["word"], row["difference"], row["low"], row["high"]]
    assert [said["verdict"][name] for name in ("word", "difference", "low", "high")] == numbers
    assert [said["baseline"][name] for name in ("word", "difference", "low", "high")] == numbers
    page = html.unescape(report_page(found))
    assert f"<h1>{headline}</h1>" in page
    assert "separated<small>on 3 seeds alone</small>" in page
    sheet = comparison_sheet(found)
    assert sheet.rows[0][2:4] == (f"{signed(row['difference'])} {interval(row['low'], row['high'])}", "separated")
    assert "on 3 seeds alone" in sheet.note
