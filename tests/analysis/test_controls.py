"""Controls are part of the verdict: which studies they are, what is said beside them, and that none is chosen."""

import json

import numpy as np
import pytest

from analysis.ablation.control_contrasts import ablation_contrasts
from analysis.ablation.effects import ablate
from analysis.errors import AnalysisError
from analysis.formats import signed
from analysis.report.best_evidence import best_evidence
from analysis.report.verdict import verdict_of
from analysis.selection.compare import compare
from analysis.selection.control_contrasts import comparison_contrasts
from analysis.selection.evidence import situation
from analysis.selection.finalists import finalists
from analysis.selection.select import best
from tests.analysis.conftest import ROLES, ablation_of

NOISE = 0.003


def make(seeds=6, finished=True, roles=ROLES, levels=None, scores=None, design="leave-one-out", **means):
    """An ablation of two terms with three controls: the score of every cell by its mean, over some seeds."""
    rng = np.random.default_rng(1)
    scores = scores or {cell: means.get(cell, 0.5) + rng.normal(0, NOISE, seeds) for cell in roles}
    sweep = ablation_of(scores, roles, finished=finished)
    for row in sweep.rows["cells"]:
        found = (levels or {}).get(row["cell"])
        row |= {"design": design, "levels_json": None if found is None else json.dumps(found)}
    return sweep


def lines_of(words):
    return {line.label: line for line in words.lines}


def test_an_ablation_first_says_whether_its_config_beats_the_controls():
    sweep = make(none=0.47, none_equal_time=0.5265, placebo=0.499, without_csc=0.4735)
    words = verdict_of(sweep.tables())
    first, parts = words.headline.split("; parts: ")
    assert first == (
        "Ablation of ace + csc: separated from cross-entropy of equal time, and worse; "
        "not separated from the placebo; separated from cross-entropy, and better"
    )
    assert parts.startswith("1 of 2 effects separated from 0: without_csc minus reference, -2.")
    assert words.mark == "red"
    assert words.said is None
    line = lines_of(words)["Controls"].text
    assert line.startswith("Control minus reference: cross-entropy -3.")
    assert "; cross-entropy of equal time +2." in line
    assert line.count("over 6 seeds") == 3


def test_an_ablation_chooses_nothing_and_says_nothing_of_optimism():
    words = verdict_of(make().tables())
    assert "Score in the search" not in lines_of(words)
    assert "optimistic" not in f"{words.not_claimed} {' '.join(line.text for line in words.lines)}"


def test_the_difference_of_a_control_has_one_sign_in_line_table_and_warning():
    tables = make(none=0.47, none_equal_time=0.5265, placebo=0.503).tables()
    lines, table = lines_of(verdict_of(tables)), ablate(tables).set_index("cell")["difference"]
    longer = signed(table["none_equal_time"])
    assert f"cross-entropy {signed(table['none'])} points" in lines["Controls"].text
    assert f"cross-entropy of equal time {longer} points" in lines["Controls"].text
    assert f"cross-entropy of equal time beats reference: {longer} points" in lines["Warnings"].text


def test_further_seeds_are_named_for_two_configs():
    words = verdict_of(make(seeds=3, none=0.499).tables())
    assert words.decide.startswith("For cross-entropy against reference: ")


def test_a_control_above_the_config_is_a_warning_also_if_merely_on_average():
    lines = lines_of(verdict_of(make(none=0.47, none_equal_time=0.5265, placebo=0.503).tables()))
    assert lines["Warnings"].text.startswith("cross-entropy of equal time beats reference: +2.")
    assert "the placebo is above reference on average: +0." in lines["Warnings"].text
    assert lines["Warnings"].mark == "red"
    weak = lines_of(verdict_of(make(none=0.47, none_equal_time=0.48, placebo=0.503).tables()))["Warnings"]
    assert "the placebo is above reference on average" in weak.text
    assert weak.mark == "amber"


def test_on_few_seeds_and_before_the_end_the_words_are_weaker():
    few = verdict_of(make(seeds=3, none=0.4, none_equal_time=0.4, placebo=0.4).tables())
    assert "separated from cross-entropy, cross-entropy of equal time and the placebo, and better on 3 seeds alone" in (
        few.headline
    )
    assert few.mark == "amber"
    running = verdict_of(make(finished=False, none=0.4, placebo=0.6).tables())
    assert running.headline.startswith("So far: ablation of ace + csc: untested against cross-entropy, ")
    assert "separated" not in running.headline
    assert "the placebo is above reference on average: +10." in lines_of(running)["Warnings"].text


