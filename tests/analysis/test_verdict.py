from pathlib import Path

from analysis.ablation.effects import ablate
from analysis.report.verdict import Headline, verdict
from analysis.selection.compare import compare
from analysis.stats.judge import WORDS


def words(sweep):
    tables = sweep.tables()
    return verdict(tables, compare(tables), ablate(tables))


def lines_of(result):
    return {line.label: line.text for line in result.lines}


def test_the_verdict_of_a_finished_sweep(sweep):
    result = words(sweep)
    assert result.headline.startswith("cwd is not separated from the baseline none: +7.00 points [")
    assert "over 2 seeds, smallest detectable effect" in result.headline
    lines = lines_of(result)
    assert lines["Against the baseline"].startswith("Not separated from none (searched over 1 parameter): +7.00")
    assert "seed by seed +10.00, +4.00" in lines["Against the baseline"]
    assert "50 % of the gap to the teacher (55.00)" in lines["Against the baseline"]
    assert "55.00 on one seed; fresh seeds give 48.00, a correction of -7.00" in lines["Optimism removed"]
    assert lines["Warnings"] == "None were raised."
    assert "Intervals are about retraining these configs" in result.not_claimed
    assert "role test was not read" in result.not_claimed


def test_a_baseline_that_wins_is_said_plainly(sweep):
    for trial in sweep.rows["trials"]:
        if trial["study"] == "none" and trial["phase"] == "confirm":
            trial["score"] += 0.2
    assert words(sweep).headline.startswith("Nothing beat the baseline none: 61.00")


def test_an_unfinished_unconfirmed_sweep_is_no_result_yet(empty_sweep):
    sweep = empty_sweep(finished=False)
    sweep.study("none", is_baseline=True)
    sweep.trial("none", 0.4)
    result = words(sweep)
    assert result.headline == "So far: none leads with 40.00 mIoU on the one seed of its search trial; not confirmed"
    assert "too high by an unknown amount" in lines_of(result)["Optimism removed"]


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
