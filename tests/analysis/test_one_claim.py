"""Headline, best.yaml and tables say one thing, and nothing that is stronger than its figures."""

import numpy as np
import pandas as pd
import pytest
from world_rows.tables import sweep_of

from analysis.report.best_evidence import best_evidence
from analysis.report.held_out import HeldOut, disagreements
from analysis.report.verdict import verdict_of
from analysis.selection.compare import compare
from analysis.selection.final_seeds import FinalScores, judged_difference

STEADY = (0.500, 0.504, 0.499, 0.495, 0.502)
HIGHER = (0.552, 0.548, 0.551, 0.556, 0.549)


@pytest.mark.parametrize(
    ("none", "cwd"),
    [((0.5,), (0.55,)), (STEADY, (0.55,) * 5), ((0.5,) * 5, HIGHER), (STEADY, [score + 0.1 for score in STEADY])],
    ids=["one seed", "copied", "copied baseline", "same difference"],
)
def test_without_an_interval_best_has_no_word_either(none, cwd):
    tables = sweep_of({"none": {"b": none}, "cwd": {"c": cwd}}).tables()
    assert "no verdict" in verdict_of(tables).headline
    evidence = best_evidence(tables)["evidence"]
    assert evidence["baseline"]["word"] is None
    assert "word" not in evidence["verdict"]


def test_the_word_about_another_config_is_not_that_of_a_chosen_baseline():
    tables = sweep_of({"none": {"b": HIGHER}, "cwd": {"c": STEADY}}).tables()
    evidence = best_evidence(tables)["evidence"]
    assert "separated from it and worse" in evidence["verdict"]["headline"]
    assert "word" not in evidence["verdict"]


def test_all_scores_of_the_best_config_say_which_seeds_they_are_of():
    def mappings(content):
        yield from (content,) if isinstance(content, dict) else ()
        for each in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
            yield from mappings(each)

    tables = sweep_of({"none": {"b": STEADY}, "cwd": {"c": HIGHER}}).tables()
    found = list(mappings(best_evidence(tables)["evidence"]))
    scored = [each for each in found if "scores" in each]
    assert [each["rests_on"] for each in scored] == ["fresh seeds that also chose the config"] * 3
    assert [each["rests_on"] for each in found if "headline" in each] == ["fresh seeds that also chose the config"]


def test_no_spread_is_stated_where_no_seed_differs():
    lines = verdict_of(sweep_of({"none": {"b": STEADY}, "cwd": {"c": (0.55,) * 5}}).tables()).lines
    assert not any("0.00 [0.00, 0.00]" in line.text for line in lines)


def test_scores_that_two_studies_share_are_a_warning():
    sweep = sweep_of({"none": {"b": STEADY}, "cwd": {"c": HIGHER}, "kd": {"k": HIGHER}, "at": {"a": STEADY[::-1]}})
    frame = compare(sweep.tables()).set_index("study")
    assert (
        "the same score as kd on every seed: both train the same, or a result was copied"
        in frame.loc["cwd", "warnings"]
    )
    assert any(doubt.startswith("the same score as cwd") for doubt in frame.loc["kd", "warnings"])
    assert not any("the same score as" in doubt for study in ("none", "at") for doubt in frame.loc[study, "warnings"])


def test_a_method_whose_seeds_all_failed_is_named_beside_a_chosen_baseline():
    headline = verdict_of(sweep_of({"none": {"b": STEADY}, "cwd": {"c": [None] * 5}}).tables()).headline
    assert "no verdict on config cwd-0 (best of 1 trial, one search): all 5 fresh seeds of cwd failed" in headline


def test_selection_and_final_seeds_that_differ_by_noise_alone_do_not_disagree():
    rng, raised = np.random.default_rng(0), 0
    for _ in range(60):
        scores = 0.5 + 0.01 * rng.normal(size=(2, 13)) + np.array([[0.0], [0.05]])
        before, final = _difference(scores[:, :5]), _difference(scores[:, 5:])
        row = {"word": before.word, "difference": before.mean, "low": before.low, "high": before.high}
        chosen = FinalScores("cwd", "c", final.seeds, 8, final.each, ())
        clauses, _ = disagreements(
            HeldOut(chosen, chosen, False, final), pd.Series({**row, "differences": list(before.each), "n": 5})
        )
        raised += any("further apart" in clause for clause in clauses)
    assert raised <= 5


def _difference(scores):
    baseline, chosen = (
        FinalScores(study, study, tuple(range(len(each))), len(each), tuple(map(float, each)), ())
        for study, each in zip(("none", "cwd"), scores, strict=True)
    )
    return judged_difference(chosen, baseline, 0.003)
