import pytest

from analysis.conditions.hardware import code, hardware, mixed, software
from analysis.selection.compare import compare
from analysis.selection.select import best

GPU = {"device": "cuda", "device_name": "Big GPU", "cpu_name": "Some CPU", "code_digest": "c0dec0dec0de0001"}


def elsewhere(sweep, study, **facts):
    """Let the trials of a study run in another environment."""
    sweep.rows["environments"].append({**sweep.rows["environments"][0], "environment_id": "e2", **facts})
    for trial in sweep.rows["trials"]:
        if trial["study"] == study:
            trial["environment_id"] = "e2"


def doubts(sweep):
    return compare(sweep.tables()).set_index("study")["warnings"].to_dict()


def test_one_environment_is_not_mixed(tables):
    assert mixed(tables) == []


def test_mixed_hardware_says_who_ran_where_and_why_it_matters(sweep):
    elsewhere(sweep, "cwd", **GPU | {"code_digest": None})
    (mix,) = mixed(sweep.tables())
    assert mix.places == {"CPU without a name, 1 thread": {"none": 5}, "Big GPU": {"cwd": 5}}
    assert mix.sentence == (
        "Mixed hardware: CPU without a name, 1 thread (trials: none 5); Big GPU (trials: cwd 5). "
        "Times are not comparable at all, scores only up to rounding and nondeterminism."
    )
    assert doubts(sweep) == {"cwd": ["mixed hardware"], "none": []}
    assert best(sweep.tables())["evidence"]["warnings"] == ["mixed hardware"]


def test_a_study_is_compared_with_the_baseline_alone(sweep):
    sweep.study("kd")
    sweep.trial("kd", 0.3)
    elsewhere(sweep, "kd", **GPU | {"code_digest": None})
    found = doubts(sweep)
    assert "mixed hardware" in found["kd"]
    assert "mixed hardware" not in found["cwd"]


def test_a_study_that_is_mixed_by_itself_is_marked_without_a_baseline(sweep):
    elsewhere(sweep, "cwd", code_digest="other")
    for study in sweep.rows["studies"]:
        study["is_baseline"] = False
    next(t for t in sweep.rows["trials"] if t["study"] == "cwd")["environment_id"] = "e1"
    assert "mixed code: not comparable" in doubts(sweep)["cwd"]
    assert "mixed code: not comparable" not in doubts(sweep)["none"]


def test_different_code_is_not_comparable(sweep):
    sweep.rows["environments"][0]["code_digest"] = "aaaaaaaaaaaa"
    elsewhere(sweep, "cwd", code_digest="bbbbbbbbbbbb")
    (mix,) = mixed(sweep.tables())
    assert mix.kind == "code"
    assert mix.sentence.endswith("What ran on different code is not comparable.")


def test_software_is_named_by_what_differs(sweep):
    sweep.rows["environments"][0].update(amp="bfloat16", versions_json='{"timm": "1.0", "ray": "2.60"}')
    elsewhere(sweep, "cwd", torch="2.14.0", amp="float16", versions_json='{"timm": "1.0", "ray": "2.61"}')
    (mix,) = mixed(sweep.tables())
    assert list(mix.places) == ["torch 2.15.0, amp bfloat16", "torch 2.14.0, amp float16"]


def test_a_fact_that_only_one_of_them_has_makes_no_difference(sweep):
    elsewhere(sweep, "cwd", cuda="13.2", tf32="convolution")
    assert mixed(sweep.tables()) == []


@pytest.mark.parametrize("state", ["failed", "running", "planned"])
def test_trials_that_say_nothing_do_not_count(sweep, state):
    failed = sweep.trial("cwd", None, state=state)
    elsewhere(sweep, "nobody", **GPU)
    next(t for t in sweep.rows["trials"] if t["trial_id"] == failed)["environment_id"] = "e2"
    assert mixed(sweep.tables()) == []


def test_rows_of_the_same_hardware_have_the_same_name():
    row = {**GPU, "num_threads": 4, "processes": 1, "gpu_driver": "1"}
    assert hardware(row) == hardware({**row, "num_threads": 8, "gpu_driver": "2", "platform": "other"}) == "Big GPU"
    assert hardware({**row, "processes": 2}) == "2 x Big GPU"
    assert hardware({**row, "device": "cpu"}) == "Some CPU, 4 threads"


def test_software_leaves_out_what_no_training_uses():
    row = {"python": "3.11", "torch": "2.15", "cuda": None, "amp": float("nan"), "deterministic_algorithms": False}
    told = software({**row, "versions_json": '{"timm": "1.0", "ray": "2.60"}'})
    assert told == {"python": "3.11", "torch": "2.15", "deterministic_algorithms": "False", "timm": "1.0"}


def test_code_is_its_digest_else_its_commit():
    row = {"code_digest": "0123456789abcdef", "git_commit": "fedcba9876543210", "git_dirty": True}
    assert code(row) == "code 0123456789"
    assert code({**row, "code_digest": None}) == "commit fedcba9876 with changes"
    assert code({**row, "code_digest": None, "git_dirty": None}) == "commit fedcba9876"
    assert code({}) == "code not recorded"