def test_controls_that_were_not_run_are_named():
    roles = {name: role for name, role in ROLES.items() if name not in ("placebo", "none_equal_time")}
    line = lines_of(verdict_of(make(roles=roles, none=0.4).tables()))["Controls"]
    assert line.text.endswith(
        "Not run: cross-entropy of equal time, the placebo; without them a gain need not be distillation."
    )
    assert line.mark == "amber"
    roles = {name: role for name, role in roles.items() if name != "none"}
    line = lines_of(verdict_of(make(roles=roles).tables()))["Controls"]
    assert line.text.startswith("None was run: cross-entropy, cross-entropy of equal time, the placebo;")


def test_a_control_that_trained_for_less_time_is_not_called_of_equal_time():
    sweep = make(none_equal_time=0.5265)
    for trial in sweep.rows["trials"]:
        if trial["study"] == "none_equal_time":
            trial["seconds"] *= 0.5
    assert "separated from cross-entropy with more epochs, and worse" in verdict_of(sweep.tables()).headline


def test_a_control_is_never_chosen_nor_tied_and_ranks_last():
    tables = make(none=0.6, none_equal_time=0.61, placebo=0.62, without_csc=0.51).tables()
    ranked = finalists(tables)
    assert ranked["study"].tolist()[:3] == ["without_csc", "reference", "without_ace"]
    assert ranked.loc[ranked["chosen"], "study"].tolist() == ["without_csc"]
    assert not ranked.loc[ranked["control"].notna(), "tie"].any()
    evidence = best_evidence(tables)["evidence"]
    assert evidence["study"] == "without_csc"
    assert "the placebo beats reference: +12.12" in evidence["verdict"]["warnings"]
    assert "no baseline" not in evidence["verdict"]["warnings"], "an ablation compares with its reference"


def test_where_only_controls_are_complete_nothing_is_chosen():
    tables = make(roles={name: ROLES[name] for name in ("none", "placebo")}).tables()
    assert not finalists(tables)["chosen"].any()
    assert "only controls are complete" in verdict_of(tables).headline
    with pytest.raises(AnalysisError, match="only controls have a complete trial"):
        best(tables)


def test_where_terms_are_added_the_controls_are_compared_with_the_whole_config():
    roles = {
        "none": ("reference", None),
        "only_csc": ("cell", "csc"),
        "reference": ("control", "all"),
        "placebo": ("control", "placebo"),
    }
    on, off = {"csc": "on", "ace": "on"}, {"csc": "off", "ace": "off"}
    levels = {"none": off, "reference": on, "only_csc": {"csc": "on", "ace": "off"}}
    sweep = make(roles=roles, levels=levels, design="add-one-in", none=0.45, only_csc=0.48, placebo=0.52)
    for study in sweep.rows["studies"]:
        study["control"] = {"none": "none", "placebo": "placebo"}.get(study["study"])
    tables = sweep.tables()
    found = {each.control: each for each in ablation_contrasts(tables, ablate(tables))}
    assert {each.subject for each in found.values()} == {"reference"}
    assert found["none"].difference == pytest.approx(0.05, abs=0.005)
    assert found["placebo"].difference == pytest.approx(-0.02, abs=0.005)
    assert found["placebo"].word == "separated"
    assert finalists(tables).loc[lambda frame: frame["chosen"], "study"].tolist() == ["reference"]


def test_the_first_line_agrees_with_the_table_in_every_world():
    rng = np.random.default_rng(5)
    words = set()
    for _ in range(5):
        scores = {cell: 0.5 + rng.normal(0, 0.02) + rng.normal(0, 0.004, 5) for cell in ROLES}
        tables = make(scores=scores).tables()
        table = ablate(tables).set_index("cell")
        contrasts = ablation_contrasts(tables, table.reset_index())
        assert [each.control for each in contrasts] == ["none", "none_equal_time", "placebo"]
        for each in contrasts:
            row = table.loc[each.control]
            assert (each.word, each.difference) == (row["word"], -row["difference"])
            assert each.low <= each.difference <= each.high
            words.add((each.word, each.difference > 0))
    assert {("separated", True), ("separated", False)} < words


