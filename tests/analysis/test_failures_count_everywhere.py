"""Failed trainings count by one rule: on fresh seeds, on final seeds, beside controls, and in the simulated worlds."""

import json

import numpy as np
import pandas as pd
import pytest
from world_rows import failures as worlds
from world_rows.tables import sweep_of

from analysis.ablation.effects import ablate
from analysis.report.best_evidence import best_evidence
from analysis.report.verdict import verdict_of
from analysis.selection.compare import compare
from analysis.selection.control_contrasts import comparison_contrasts
from analysis.selection.final_seeds import final_difference

LIFTED = (0.502, 0.5015, 0.501, 0.5012, 0.503, 0.501, 0.502, 0.501)
STEADY = (0.500, 0.501, 0.499, 0.4995, 0.502, 0.499, 0.500, 0.4995)


def frozen(final, fallen, control=()):
    """A frozen sweep; final seeds of these scores, which `fallen` replaces: a tuple for a training that diverged."""
    studies = {"none": {"b": STEADY[:5]}, "cwd": {"c": [score + 0.02 for score in STEADY[4::-1]]}}
    sweep = sweep_of(studies | ({"long": {"l": control}} if control else {}))
    if control:
        sweep.rows["studies"][-1]["control"] = "none_equal_time"
    ids = {"none": "b", "cwd": "c"}
    chosen, baseline = ({"study": study, "config_id": ids[study]} for study in ("cwd", "none"))
    seeds = list(range(201, 209))
    content = {"chosen": chosen, "baseline": baseline, "why": "frozen", "seeds": seeds, "role": "select", "at": "2026"}
    sweep.rows["sweeps"][0]["frozen_json"] = json.dumps(content)
    for study, scores in final.items():
        for place, (seed, score) in enumerate(zip(seeds, scores, strict=True)):
            at = fallen.get((study, place), score)
            fields = {"state": "diverged", "reached": at[0]} if isinstance(at, tuple) else {}
            sweep.trial(study, None if fields else at, seed=seed, of=f"{study}-0", phase="final", **fields)
    return sweep.tables()


@pytest.mark.parametrize("at", [0.1, (0.1,)], ids=["collapsed", "diverged"])
def test_final_seeds_of_the_baseline_that_failed_make_no_gain(at):
    tables = frozen({"none": STEADY, "cwd": LIFTED}, {("none", 3): at, ("none", 5): at})
    difference, words = final_difference(tables), verdict_of(tables)
    assert (difference.word, difference.withheld) == ("not separated", "")
    assert difference.weakened.startswith("separated by the seeds alone, but 2 of 8 final seeds of none failed")
    assert difference.low < 0 < difference.mean
    assert words.headline.endswith("since trainings failed; 2 of 8 final seeds of the baseline failed")
    assert words.mark == "amber"
    said = best_evidence(tables)["evidence"]
    assert (said["verdict"]["word"], said["test"]["difference"]["word"]) == ("not separated", "not separated")
    assert difference.weakened in said["test"]["difference"]["weakened"]


@pytest.mark.parametrize("study", ["none", "cwd"])
def test_where_all_final_seeds_failed_no_word_is_said(study):
    tables = frozen({"none": STEADY, "cwd": LIFTED}, {(study, place): (0.02 + place / 1000,) for place in range(8)})
    words = verdict_of(tables)
    assert final_difference(tables).word is None
    assert words.headline.endswith(f"no verdict: all 8 final seeds of {study} failed")
    assert words.said is None


def test_final_scores_that_are_no_evidence_say_why():
    tables = frozen({"none": [0.5] * 8, "cwd": LIFTED}, {})
    assert verdict_of(tables).headline.endswith("no evidence: the reference has the same score on every seed")


def test_after_a_freeze_the_controls_are_said_to_be_those_of_the_selection():
    tables = frozen({"none": STEADY, "cwd": LIFTED}, {}, control=[score + 0.1 for score in LIFTED[:5]])
    headline = verdict_of(tables).headline
    assert headline.startswith("Held out")
    assert "over 8 seeds; by the selection: separated from cross-entropy of equal time, and worse" in headline


