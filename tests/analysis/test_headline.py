"""The headline says what the table says: by name, with its difference, and no more."""

from itertools import pairwise

import numpy as np
import pytest
from world_rows.headlines import ROWS
from world_rows.told import SMALLEST, contradictions, scene_with, told

from analysis.report.headline import Scene, before_the_freeze
from analysis.report.held_out import HeldOut, after_the_freeze, disagreements
from analysis.selection.final_seeds import FinalScores, judged_difference

BASELINE = (0.400, 0.402, 0.399, 0.401, 0.403)
FAR = (0.0001, -0.0002, 0.0, 0.0002, -0.0001)


def shifted(points, noise=FAR):
    """The scores of the baseline, so many points higher, with a little noise of its own."""
    return [score + points / 100 + own for score, own in zip(BASELINE, noise, strict=True)]


def said(scores, **of):
    return before_the_freeze(scene_with(scores, **of), finished=True).headline


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.world)
def test_no_headline_contradicts_its_table(row):
    assert row.run(worlds=12).mean == 0


def test_the_check_finds_a_headline_that_the_table_denies():
    rng = np.random.default_rng(0)
    sweeps = [told(rng, 0.5, 3) for _ in range(12)]
    swapped = [
        type(one)(one.scene, one.found, one.finished, one.selection, one.stage, other.statement)
        for one, other in pairwise(sweeps)
    ]
    assert sum(bool(contradictions(sweep)) for sweep in swapped) > 5


def test_the_config_and_its_search_are_named():
    assert said({"none": BASELINE, "kd": shifted(1.2)}).startswith(
        "config kd-0 (best of 3 trials, one search) is separated from the baseline none: +1.20 points ["
    )


def test_several_searches_are_counted():
    scene = scene_with({"none": BASELINE, "kd": shifted(1.2)})
    several = type(scene)(scene.comparison.assign(search_trials=9), scene.ranked, {"kd": 3})
    assert "config kd-0 (best of 9 trials in 3 searches) is" in before_the_freeze(several, finished=True).headline


@pytest.mark.parametrize(("seeds", "alone"), [(3, True), (4, True), (5, False)])
def test_separated_on_few_seeds_is_said_with_a_reservation(seeds, alone):
    headline = said({"none": BASELINE[:seeds], "kd": shifted(2)[:seeds]})
    assert "separated from the baseline none" in headline
    assert (f"on {seeds} seeds alone" in headline) is alone


def test_a_baseline_that_is_best_by_all_accounts():
    headline = said({"none": BASELINE, "kd": shifted(-1), "cwd": shifted(-3)})
    assert headline.startswith("Nothing beat the baseline none, config none-0")
    assert "all 2 others are separated from it and worse, the nearest kd-0: -1.00 points" in headline


def test_a_baseline_that_beat_the_only_other_study():
    headline = said({"none": BASELINE, "kd": shifted(-1)})
    assert headline.startswith("Nothing beat the baseline none, config none-0")
    assert "; config kd-0 (best of 3 trials, one search) is separated from it and worse: -1.00 points" in headline


def test_a_baseline_that_others_are_merely_not_separated_from():
    noisy = shifted(-0.1, (0.02, -0.015, 0.01, -0.01, -0.005))
    headline = said({"none": BASELINE, "kd": noisy, "cwd": shifted(-3)})
    assert headline.startswith("Nothing is shown to beat the baseline none")
    assert "config kd-0 (best of 3 trials, one search) is not separated from it: -0.10 points [" in headline


def test_a_sweep_with_the_baseline_alone():
    headline = said({"none": BASELINE})
    assert headline.startswith("Only the baseline none")
    assert headline.endswith("no other study to compare it with")
    assert "beat" not in headline


def test_the_baseline_is_chosen_while_another_is_separated_and_better():
    """As the cheapest of a tie set with a noisy config can be."""
    scene = scene_with({"none": BASELINE, "kd": shifted(0.7), "cwd": shifted(0.5)})
    of_baseline = Scene(scene.comparison.assign(chosen=scene.comparison["is_baseline"]), scene.ranked, {})
    headline = before_the_freeze(of_baseline, finished=True).headline
    assert "beat" not in headline
    assert "but config kd-0 (best of 3 trials, one search) is separated from the baseline: +0.70 points" in headline
    assert "(as is 1 more)" in headline


