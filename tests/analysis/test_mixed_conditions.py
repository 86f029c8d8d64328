"""What ran on different hardware, software or code is said where it is compared: headline, words, best.yaml."""

import json

import pytest
from world_rows.tables import sweep_of

from analysis.ablation.effects import ablate
from analysis.ablation.factorial import factorial_effects
from analysis.report.best_evidence import best_evidence
from analysis.report.verdict import verdict_of
from analysis.selection.compare import compare
from analysis.selection.control_contrasts import comparison_contrasts
from analysis.selection.final_seeds import final_difference
from tests.analysis import conftest

STEADY = (0.500, 0.501, 0.499, 0.4995, 0.502)
LIFTED = (0.522, 0.5215, 0.5205, 0.5212, 0.5235)
PLACES = {
    "hardware": {"device": "cuda", "device_name": "Big GPU"},
    "software": {"torch": "2.14.0"},
    "code": {"code_digest": "c0de" * 4},
}


def elsewhere(sweep, kind, of):
    """The tables of a sweep in which some trials ran in another environment."""
    return conftest.elsewhere(sweep.tables(), of, **PLACES[kind])


def of_study(*names):
    return lambda trial: trial["study"] in names


def two(**more):
    return sweep_of({"none": {"b": STEADY}, "cwd": {"c": LIFTED}, **more})


@pytest.mark.parametrize("kind", ["hardware", "software"])
def test_the_headline_says_that_both_ran_on_mixed_hardware(kind):
    assert verdict_of(two().tables()).mark == ""
    tables = elsewhere(two(), kind, of_study("cwd"))
    words = verdict_of(tables)
    assert "cwd-0 (best of 1 trial, one search) is separated from the baseline none" in words.headline
    assert words.headline.endswith(f"; trained on mixed {kind}")
    assert words.mark == "amber"
    assert best_evidence(tables)["evidence"]["verdict"]["headline"] == words.headline


def test_the_headline_of_a_refused_comparison_names_the_code():
    words = verdict_of(elsewhere(two(), "code", of_study("cwd")))
    assert words.headline.endswith("; trained on mixed code: not comparable")
    assert (words.mark, words.said) == ("red", None)


@pytest.mark.parametrize(("kind", "mark"), [("hardware", "amber"), ("code", "red")])
def test_so_does_that_of_a_baseline_that_was_chosen(kind, mark):
    worse = sweep_of({"none": {"b": LIFTED}, "cwd": {"c": STEADY}})
    words = verdict_of(elsewhere(worse, kind, of_study("cwd")))
    assert f"trained on mixed {kind}" in words.headline
    assert words.mark == mark


def test_a_study_that_the_headline_is_not_about_leaves_it_as_it_is():
    far = two(kd={"k": [score - 0.1 for score in STEADY[::-1]]})
    words = verdict_of(elsewhere(far, "hardware", of_study("kd")))
    assert "mixed" not in words.headline
    assert "kd: mixed hardware" in next(line.text for line in words.lines if line.label == "Warnings")


def test_a_control_in_the_headline_counts():
    sweep = two(long={"l": [score - 0.1 for score in STEADY[::-1]]})
    sweep.rows["studies"][-1]["control"] = "none_equal_time"
    assert verdict_of(elsewhere(sweep, "hardware", of_study("long"))).headline.endswith("; trained on mixed hardware")
    sweep = two(long={"l": [score - 0.1 for score in STEADY[::-1]]})
    sweep.rows["studies"][-1]["control"] = "none_equal_time"
    tables = elsewhere(sweep, "code", of_study("long"))
    (contrast,) = comparison_contrasts(tables, compare(tables))
    assert contrast.word is None
    assert "untested against cross-entropy of equal time" in verdict_of(tables).headline


def frozen(sweep):
    ids = {"none": "b", "cwd": "c"}
    chosen, baseline = ({"study": study, "config_id": ids[study]} for study in ("cwd", "none"))
    content = {"chosen": chosen, "baseline": baseline, "why": "frozen", "role": "select", "at": "2026"}
    sweep.rows["sweeps"][0]["frozen_json"] = json.dumps({**content, "seeds": list(range(201, 206))})
    for study, scores in (("none", STEADY), ("cwd", LIFTED)):
        for seed, score in enumerate(scores, start=201):
            sweep.trial(study, score, seed=seed, of=f"{study}-0", phase="final")
    return sweep


def is_final(*names):
    return lambda trial: trial["phase"] == "final" and trial["study"] in names


def test_after_a_freeze_the_final_seeds_count_alone():
    words = verdict_of(elsewhere(frozen(two()), "hardware", is_final("none", "cwd")))
    assert words.headline.startswith("Held out")
    assert "mixed" not in words.headline
    words = verdict_of(elsewhere(frozen(two()), "hardware", is_final("cwd")))
    assert words.headline.endswith("; trained on mixed hardware")
    assert words.mark == "amber"


def test_final_seeds_on_different_code_have_no_word():
    tables = elsewhere(frozen(two()), "code", is_final("cwd"))
    difference, words = final_difference(tables), verdict_of(tables)
    assert (difference.word, difference.withheld) == (None, "cwd and none ran on different code")
    assert words.headline.endswith("; trained on mixed code: not comparable")
    assert (words.mark, words.said) == ("red", None)


@pytest.fixture
def ablation(empty_sweep):
    def build(cells, design="leave-one-out"):
        sweep = empty_sweep(purpose="ablation", baseline=None, budget_trials=None, confirm_seeds=5)
        for cell, (role, scores, levels) in cells.items():
            sweep.study(cell, space={}, budget_trials=None)
            taught = json.dumps({"teacher": None if cell == "none" else "t"})
            for seed, score in enumerate(scores):
                sweep.trial(cell, score, seed=seed, phase="confirm", config_id=cell, config_json=taught)
            sweep.cell(cell, role, cell if role != "reference" else None, "off")
            sweep.rows["cells"][-1] |= {"design": design, "levels_json": json.dumps(levels)}
        return sweep

    return build


PARTS = {
    "reference": ("reference", LIFTED, {"a": "on", "b": "on"}),
    "without_a": ("cell", STEADY, {"a": "off", "b": "on"}),
    "without_b": ("cell", STEADY[::-1], {"a": "on", "b": "off"}),
}


def test_an_ablation_on_mixed_hardware_says_so(ablation):
    words = verdict_of(elsewhere(ablation(PARTS), "hardware", of_study("without_a")))
    assert words.headline.endswith("; trained on mixed hardware")
    assert words.mark == "amber"


def test_a_part_on_other_code_than_its_reference_has_no_word(ablation):
    tables = elsewhere(ablation(PARTS), "code", of_study("without_a"))
    rows = ablate(tables).set_index("cell")
    assert rows.loc["without_a", "withheld"] == "without_a and reference ran on different code"
    assert not isinstance(rows.loc["without_a", "word"], str)
    assert rows.loc["without_b", "word"] == "separated"
    words = verdict_of(tables)
    assert words.headline.endswith("; trained on mixed code: not comparable")
    assert words.mark == "red"


def test_so_has_a_factorial(ablation):
    cells = {**PARTS, "neither": ("cell", [score - 0.03 for score in STEADY], {"a": "off", "b": "off"})}
    effects = factorial_effects(elsewhere(ablation(cells, "factorial"), "code", of_study("neither")))
    assert effects["word"].isna().all()
    assert effects["withheld"].str.contains("ran on different code").all()