@pytest.fixture
def compared(sweep):
    """The two studies of `sweep`, a third method, and a placebo and a longer baseline as studies."""
    scores = {"kd": (0.43, 0.44), "cwd_placebo": (0.49, 0.47), "longer": (0.40, 0.41)}
    for study, values in scores.items():
        sweep.study(study, control={"cwd_placebo": "placebo", "longer": "none_equal_time"}.get(study))
        sweep.trial(study, max(values))
        for seed, score in zip((11, 12), values, strict=True):
            sweep.trial(study, score, seed=seed, of=f"{study}-0")
    return sweep


def test_a_comparison_speaks_of_its_controls_too(compared):
    tables = compared.tables()
    words = verdict_of(tables)
    assert "; not separated from cross-entropy of equal time and the placebo" in words.headline
    assert lines_of(words)["Controls"].text.startswith("Control minus cwd: cross-entropy of equal time -")
    comparison = compare(tables)
    assert comparison.loc[comparison["chosen"], "study"].tolist() == ["cwd"]
    assert [each.name for each in comparison_contrasts(tables, comparison)] == [
        "cross-entropy of equal time",
        "the placebo",
    ]


def test_a_placebo_above_the_chosen_config_of_a_comparison_is_a_warning_and_not_chosen(compared):
    for trial in compared.rows["trials"]:
        if trial["study"] == "cwd_placebo" and trial["phase"] == "confirm":
            trial["score"] += 0.1
    tables = compared.tables()
    assert "the placebo is above cwd on average: +10.00 points" in lines_of(verdict_of(tables))["Warnings"].text
    assert finalists(tables).iloc[0]["study"] == "cwd"


def test_further_seeds_are_planned_for_the_families_that_are_judged(compared):
    assert situation(compared.tables()).comparisons == 2, "cwd and kd, beside the baseline"
    assert situation(make().tables()).comparisons == 3, "three controls; two parts are a smaller family"


@pytest.mark.parametrize(("lacking", "untested"), [({"cwd", "kd"}, 2), ({"cwd_placebo"}, 1)])
def test_a_control_is_untested_while_a_planned_seed_of_it_or_of_the_method_is_missing(compared, lacking, untested):
    for trial in compared.rows["trials"]:
        if trial["study"] in lacking and trial["seed"] == 12:
            trial |= {"state": "failed", "failure": "lost", "score": None}
    tables = compared.tables()
    found = comparison_contrasts(tables, compare(tables))
    assert sum(each.word is None and each.difference > 0 for each in found) == untested
    assert {each.control: each.seeds for each in found}["cwd_placebo"] == 1


def test_an_ablation_and_a_sweep_without_a_method_have_no_comparison_with_controls(compared):
    tables = compared.tables()
    ablation = {**tables, "sweeps": tables["sweeps"].assign(purpose="ablation")}
    assert comparison_contrasts(ablation, compare(tables)) == []
    bare = {name: tables[name][~tables[name]["study"].isin(["cwd", "kd"])] for name in ("studies", "trials")}
    assert comparison_contrasts({**tables, **bare}, compare({**tables, **bare})) == []


def test_controls_are_a_family_of_their_own(compared):
    tables = compared.tables()
    with_controls = compare(tables).set_index("study")
    tables["studies"] = tables["studies"].assign(control=None)
    all_methods = compare(tables).set_index("study")
    assert with_controls.loc["cwd", "p_holm"] < all_methods.loc["cwd", "p_holm"]
    assert with_controls.loc["cwd", "difference"] == all_methods.loc["cwd", "difference"]


def test_cross_entropy_in_a_factorial_is_judged_as_a_control_and_stays_a_cell():
    roles = {name: ("cell", name) for name in ("without_csc", "without_ace", "none")} | {
        "reference": ("reference", None),
        "placebo": ("control", "placebo"),
    }
    levels = {
        "reference": ("on", "on"),
        "without_csc": ("on", "off"),
        "without_ace": ("off", "on"),
        "none": ("off", "off"),
    }
    levels = {cell: dict(zip(("ace", "csc"), pair, strict=True)) for cell, pair in levels.items()}
    sweep = make(roles=roles, levels=levels, design="factorial", none=0.45, placebo=0.48)
    for study in sweep.rows["studies"]:
        study["control"] = study["study"] if study["study"] in ("none", "placebo") else None
    words = verdict_of(sweep.tables())
    assert "separated from cross-entropy and the placebo, and better" in words.headline
    assert "effects" in words.headline.split("; parts: ")[1]
    table = ablate(sweep.tables()).set_index("cell")
    assert table.loc[["none", "placebo"], "family"].tolist() == ["controls", "controls"]
    assert table.loc["none", "word"] == "separated"
    assert not isinstance(table.loc["without_csc", "word"], str)