def test_a_gain_of_the_final_seeds_that_failures_do_not_make_stays_separated():
    high = [score + 0.1 for score in LIFTED]
    tables = frozen({"none": STEADY, "cwd": high}, {("none", 3): (0.45,)})
    assert (final_difference(tables).word, final_difference(tables).weakened) == ("separated", "")
    assert verdict_of(tables).mark == "amber"


def test_a_control_that_failed_makes_no_gain():
    scores = {"none": {"b": [score - 0.1 for score in STEADY]}, "cwd": {"c": LIFTED}}
    long = [*STEADY[:2], None, *STEADY[3:5], None, *STEADY[6:]]
    sweep = sweep_of({**scores, "long": {"l": long}})
    sweep.rows["studies"][-1]["control"] = "none_equal_time"
    for trial in sweep.rows["trials"]:
        trial.update({"reached": 0.05} if trial["score"] is None else {})
    tables = sweep.tables()
    comparison = compare(tables)
    (contrast,) = comparison_contrasts(tables, comparison)
    assert contrast.word == "not separated"
    assert contrast.low < 0 < contrast.difference
    assert "not separated from cross-entropy of equal time" in verdict_of(tables).headline


@pytest.fixture
def ablation(empty_sweep):
    """A reference with one part and a control, from their scores; None for a training that diverged."""

    def build(**scores):
        roles = {"reference": "reference", "without_csc": "cell", "none_equal_time": "control"}
        sweep = empty_sweep(purpose="ablation", baseline=None, budget_trials=None, confirm_seeds=8)
        for cell, role in roles.items():
            sweep.study(cell, space={}, budget_trials=None)
            taught = json.dumps({"teacher": None if role == "control" else "t"})
            for seed, score in enumerate(scores[cell]):
                failed = {"state": "diverged", "reached": 0.02 + seed / 1000} if score is None else {}
                sweep.trial(cell, score, seed=seed, phase="confirm", config_id=cell, config_json=taught, **failed)
            sweep.cell(cell, role, None if role != "cell" else "csc", "off")
        return sweep.tables()

    return build


def test_a_control_of_an_ablation_that_failed_makes_no_gain(ablation):
    fallen = [*STEADY[:2], None, *STEADY[3:5], None, *STEADY[6:]]
    tables = ablation(reference=LIFTED, without_csc=STEADY, none_equal_time=fallen)
    row = ablate(tables).set_index("cell").loc["none_equal_time"]
    assert row["word"] == "not separated"
    assert row["difference"] < 0 < row["high"]
    assert "not separated from cross-entropy of equal time" in verdict_of(tables).headline


def test_an_ablation_names_a_part_that_always_failed_and_scores_that_are_no_evidence(ablation):
    tables = ablation(reference=LIFTED, without_csc=[None] * 8, none_equal_time=[score - 0.1 for score in LIFTED])
    rows = ablate(tables).set_index("cell")
    assert "the same difference to the reference on every seed" in rows.loc["none_equal_time", "withheld"]
    assert rows.loc["none_equal_time", "word"] is None or pd.isna(rows.loc["none_equal_time", "word"])
    assert "failed" in rows.loc["without_csc", "withheld"]