def test_refused_comparisons_are_no_win_of_the_baseline():
    headline = said({"none": BASELINE, "kd": shifted(-1)}, refused=["kd"])
    assert "beat" not in headline
    assert "not compared with the baseline" in headline


def test_the_rival_in_a_tie_is_named_with_its_difference():
    kd = shifted(2)
    cwd = [score + own for score, own in zip(kd, (0.004, -0.003, 0.001, -0.002, 0.001), strict=True)]
    headline = said({"none": BASELINE, "kd": kd, "cwd": cwd}, cheap="kd")
    assert headline.startswith("config kd-0")
    assert "; tied with cwd-0 (+0.02)" in headline


def held(chosen, baseline, planned=5):
    of = [
        FinalScores(study, f"{study}-c0", tuple(range(len(scores))), planned, tuple(scores), tuple(scores))
        for study, scores in (("kd", chosen), ("none", baseline))
    ]
    return HeldOut(of[0], of[1], False, judged_difference(of[0], of[1], SMALLEST))


def frozen(chosen, baseline=BASELINE, planned=5):
    """A selection that says +1.2 points, separated; and what the final seeds say."""
    scene = scene_with({"none": BASELINE, "kd": shifted(1.2)})
    found = held(chosen, baseline, planned)
    statement = after_the_freeze(found, before_the_freeze(scene, finished=True), scene)
    return statement, disagreements(found, scene.winner)


def test_after_a_freeze_the_final_seeds_have_the_word():
    statement, disagreed = frozen(shifted(2, (0.05, -0.04, 0.03, -0.02, -0.02)))
    assert statement.headline.startswith("Held out, on role test: config kd-0 (best of 3 trials, one search) is not")
    assert "not separated from the baseline none: +2.00 points [" in statement.headline
    assert statement.mark == "amber"
    clauses, mark = disagreed
    assert any("the selection said separated, the final seeds say not separated" in each for each in clauses)
    assert mark == "red"


def test_final_seeds_that_agree_raise_no_doubt():
    statement, disagreed = frozen(shifted(1.2, FAR[::-1]))
    assert "is separated from the baseline none: +1.20 points" in statement.headline
    assert (statement.mark, disagreed) == ("", ([], ""))


def test_final_seeds_of_the_other_sign_are_a_disagreement():
    statement, disagreed = frozen(shifted(-2))
    assert "separated from the baseline none, and worse: -2.00 points" in statement.headline
    assert statement.mark == "amber"
    clauses, mark = disagreed
    assert any(each.startswith("the sign has changed: the selection said +1.20") for each in clauses)
    assert mark == "red"


def test_a_missing_final_seed_takes_the_word():
    statement, _ = frozen(shifted(2)[:4])
    assert "differs by +2.00 points from the baseline none, no verdict" in statement.headline
    assert "study kd lacks the score of 1 of 5 final seeds" in statement.headline
    assert statement.said is None


def test_while_final_seeds_are_missing_the_result_is_provisional():
    statement, _ = frozen(shifted(2)[:1])
    assert statement.headline.startswith("Provisional, frozen, 1 of 5 final seeds complete, on role test: config kd-0")


def test_a_selection_that_was_less_sure_than_the_final_seeds_is_no_disagreement():
    scene = scene_with({"none": BASELINE, "kd": shifted(1.2, (0.5, -0.9, 1.3, -1.1, 0.2))})
    found = held(shifted(1.2, FAR[::-1]), BASELINE)
    assert found.said.word == "separated"
    assert before_the_freeze(scene, finished=True).said.word == "not separated"
    assert disagreements(found, scene.winner) == ([], "")


def test_frozen_without_a_final_seed_the_selection_stays_provisional():
    statement, _ = frozen([])
    assert statement.headline.startswith("Provisional, frozen, none of 5 final seeds complete: config kd-0")