@pytest.mark.parametrize("seed", range(4))
def test_the_simulated_worlds_say_what_compare_says(seed, empty_sweep):
    design = worlds.Design(trials=(3, 8)[seed % 2], top=(1, 4)[seed // 2], seeds=5)
    method, baseline = worlds.Method(3.0, 0.2, None if seed % 2 else 20.0), worlds.Method(failing=0.1)
    made, _, failures = worlds.claim(np.random.default_rng(seed), design, method, baseline)
    sweep, rng = empty_sweep(confirm_top=design.top, confirm_seeds=design.seeds), np.random.default_rng(seed)
    for study, drawn in (("none", baseline), ("cwd", method)):
        searched, fresh, _ = worlds.raced(rng, design, drawn)
        sweep.study(study, is_baseline=study == "none")
        for score, diverged in searched:
            sweep.trial(study, **_ended(score, diverged))
        for config, runs in fresh.items():
            for number, (score, diverged) in enumerate(runs, start=100):
                sweep.trial(study, seed=number, of=f"{study}-{config}", **_ended(score, diverged))
    row = compare(sweep.tables()).set_index("study").loc["cwd"]
    assert row["word"] == made.word
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((made.difference, made.low, made.high))
    assert bool(row["withheld"]) == bool(made.withheld)
    assert (row["search_broken"], row["fresh_broken"]) == (failures.search.failed, failures.fresh.failed)


def _ended(score, diverged):
    return {"score": None, "state": "diverged", "reached": score} if diverged else {"score": score}


def lines_of(words):
    return {line.label: line for line in words.lines}


@pytest.mark.parametrize("finalists_failed", ["diverged", "failed"])
def test_an_ablation_whose_reference_always_failed_says_so_in_red(ablation, finalists_failed):
    tables = ablation(reference=[None] * 8, without_csc=STEADY, none_equal_time=LIFTED)
    reason = "all 8 fresh seeds of reference failed (seeds 0, 1, 2, 3, 4, 5, 6, 7 diverged, counted as 2.00"
    if finalists_failed == "failed":
        of_reference = tables["trials"]["study"] == "reference"
        tables["trials"].loc[of_reference, "state"] = "failed"
        tables["trials"].loc[of_reference, "failure"] = "node_lost"
        reason = "reference has no score: of its trials 8 failed"
    words = verdict_of(tables)
    assert f"o effect is judged: {reason}" in words.headline
    assert "worse than the reference" not in words.headline
    assert (words.mark, lines_of(words)["Ablation"].mark) == ("red", "red")


def test_a_comparison_whose_baseline_always_failed_is_red():
    words = verdict_of(sweep_of({"none": {"b": [None] * 5}, "cwd": {"c": STEADY[:5]}}).tables())
    assert "all 5 fresh seeds of the baseline none failed" in words.headline
    assert words.mark == "red"


def test_final_seeds_that_all_failed_are_red():
    tables = frozen({"none": STEADY, "cwd": LIFTED}, {("none", place): (0.02 + place / 1000,) for place in range(8)})
    assert verdict_of(tables).mark == "red"


def test_failed_seeds_of_the_reference_make_no_part_better(ablation):
    fallen = [*STEADY[:2], None, *STEADY[3:5], None, *STEADY[6:]]
    tables = ablation(reference=fallen, without_csc=LIFTED, none_equal_time=[score - 0.6 for score in LIFTED])
    row = ablate(tables).set_index("cell").loc["without_csc"]
    assert row["word"] == "not separated"
    assert row["low"] < 0 < row["difference"]
    words = verdict_of(tables)
    assert "(failed fresh seeds: 2 of 8 of reference)" in words.headline
    assert words.mark != ""


def test_a_part_that_was_lucky_on_its_own_seeds_bears_what_failures_cost_in_its_study(ablation):
    scores = {
        "reference": STEADY,
        "without_csc": [score + 0.01 for score in LIFTED],
        "none_equal_time": [score - 0.1 for score in LIFTED[::-1]],
    }
    assert ablate(ablation(**scores)).set_index("cell").loc["without_csc", "word"] == "separated"
    tables = ablation(**scores)
    sweep_trials = tables["trials"]
    of_cell = sweep_trials[sweep_trials["study"] == "without_csc"]
    searched = of_cell.assign(phase="search", trial_id=[f"s{place}" for place in range(8)], score=0.5)
    searched.loc[searched.index[:3], "score"] = 0.1
    tables["trials"] = pd.concat([sweep_trials, searched], ignore_index=True)
    row = ablate(tables).set_index("cell").loc["without_csc"]
    assert row["word"] == "not separated"
    assert row["weakened"].startswith(
        "separated by the seeds alone, but 3 of 16 trainings of without_csc failed or collapsed (3 of 8 in the search"
    )
    assert row["low"] < 0


def test_a_control_that_was_weakened_says_why(ablation):
    tables = ablation(reference=LIFTED, without_csc=STEADY, none_equal_time=[*STEADY[:3], *[None] * 5])
    row = ablate(tables).set_index("cell").loc["none_equal_time"]
    assert row["word"] == "not separated"
    assert row["weakened"].startswith(
        "separated by the seeds alone, but 5 of 8 fresh seeds of none_equal_time failed or collapsed"
    )
    assert row["low"] < row["difference"] < 0 < row["high"]
